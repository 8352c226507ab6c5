"""Reading reference checkpoints: the file, the shape of a CLIP ViT in it, and strict loading with a clear refusal."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.runtime.tensor_files import read_archive
from tmal_core.runtime.weights_files import WEIGHTS, how_to_get, resolve

_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")
_NAMES_SHOWN = 4


class ViTShape(NamedTuple):
    """What of a CLIP ViT's settings its weights tell, under open_clip's names."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    """Not in the weights: 64 channels a head, as in every ViT of OpenAI's."""


def read_checkpoint(path: str | Path) -> object:
    """What `torch.save` put into a file (or into one that `runtime.weights_files` names), on the CPU, without code.

    Raises:
        WeightsError: no such file, or it cannot be read that way.
    """
    name = str(path)
    path = Path(path) if Path(path).is_file() else resolve(path)
    if not path.is_file():
        remedy = how_to_get(WEIGHTS[name], path.parent) if name in WEIGHTS else "Check the path."
        what = "which is a folder" if path.is_dir() else "which is not there"
        raise WeightsError("a checkpoint", f"{path}, {what}", remedy)
    return read_archive(path, "a checkpoint of tensors and plain values")


def own_names(state: Mapping[str, Tensor], source: str, prefix: str = "") -> dict[str, Tensor]:
    """Weights under their model's own names: without torch.compile's `_orig_mod.` anywhere, DataParallel's `module.`
    in front, and a further prefix.

    Raises:
        WeightsError: two of them come to the same name.
    """
    bare = [name.replace("_orig_mod.", "").removeprefix("module.").removeprefix(prefix) for name in state]
    if twice := [name for name, count in Counter(bare).items() if count > 1]:
        got, remedy = f"{source} with {_some(twice)} under several", "Keep one of them."
        raise WeightsError("each tensor under one name", got, remedy)
    return dict(zip(bare, state.values(), strict=True))


def vit_shape(state: Mapping[str, Tensor], source: str) -> ViTShape:
    """The shape of the CLIP ViT whose weights are in `state`, under CLIP's own names without prefix.

    Raises:
        WeightsError: if this is no CLIP ViT; `source` says where the weights are from.
    """
    conv, positions = state.get("conv1.weight"), state.get("positional_embedding")
    layers = len({match[1] for match in map(_BLOCK.match, state) if match})
    side = math.isqrt(max(0, len(positions) - 1)) if positions is not None and positions.ndim == 2 else 0
    if conv is None or conv.ndim != 4 or positions is None or not side or len(positions) != 1 + side**2 or not layers:
        got = f"{source} without conv1.weight (D, 3, p, p), positional_embedding (1 + P, D) or transformer.resblocks.*"
        raise WeightsError("the weights of a CLIP ViT", got, "Only ViT image towers can be read.")
    width, patch_size = conv.shape[0], conv.shape[-1]
    return ViTShape(side * patch_size, patch_size, width, layers, max(1, width // 64))


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights by name; every name and shape must agree.

    Raises:
        WeightsError: naming what is missing, unknown or of another shape.
    """
    own = module.state_dict()
    other = {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    faults = {
        "missing": [name for name in own if name not in state],
        "unknown": [name for name in state if name not in own],
        "of another shape": [f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}" for n in own if n in other],
    }
    if any(faults.values()):
        got = "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
        remedy = "Take a checkpoint of this very model."
        raise WeightsError(f"the weights of {type(module).__name__}", f"{source} with {got}", remedy)
    module.load_state_dict(dict(state))


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
