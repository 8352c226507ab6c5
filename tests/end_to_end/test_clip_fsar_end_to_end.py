"""CLIP-FSAR whole: from pictures to features, logits, losses and gradients, and from two video files to logits.

Everything by this project's own method, as training and evaluation put it together; switches that the method does not
have, by the head in the form of its checkpoints. Pictures and frames: tests/data/video/test_reference_pictures.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from clip_fsar_golden import START, TEXT, Golden, GoldenEpisodes, their_name
from golden_weights import by_rule, read_golden
from reference_draws import python_draws
from tolerances import END_TO_END, FILE_END_TO_END, GRADIENT_END_TO_END, assert_parity
from torch import Tensor, nn

from tmal_core.config import ModelSettings, SamplingSettings
from tmal_core.data import clips as clips_module
from tmal_core.data.clips import ClipReader
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video.transforms import CLIP_STD
from tmal_core.evaluation.feature_bank import encode
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import method
from tmal_core.models.references import CLIPFSARHead
from tmal_core.models.text import SplitText
from tmal_core.runtime.files import file_sha256
from tmal_core.training.losses import episode_loss

SCALE, CLASS_WEIGHT, LOSS_DIVISOR = 2.5, 1.2, 2
TOWER = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 64}
NO_TEXT_TOWER = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
MODES: dict[str, dict[str, Any]] = {
    "visual": {},
    "merge_before": {"merge_before": True},
    "not_merged": {"merge_before": False},
    "single_direct": {"bidirectional": False},
    "text": {"mode": "text"},
    "combine": {"mode": "combine"},
    "combine_half": {"mode": "combine", "text_power": 0.5},
}
SHARES = {"visual": 0.0, "text": 1.0, "combine": 0.9, "combine_half": 0.5}


@pytest.fixture(scope="module", params=[1, 5], ids=["1shot", "5shot"])
def golden(request, assets):
    return Golden(assets, request.param)


def built(text_score: float = 0.0) -> FewShotModel:
    """The method on the small tower, with the goldens' weights."""
    clip = open_clip.CLIP(64, TOWER, NO_TEXT_TOWER, quick_gelu=True)
    model = method("clip_fsar").build(clip, ModelSettings(method="clip_fsar", text_score=text_score))
    with torch.no_grad():
        for name, parameter in named(model).items():
            parameter.copy_(START[name] if name != "head.scale" else torch.tensor([SCALE]))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # as in the goldens
    return model.eval()


def named(model: FewShotModel) -> dict[str, Tensor]:
    """What is trained, under the names of the reference's checkpoint."""
    return {their_name(name): parameter for name, parameter in model.tunable().items()}


def test_the_goldens_are_of_these_settings(golden):
    settings = golden.settings
    assert (settings["scale"], settings["class_weight"], settings["loss_divisor"]) == (
        SCALE,
        CLASS_WEIGHT,
        LOSS_DIVISOR,
    )
    assert set(settings["names"]) == set(named(built()))
    assert settings["episodes_of_iterations"][:2] == [0, 1]


@pytest.mark.parametrize("episode", [0, 1])
def test_pictures_to_answers(golden, episode):
    """The method as it evaluates, then every switch of the reference's code."""
    tensors, settings = golden.tensors, golden.settings
    clips = GoldenEpisodes(golden, torch.float32)[episode]  # iterations 0 and 1 are of episodes 0 and 1
    text, labels = TEXT["test"][tensors[f"episode{episode}.test_class_ids"].long()], clips.labels[: clips.num_support]
    start = f"start.eval.episode{episode}"
    for mode, share in SHARES.items():
        model = built(share)
        with torch.no_grad():
            features = model.encoder(clips.frames)
            support, query = features.tensor_split([clips.num_support])
            logits = model.head.episode_logits(query, support, labels, text)
        wanted = tensors[f"{start}.{mode}.logits"]
        assert_parity(logits if mode == "visual" else logits.exp(), wanted, END_TO_END, mode)
        assert torch.equal(logits.argmax(1), wanted.argmax(1))
    for role, found in (("support", support), ("query", query)):
        assert_parity(found, tensors[f"start.episode{episode}.{role}.features"], END_TO_END, role)
    reference = CLIPFSARHead(64)
    reference.load_state_dict(
        {
            "scale": torch.tensor([SCALE]),
            **{
                name.removeprefix("head."): value.detach() for name, value in named(model).items() if "context2" in name
            },
        }
    )
    for mode, options in MODES.items():
        merged = {"merge_before": settings["merge_before"], **options}
        with torch.no_grad():
            logits, _ = reference.eval()(support, query, labels, text[labels], **merged)
        assert_parity(logits, tensors[f"{start}.{mode}.logits"], END_TO_END, f"the head's {mode}")


def test_losses_and_their_gradient(golden):
    """The two iterations whose gradients the first step of the optimiser takes."""
    tensors, settings = golden.tensors, golden.settings
    model = built().train()
    for iteration in (0, 1):
        clips = GoldenEpisodes(golden, torch.float32)[iteration]
        features, text = model.encoder(clips.frames), TEXT["train"][clips.classes]
        support, query = features.tensor_split([clips.num_support])
        logits = model.head.episode_logits(query, support, clips.labels[: clips.num_support], text)
        assert_parity(logits, tensors[f"iteration{iteration}.logits"], END_TO_END, "logits")
        class_logits = model.head.class_logits(features, TEXT["train"])
        assert_parity(class_logits, tensors[f"iteration{iteration}.class_logits"], END_TO_END, "class logits")
        found = episode_loss(model, clips, TEXT["train"], text_weight=CLASS_WEIGHT)
        (found.loss / LOSS_DIVISOR).backward()
        total = found.loss.item()
        losses = [total - CLASS_WEIGHT * found.text_loss, found.text_loss, total / LOSS_DIVISOR]
        assert_parity(torch.tensor(losses), tensors[f"iteration{iteration}.losses"], END_TO_END, "losses")
    gradients = {name: parameter.grad for name, parameter in named(model).items()}
    whole = [name.removeprefix("step1.gradient.") for name in tensors if name.startswith("step1.gradient.")]
    assert len(whole) == 10
    for name in whole:
        assert_parity(gradients[name], tensors[f"step1.gradient.{name}"], GRADIENT_END_TO_END, name)
    for name, (norm, probed) in zip(settings["names"], settings["norm_and_probe"]["step1.gradient"], strict=True):
        probe = by_rule(f"probe.{name}", gradients[name].shape)
        assert abs(gradients[name].norm() - norm) <= GRADIENT_END_TO_END * norm, name
        assert abs((gradients[name] * probe).sum() - probed) <= GRADIENT_END_TO_END * norm * probe.norm(), name


@pytest.mark.parametrize(
    ("data_set", "scheme"), [("hmdb51", "reference_segments"), ("kinetics100", "reference_stride")]
)
def test_video_files_to_logits(assets, data_set, scheme, monkeypatch):
    """Through the reader, the bank and the scoring of episodes; only the seeds of the frames are the reference's."""
    tensors, settings = read_golden(assets / "clip_fsar_file_to_logits.safetensors")
    roles, videos = ("support", "query"), ("wide", "tall")
    table = pd.DataFrame({"video": videos, "path": [f"e2e_video_{video}.mp4" for video in videos]})
    table["sha256"] = [file_sha256(assets / path) for path in table["path"]]
    catalog = Catalog(assets, table.assign(num_frames=60, fps=30.0))
    sampling = SamplingSettings(scheme=scheme, fit="squash", resize=settings["resize"], crop=settings["crop"])
    # Supports and queries see other frames of one video: its first and its second view.
    views = 2 if scheme == "reference_segments" else 1
    seeds = {
        (video, role): settings["clips"][f"{data_set}.{role}.{video}"]["seed of random"]
        for video in videos
        for role in roles
    }
    monkeypatch.setattr(clips_module, "generator", lambda _, kind, video, view: python_draws(seeds[video, roles[view]]))
    monkeypatch.setattr(Episodes, "views", lambda self, _: (0 * self.support, 0 * self.query + views - 1))
    reader = ClipReader(catalog, sampling, views=views)
    for role, view in zip(roles, (0, views - 1), strict=True):
        for row, video in enumerate(videos):
            frames = tensors[f"{data_set}.{role}.{video}.frames"]
            assert reader.test_positions(row, view).tolist() == frames.tolist()
    shown = torch.stack([reader.evaluate(row).frames[[0, 7]] for row in range(2)])
    assert (shown - tensors[f"{data_set}.support.pictures"]).abs().max() <= 1 / 255 / min(CLIP_STD)
    text = SplitText(TEXT["test"][settings["test_class_ids"]], np.arange(2))
    episodes = Episodes("all", np.array([[[0], [1]]]), np.array([[[0], [1]]]))
    for share, name in ((0.0, "logits"), (0.9, "combine.logits")):
        model = built(share)
        bank = encode(model, reader, text, progress=False)
        features = bank.query[(views - 1) * 2 :]
        assert_parity(features, tensors[f"{data_set}.query.features"], FILE_END_TO_END, "features")
        found, wanted = torch.from_numpy(evaluate(model, bank, episodes).logits[0]), tensors[f"{data_set}.{name}"]
        assert_parity(found.exp() if share else found, wanted, FILE_END_TO_END, name)
        assert torch.equal(found.argmax(1), wanted.argmax(1))
