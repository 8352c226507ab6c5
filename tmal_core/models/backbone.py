"""The CLIP that everything stands on: any open_clip ViT, frozen, in eval mode.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021; open_clip 3.3.
Weights are never guessed: a missing file is an error, and random weights come only when the settings say `random`.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn

from tmal_core.config import in_project
from tmal_core.errors import WeightsError
from tmal_core.files import atomic_path

FOLDER_CONFIG = "open_clip_config.json"
FOLDER_WEIGHTS = "open_clip_model.safetensors"

# OpenAI's weights want QuickGELU; the plain model names take them without a word and compute something else.
_OPENAI_NEEDS = "quickgelu"


def located(name: str) -> str:
    """The name, or the path of the folder it means: relative folders start at the project's root."""
    folder = in_project(name)
    return str(folder) if folder.is_dir() else name


def load_backbone(name: str, pretrained: str, device: str | torch.device = "cpu") -> nn.Module:
    """A frozen CLIP in eval mode, float32.

    Args:
        name: an open_clip model name, or a folder with `open_clip_config.json` and its weights.
        pretrained: `folder` (the folder's own weights), the path of a weights file, or `random`.
        device: where it lives.

    Raises:
        WeightsError: unknown model, missing folder or file, weights of another architecture, or OpenAI weights
            for a model without QuickGELU.
    """
    folder = Path(name)
    if pretrained == "folder":
        model = _from_folder(folder)
    else:
        if not folder.is_dir() and name not in open_clip.list_models():
            remedy = "See open_clip.list_models(), or name a folder with open_clip_config.json."
            raise WeightsError("an open_clip model name or a model folder", repr(name), remedy)
        model = _create(f"local-dir:{folder}" if folder.is_dir() else name)
        if pretrained != "random":
            _load_file(model, name, Path(pretrained))
    if not isinstance(model.visual, open_clip.transformer.VisionTransformer):
        got = f"{name} with {type(model.visual).__name__}"
        raise WeightsError("a CLIP whose image tower is a ViT", got, "Adapters need its tokens: choose a ViT.")
    return model.to(device).float().eval().requires_grad_(False)


def tokenizer(name: str):
    """open_clip's tokenizer of the model: list of strings -> (n, context) int64."""
    return open_clip.get_tokenizer(f"local-dir:{name}" if Path(name).is_dir() else name)


def _from_folder(folder: Path) -> nn.Module:
    for file in (FOLDER_CONFIG, FOLDER_WEIGHTS):
        if not (folder / file).is_file():
            remedy = "Run from the project's root, or make the tiny CLIP with `tmal pretrain-tiny`."
            raise WeightsError(f"{file} in the folder {folder}", "none", remedy)
    model = _create(f"local-dir:{folder}")
    _load_file(model, str(folder), folder / FOLDER_WEIGHTS)
    return model


def _create(name: str) -> nn.Module:
    """The architecture alone. open_clip logs that its weights are random, which here they never stay unless meant."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(name, load_weights=False)
    finally:
        logging.disable(before)


def _load_file(model: nn.Module, name: str, path: Path) -> None:
    if not path.is_file():
        remedy = "Put the weights there, name another file in model.pretrained, or say `random` if you mean it."
        raise WeightsError(f"a weights file for {name}", f"{path}, which is not there", remedy)
    if "openai" in path.name.lower() and _OPENAI_NEEDS not in name.lower():
        raise WeightsError(f"a -{_OPENAI_NEEDS} model for OpenAI weights", name, f"Use {name}-{_OPENAI_NEEDS}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=UserWarning)  # TorchScript archives warn about torch.load
            open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # the formats raise whatever their readers raise; each means the same to a user
        what = " ".join(str(error).split())[:200]
        raise WeightsError(f"weights of {name}", f"{path} ({what})", "Check the file and model.backbone.") from error


def save_folder(model: nn.Module, folder: Path, config: dict[str, object], dtype: torch.dtype = torch.float16) -> None:
    """Write a model as such a folder: its config and its weights in `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().to(dtype).contiguous() for key, value in model.state_dict().items()}
    with atomic_path(folder / FOLDER_WEIGHTS) as temporary:
        save_file(tensors, temporary)
    with atomic_path(folder / FOLDER_CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2), encoding="utf-8")
