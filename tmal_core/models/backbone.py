"""The CLIP that everything stands on: any open_clip ViT, frozen, in eval mode.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021; open_clip 3.3.
Weights are never guessed: a missing file is an error, and random weights come only when the settings say `random`.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from tmal_core.config import in_project
from tmal_core.errors import WeightsError
from tmal_core.models.open_clip_access import (
    QuickGELU,
    ResidualAttentionBlock,
    VisionTransformer,
    convert_to_custom_text_state_dict,
    get_pretrained_cfg,
)
from tmal_core.models.state_dicts import load_strictly, own_names
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.tensor_files import describe_content, is_state_dict, is_torchscript, read_archive
from tmal_core.runtime.weights_files import WEIGHTS, WeightsFile, require, resolve, weights_folder

FOLDER_CONFIG = "open_clip_config.json"
FOLDER_WEIGHTS = "open_clip_model.safetensors"

# OpenAI's weights want QuickGELU; the plain model names take them without a word and compute something else.
_OPENAI_NEEDS = "quickgelu"
_POSITIONS = "text.transformer.embeddings.position_ids"
_HUGGING_FACE = "https://huggingface.co/{}/resolve/main/{}"


def located(name: str) -> str:
    """The name, or the path of the folder it means: relative folders start at the project's root."""
    folder = in_project(name)
    return str(folder) if folder.is_dir() else name


def load_backbone(name: str, pretrained: str, device: str | torch.device = "cpu") -> Any:
    """A frozen CLIP of open_clip in eval mode, float32.

    Args:
        name: an open_clip model name, or a folder with `open_clip_config.json` and its weights.
        pretrained: `folder` (the folder's own weights), `openai` or another of open_clip's names for the weights of
            this model, the path of a weights file, or `random`.

    Raises:
        WeightsError: unknown model, one whose image tower is no ViT of CLIP's own blocks, missing folder or file, an
            unpublished checksum, weights of another architecture, or weights that want QuickGELU for a model without.
    """
    folder = Path(name)
    for file in (FOLDER_CONFIG, FOLDER_WEIGHTS) if pretrained == "folder" else ():
        if not (folder / file).is_file():
            remedy = f"Run in a checkout of the project, or make the tiny CLIP: `tmal pretrain-tiny --out {folder}`."
            raise WeightsError(f"{file} in the folder {folder}", "none", remedy)
    if not folder.is_dir() and name not in open_clip.list_models():
        remedy = "See open_clip.list_models(), or name a folder with open_clip_config.json."
        raise WeightsError("an open_clip model name or a model folder", repr(name), remedy)
    model = _create(f"local-dir:{folder}" if folder.is_dir() else name)
    if pretrained == "folder":
        _load_file(model, name, folder / FOLDER_WEIGHTS)
    elif pretrained != "random":
        _load_file(model, name, _find_file(model, name, pretrained))
    return model.to(device).float().eval().requires_grad_(False)


def tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """open_clip's tokenizer of the model: list of strings -> (n, context) int64."""
    return open_clip.get_tokenizer(f"local-dir:{name}" if Path(name).is_dir() else name)


def _create(name: str) -> Any:
    """The architecture alone. open_clip logs that its weights are random, which here they never stay unless meant."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        model = open_clip.create_model(name, load_weights=False)
    finally:
        logging.disable(before)
    if not isinstance(model.visual, VisionTransformer):
        got = f"{name} with {type(model.visual).__name__}"
        raise WeightsError("a CLIP whose image tower is a ViT", got, "Adapters need its tokens: choose a ViT.")
    # `blocks` computes the usual block; others normalise in more places, which it would leave out without a word.
    others = {type(block).__name__ for block in model.visual.transformer.resblocks} - {ResidualAttentionBlock.__name__}
    if others:
        raise WeightsError("a ViT of CLIP's own blocks", f"{name} with {others.pop()}", "Choose another ViT.")
    return model


def published_weights(name: str, pretrained: str) -> WeightsFile | None:
    """The weights that open_clip knows by the name `pretrained` for a model; None where it knows none.

    OpenAI's ViTs are in the registry with their checksums; the others are on Hugging Face, which states checksums only
    to those who ask it.
    """
    config = get_pretrained_cfg(name, pretrained)
    clip = f"clip_{name.lower().removesuffix(f'-{_OPENAI_NEEDS}').replace('-', '_')}"
    if pretrained == "openai" and clip in WEIGHTS and config:
        return WEIGHTS[clip]
    if not config.get("hf_hub"):
        return None
    repository, _, file = config["hf_hub"].rpartition("/")
    url = _HUGGING_FACE.format(repository, file or FOLDER_WEIGHTS)
    return WeightsFile(f"{name}:{pretrained}", f"open_clip {name}", f"{name}-{pretrained}.safetensors", url, url)


def _find_file(model: Any, name: str, pretrained: str) -> Path:
    """The weights file that the settings mean, for a model that computes as its weights want it."""
    if (entry := published_weights(name, pretrained)) is None:
        return resolve(pretrained)
    if get_pretrained_cfg(name, pretrained).get("quick_gelu"):
        _require_quickgelu(model, name, pretrained)
    converted = weights_folder() / f"{name.removesuffix(f'-{_OPENAI_NEEDS}')}-openai.safetensors"
    if pretrained == "openai" and converted.is_file() and not (weights_folder() / entry.file).is_file():
        return converted
    return require(entry)[0]


def _require_quickgelu(model: Any, name: str, what: str) -> None:
    if not isinstance(model.visual.transformer.resblocks[0].mlp.gelu, QuickGELU):
        got = f"{name}, which computes something else with them"
        raise WeightsError(f"a -{_OPENAI_NEEDS} model for {what} weights", got, f"Use {name}-{_OPENAI_NEEDS}.")


def _load_file(model: Any, name: str, path: Path) -> None:
    if not path.is_file():
        remedy = "Put the weights there, name another file in model.pretrained, or say `random` if you mean it."
        raise WeightsError(f"a weights file for {name}", f"{path}, which is not there", remedy)
    expected, remedy = f"weights of {name}", "Check the file and model.backbone."
    if "openai" in path.name.lower():
        _require_quickgelu(model, name, "OpenAI")
    content = read_archive(path, expected, remedy)
    if is_torchscript(path):  # only OpenAI's are read
        _require_quickgelu(model, name, "OpenAI")
    state: Any = content.get("state_dict", content) if isinstance(content, dict) else content
    if not is_state_dict(state) or not state:
        raise WeightsError(expected, f"{path} ({describe_content(content)})", remedy)
    load_strictly(model, _renamed(model, own_names(state, str(path))), str(path))


def _renamed(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that open_clip gives them today, as its own loader renames them."""
    if not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    if _POSITIONS not in model.state_dict():  # numbers 0, 1, 2, ... that transformers no longer keeps
        state.pop(_POSITIONS, None)
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(model.logit_scale.shape)
    return state


def save_folder(model: Any, folder: Path, config: dict[str, object], dtype: torch.dtype = torch.float16) -> None:
    """Write a model as such a folder: its config and its weights in `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().to(dtype).contiguous() for key, value in model.state_dict().items()}
    with atomic_path(folder / FOLDER_WEIGHTS) as temporary:
        save_file(tensors, temporary)
    with atomic_path(folder / FOLDER_CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2), encoding="utf-8")
