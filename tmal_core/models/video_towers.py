"""Video transformers by name or in a folder: VideoMAE and V-JEPA 2, made and loaded by transformers (extra `video`).

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training", NeurIPS
2022; Assran et al., "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and Planning", 2025
(arXiv 2506.09985). A folder is as Hugging Face keeps it: `config.json`, `model.safetensors`, and for mean and std
`preprocessor_config.json`. Nothing is fetched here, and no code of a repository is ever run.

Of weights that were tuned on labels the last norm and the classifier are left out: tokens are those that leave the last
layer. Such weights know the classes that they were tuned on; those of `ssv2` have seen Something-Something's test
classes and say nothing about new ones there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tmal_core.errors import WeightsError
from tmal_core.models.open_clip_access import Statistics, set_statistics
from tmal_core.models.video_encoder import VideoTower
from tmal_core.runtime.tensor_files import describe_content, is_state_dict, read_archive
from tmal_core.runtime.weights_files import WeightsFile, require, resolve

CONFIG, WEIGHTS_FILE, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""By which all of the published ones normalise."""
_HUGGING_FACE = "https://huggingface.co/{}/resolve/main/" + WEIGHTS_FILE


class Known(NamedTuple):
    """A published architecture."""

    kind: str  # transformers' `model_type`
    config: Mapping[str, Any]  # what is not as its config class has it
    weights: Mapping[str, str]  # name of weights -> repository


_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_HUGE = {"hidden_size": 1280, "num_hidden_layers": 32}
_GIANT = {"hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11}
_MAE, _JEPA = "MCG-NJU/videomae", "facebook/vjepa2"
VIDEO_TOWERS = {
    "VideoMAE-B-16": Known(
        "videomae",
        {},
        {
            "selfsupervised": f"{_MAE}-base",
            "kinetics400": f"{_MAE}-base-finetuned-kinetics",
            "ssv2": f"{_MAE}-base-finetuned-ssv2",
        },
    ),
    "VideoMAE-L-16": Known(
        "videomae", _LARGE, {"selfsupervised": f"{_MAE}-large", "kinetics400": f"{_MAE}-large-finetuned-kinetics"}
    ),
    "V-JEPA2-L-16": Known("vjepa2", {}, {"selfsupervised": f"{_JEPA}-vitl-fpc64-256"}),
    "V-JEPA2-H-16": Known("vjepa2", _HUGE, {"selfsupervised": f"{_JEPA}-vith-fpc64-256"}),
    "V-JEPA2-g-16": Known("vjepa2", _GIANT, {"selfsupervised": f"{_JEPA}-vitg-fpc64-256"}),
}
"""Video transformers that can be named, with the names of their weights."""
KINDS = ("videomae", "vjepa2")
_BESIDE = ("decoder.", "encoder_to_decoder.", "mask_token", "classifier.", "fc_norm.", "pooler.", "predictor.")
"""What a file may hold beside the encoder: for masked training, for labels, for prediction."""
_SAYS_NOTHING = {"transformers_version", "architectures", "dtype", "id2label", "label2id", "_name_or_path"}


def is_video_tower(name: str) -> bool:
    """Whether a backbone's name, or what lies in its folder, is a video transformer."""
    return name in VIDEO_TOWERS or _kind_in(Path(name)) in KINDS


def load_video_tower(name: str, pretrained: str, device: str | torch.device = "cpu") -> VideoTower:
    """A frozen video transformer in eval mode, float32.

    Args:
        name: in `VIDEO_TOWERS`, or a folder with `config.json`.
        pretrained: `folder` (the folder's own weights), a name of weights, a file, or `random`.
        device: where it lives; `meta` with random weights is the architecture alone.

    Raises:
        WeightsError: transformers is missing, no such weights, or weights of another architecture.
    """
    kind, config = _config(name)
    state = None if pretrained == "random" else _state(name, pretrained)
    if kind == "videomae" and state is not None:  # as its authors convert: tuned ones have their norm behind the mean
        config["use_mean_pooling"] = not any(key.endswith("videomae.layernorm.weight") for key in state)
    visual, made = _made(kind, config, state, f"{name} ({pretrained})", torch.device(device))
    size = made.image_size if kind == "videomae" else made.crop_size
    frames = made.num_frames if kind == "videomae" else None  # V-JEPA 2 turns tokens by their place: any number
    sizes = json.dumps(
        {key: value for key, value in made.to_dict().items() if key not in _SAYS_NOTHING}, sort_keys=True
    )
    tower = VideoTower(visual, name, size, made.hidden_size, made.tubelet_size, frames, sizes)
    set_statistics(tower.visual, video_statistics(name))
    return tower.to(device).float().eval().requires_grad_(False)


def video_statistics(name: str) -> Statistics:
    """Mean and std by which its pictures are normalised: the folder's, else ImageNet's."""
    file = Path(name) / PREPROCESSOR
    found = _json(file) if file.is_file() else {}
    mean, std = (tuple(found.get(key) or own) for key, own in zip(("image_mean", "image_std"), IMAGENET, strict=True))
    return mean, std


def published_video_weights(name: str, pretrained: str) -> WeightsFile | None:
    """The weights of that name; None where there are none."""
    if name not in VIDEO_TOWERS or pretrained not in VIDEO_TOWERS[name].weights:
        return None
    url = _HUGGING_FACE.format(VIDEO_TOWERS[name].weights[pretrained])
    return WeightsFile(f"{name}:{pretrained}", f"video, {name}", f"{name}-{pretrained}.safetensors", url, url)


def _kind_in(folder: Path) -> str:
    file = folder / CONFIG
    return str(_json(file).get("model_type", "")) if file.is_file() else ""


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise WeightsError(f"JSON in {file}", what, "Fetch it again from where its weights are published.") from error
    return found if isinstance(found, dict) else {}


def _config(name: str) -> tuple[str, dict[str, Any]]:
    if name in VIDEO_TOWERS:
        return VIDEO_TOWERS[name].kind, dict(VIDEO_TOWERS[name].config)
    config = _json(Path(name) / CONFIG)
    return config["model_type"], config


def _state(name: str, pretrained: str) -> dict[str, Tensor]:
    """The tensors of the weights file that the settings mean."""
    if pretrained == "folder":
        path = Path(name) / WEIGHTS_FILE
    elif entry := published_video_weights(name, pretrained):
        path = require(entry)[0]
    else:
        path = resolve(pretrained)
    if not path.is_file():
        known = ", ".join(VIDEO_TOWERS[name].weights) if name in VIDEO_TOWERS else "folder"
        remedy = f"Name weights ({known}), a file, or `random` if you mean it."
        raise WeightsError(f"a weights file for {name}", f"{path}, which is not there", remedy)
    expected, remedy = "a file of safetensors", "Fetch it again."
    content: Any = read_archive(path, expected, remedy)
    if not is_state_dict(content) or not content:
        raise WeightsError(expected, f"{path} ({describe_content(content)})", remedy)
    return content


def _made(
    kind: str, config: dict[str, Any], state: dict[str, Tensor] | None, source: str, device: torch.device
) -> tuple[Any, Any]:
    """The module that makes tokens of pixels, and its whole config."""
    transformers = _transformers()
    names = {"videomae": ("VideoMAEConfig", "VideoMAEModel"), "vjepa2": ("VJEPA2Config", "VJEPA2Model")}[kind]
    config_class, model_class = (getattr(transformers, found) for found in names)
    whole = config_class(**{key: value for key, value in config.items() if key != "model_type"})
    if state is None:
        with torch.device("meta" if device.type == "meta" else "cpu"):
            model = model_class(whole)
    else:
        model, told = model_class.from_pretrained(
            None, config=whole, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
        )
        _require_whole(told, kind, source)
    return (model if kind == "videomae" else model.encoder), whole  # V-JEPA's predictor makes no features


def _require_whole(told: dict[str, Any], kind: str, source: str) -> None:
    """Refuse weights that lack a tensor of the encoder, or have one that it has not."""
    lacking = [*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])]
    for how, keys in (("without", lacking), ("with", told["unexpected_keys"])):
        wrong = sorted(key for key in keys if not key.removeprefix(f"{kind}.").startswith(_BESIDE))
        if wrong:
            got = f"{source} {how} {', '.join(wrong[:4])}{' and more' if len(wrong) > 4 else ''}"
            raise WeightsError(f"the weights of a {kind} of this size", got, "Check model.backbone.")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        remedy = "Install it: pip install 'tmal-core[video]'."
        raise WeightsError("transformers, which makes video encoders", "none installed", remedy) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
