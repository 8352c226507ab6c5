"""Reading reference checkpoints: the file, the shape of a CLIP ViT in it, and strict loading with a readable refusal.

Letters: P patches, D width.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.runtime.tensor_files import read_archive
from tmal_core.runtime.weights_files import resolve

_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")
_NAMES_SHOWN = 4


@dataclass(frozen=True)
class ViTShape:
    """What of a CLIP ViT's settings its weights tell."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    """Not in the weights: 64 channels a head, as in every ViT of OpenAI's."""


def read_checkpoint(path: str | Path) -> object:
    """What `torch.save` put into a file, on the CPU; tensors and plain containers only, no code.

    Args:
        path: of the file, or its name in `tmal_core.runtime.weights_files`.

    Raises:
        WeightsError: no such file, or it cannot be read that way.
    """
    path = Path(path) if Path(path).is_file() else resolve(path)
    if not path.is_file():
        raise WeightsError("a checkpoint", f"{path}, which is not there", "Check the path.")
    return read_archive(path, "a checkpoint of tensors and plain values")


def vit_shape(state: Mapping[str, Tensor], source: str) -> ViTShape:
    """The shape of the CLIP ViT with these weights.

    Args:
        state: weights under CLIP's own names, without prefix; others may be among them.
        source: where they are from, for the message.

    Raises:
        WeightsError: if this is no CLIP ViT.
    """
    conv, positions = state.get("conv1.weight"), state.get("positional_embedding")
    layers = len({match[1] for match in map(_BLOCK.match, state) if match})
    side = math.isqrt(max(0, len(positions) - 1)) if positions is not None and positions.ndim == 2 else 0
    if conv is None or conv.ndim != 4 or not side or len(positions) != 1 + side**2 or not layers:
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
    faults = {
        "missing": [name for name in own if name not in state],
        "unknown": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    if any(faults.values()):
        got = f"{source} with " + "; ".join(f"{what}: {_some(names)}" for what, names in faults.items() if names)
        remedy = "Take a checkpoint of this very model."
        raise WeightsError(f"the weights of {type(module).__name__}", got, remedy)
    module.load_state_dict(dict(state))


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
