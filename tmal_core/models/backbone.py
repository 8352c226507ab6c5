"""The CLIP that everything stands on: any model of open_clip's with a text tower of its own, frozen, in eval mode.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021; open_clip 3.3, and timm for
image towers of other kinds. Weights are never guessed: a missing file is an error, and random weights come only when
the settings say `random`. Nothing is fetched here.
"""

import json
import logging
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from tmal_core.config import in_project
from tmal_core.errors import WeightsError
from tmal_core.models.open_clip_access import (
    CLIP_STATISTICS,
    Statistics,
    convert_to_custom_text_state_dict,
    get_pretrained_cfg,
    image_size,
    kind_of,
    list_pretrained_tags_by_model,
    set_statistics,
    uses_quickgelu,
)
from tmal_core.models.state_dicts import load_strictly, own_names
from tmal_core.models.video_towers import (
    is_video_tower,
    load_video_tower,
    published_video_weights,
    video_statistics,
)
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
    """A frozen CLIP of open_clip in eval mode, float32; its image tower knows the mean and std of its pictures.

    Args:
        name: an open_clip model name, a folder with `open_clip_config.json` and its weights, or a video transformer
            (`models.video_towers`), which stands in CLIP's place without a text tower.
        pretrained: `folder` (the folder's own weights), `openai` or another of open_clip's names for the weights of
            this model, the path of a weights file, or `random`.
        device: where it lives; `meta` with random weights is the architecture alone, of any size.

    Raises:
        WeightsError: unknown model, one whose text tower is not open_clip's own or whose pictures are not squares of
            one size, missing folder or file, an unpublished checksum, weights of another architecture, or weights that
            want QuickGELU for a model without.
    """
    if is_video_tower(name):
        return load_video_tower(name, pretrained, device)
    folder = Path(name)
    for file in (FOLDER_CONFIG, FOLDER_WEIGHTS) if pretrained == "folder" else ():
        if not (folder / file).is_file():
            remedy = f"Run in a checkout of the project, or make the tiny CLIP: `tmal pretrain-tiny --out {folder}`."
            raise WeightsError(f"{file} in the folder {folder}", "none", remedy)
    model = _create(name, torch.device(device))
    if pretrained == "folder":
        _load_file(model, name, folder / FOLDER_WEIGHTS)
    elif pretrained != "random":
        _load_file(model, name, _find_file(model, name, pretrained))
    set_statistics(model.visual, picture_statistics(name, pretrained))
    return model.to(device).float().eval().requires_grad_(False)


def picture_statistics(name: str, pretrained: str) -> Statistics:
    """Mean and std by which the pictures of a model with these weights are normalised; no weights are needed.

    A folder's are in its config. open_clip's go by the names of weights; where `pretrained` is none of these (a file,
    `random`), the model's first one stands for it, and where it has none, CLIP's are taken, as open_clip does.

    Raises:
        WeightsError: the folder's config cannot be read.
    """
    if is_video_tower(name):
        return video_statistics(name)
    if Path(name).is_dir():
        found = _folder_config(Path(name)).get("preprocess_cfg", {})
    else:
        tags = list_pretrained_tags_by_model(name)
        found = get_pretrained_cfg(name, pretrained if pretrained in tags else tags[0]) if tags else {}
    mean, std = (tuple(found.get(key) or own) for key, own in zip(("mean", "std"), CLIP_STATISTICS, strict=True))
    return mean, std


def model_config(name: str) -> dict[str, Any]:
    """The architecture by its open_clip name or in its folder: `vision_cfg`, `text_cfg` and what they share.

    Raises:
        WeightsError: no such model, or a folder without a config that can be read.
    """
    if Path(name).is_dir():
        return _folder_config(Path(name))["model_cfg"]
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        remedy = "See open_clip.list_models(), or name a folder with open_clip_config.json."
        raise WeightsError("an open_clip model name or a model folder", repr(name), remedy)
    return config


def _folder_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / FOLDER_CONFIG).read_text(encoding="utf-8"))
        config["model_cfg"]["vision_cfg"], config["model_cfg"]["text_cfg"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        remedy = "Write it as open_clip does: model_cfg with vision_cfg and text_cfg, and preprocess_cfg."
        raise WeightsError(f"a readable {FOLDER_CONFIG} in {folder}", what, remedy) from error
    return config


def _create(name: str, device: torch.device) -> Any:
    """The architecture alone. open_clip logs that its weights are random, which here they never stay unless meant."""
    if text := model_config(name)["text_cfg"].get("hf_model_name"):
        remedy = "Its making asks the network: choose another model.backbone (open_clip.list_models())."
        raise WeightsError("a CLIP whose text tower is open_clip's own", f"{name} with {text} of transformers", remedy)
    before, made_on = logging.root.manager.disable, "meta" if device.type == "meta" else "cpu"
    logging.disable(logging.WARNING)
    try:
        with torch.device(made_on):  # timm makes its towers there
            full_name = f"local-dir:{name}" if Path(name).is_dir() else name
            model = open_clip.create_model(full_name, load_weights=False, pretrained_image=False, device=made_on)
    finally:
        logging.disable(before)
    height, width = image_size(model.visual)
    if height != width or "NaFlex" in kind_of(model.visual):
        got = f"{name} with {kind_of(model.visual)} of {height} x {width}"
        raise WeightsError("an image tower of square pictures of one size", got, "Choose another model.backbone.")
    return model


def published_weights(name: str, pretrained: str) -> WeightsFile | None:
    """The weights that open_clip knows by the name `pretrained` for a model; None where it knows none.

    OpenAI's ViTs are in the registry with their checksums; the others are on Hugging Face, which states checksums only
    to those who ask it.
    """
    if is_video_tower(name):
        return published_video_weights(name, pretrained)
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
    if not uses_quickgelu(model):
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
    for name in ("logit_scale", "logit_bias"):  # a number, or a vector of one
        if name in state and state[name].numel() == 1 and getattr(model, name, None) is not None:
            state[name] = state[name].reshape(getattr(model, name).shape)
    return state


def save_folder(model: Any, folder: Path, config: dict[str, object], dtype: torch.dtype = torch.float16) -> None:
    """Write a model as such a folder: its config and its weights in `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().to(dtype).contiguous() for key, value in model.state_dict().items()}
    with atomic_path(folder / FOLDER_WEIGHTS) as temporary:
        save_file(tensors, temporary)
    with atomic_path(folder / FOLDER_CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2), encoding="utf-8")
