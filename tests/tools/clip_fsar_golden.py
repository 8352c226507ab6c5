"""CLIP-FSAR's end-to-end goldens as objects of this project: a CLIP, first weights, episodes, a checkpoint."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import torch
from golden_weights import normalised, read_golden
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from tmal_core.data.clips import EpisodeClips
from tmal_core.models.backbone import FOLDER_CONFIG, load_backbone, save_folder
from tmal_core.models.few_shot import FewShotModel

TEXT_TOWER = {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
IMAGE_TOWER = {"image_size": 32, "layers": 3, "width": 64, "head_width": 64, "patch_size": 8}
START = load_file(Path(__file__).parent.parent / "assets" / "clip_fsar_start.safetensors")
"""Weights that the reference started from, under its names, without `head.scale`; and text features."""
TEXT = {part: START[f"text_features_{part}"] for part in ("train", "test")}


def clip_folder(folder: Path) -> Path:
    """A folder that open_clip makes the small CLIP of; its weights are random."""
    parts = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": IMAGE_TOWER, "text_cfg": TEXT_TOWER}
    config = {"model_cfg": parts, "preprocess_cfg": {}}
    folder.mkdir(parents=True)
    (folder / FOLDER_CONFIG).write_text(json.dumps(config))
    save_folder(load_backbone(str(folder), "random"), folder, config)
    return folder


def their_name(name: str) -> str:
    """A trained parameter's name in CLIP-FSAR's checkpoint."""
    return name.replace("encoder.clip.visual.", "head.backbone.")


class Golden:
    """One of the two files: 1 shot, or 5 shots averaged before the transformer."""

    def __init__(self, assets: Path, shot: int) -> None:
        self.tensors, self.settings = read_golden(assets / f"clip_fsar_end_to_end_{shot}shot.safetensors")
        self.names: list[str] = self.settings["names"]

    def state(self, model: FewShotModel) -> OrderedDict[str, Tensor]:
        """The weights that the reference started from, under its names; shapes are the model's."""
        shapes = {their_name(name): tuple(p.shape) for name, p in model.tunable().items()}
        assert sorted(shapes) == sorted(self.names)
        start = START | {"head.scale": torch.tensor([self.settings["scale"]])}
        return OrderedDict((name, start[name].clone()) for name in self.names)

    def checkpoint(self, model: FewShotModel) -> dict[str, object]:
        """As CLIP-FSAR's code writes it (clip_fsar_state_dict.json)."""
        state = self.state(model)
        norms = [name for name in state if "norm" in name]
        groups = [{"params": norms, "weight_decay": 0.0, "lr_reduce": False}, {"params": [], "lr_reduce": False}]
        rest = [{"params": [name for name in state if name not in norms], "weight_decay": 1e-3}, {"params": []}]
        moments = {name: {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)} for name in norms}
        optimiser = {"state": moments, "param_groups": groups + rest}
        return {"epoch": 0, "model_state": state, "optimizer_state": optimiser, "cfg": '{"TRAIN": {"SHOT": 1}}'}

    def clips(self, episode: int, role: str) -> Tensor:
        """Pictures of an episode's support or queries (n, 8, 3, 32, 32), CLIP-normalised, float64."""
        return normalised(self.tensors[f"episode{episode}.{role}.frames"].double())

    def labels(self, episode: int, role: str, of: str = "labels") -> Tensor:
        return self.tensors[f"episode{episode}.{role}.{of}"].long()


class GoldenEpisodes(Dataset):
    """The golden's episodes in the order of its iterations, as training reads them."""

    def __init__(self, golden: Golden, dtype: torch.dtype) -> None:
        self.golden, self.dtype, self.order = golden, dtype, golden.settings["episodes_of_iterations"]
        self.class_names = [f"class {number}" for number in range(golden.settings["train_classes"])]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> EpisodeClips:
        golden, episode = self.golden, self.order[index]
        parts = {of: [golden.labels(episode, r, of) for r in ("support", "query")] for of in ("labels", "class_ids")}
        labels, class_ids = map(torch.cat, parts.values())
        frames = torch.cat([golden.clips(episode, role) for role in ("support", "query")])
        return EpisodeClips(
            episode_type="all",
            num_support=len(parts["labels"][0]),
            frames=frames.to(self.dtype),
            flow_px=None,
            labels=labels,
            classes=torch.stack([class_ids[labels == label][0] for label in labels.unique()]),
            bases=torch.arange(len(labels)),
            named=torch.ones(len(labels), dtype=torch.bool),
            exchangeable=True,
        )
