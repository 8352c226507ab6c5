"""What estimators of flow ask of their input."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from tmal_core.errors import DataError


def check_pair(first: Tensor, second: Tensor) -> None:
    """Raise DataError unless both are (B, 3, H, W) of one size."""
    if first.ndim != 4 or first.shape[1] != 3 or first.shape != second.shape or first.numel() == 0:
        got = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise DataError("two batches of frames of the same shape (B, 3, H, W)", got, "Pass frames of one video.")


def pad_pair(first: Tensor, second: Tensor, multiple: int, smallest: int = 1) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    """Both with the border repeated, equally on both sides, to sides that are multiples and not below the smallest.

    The last is the index of what was given in what comes back.
    """
    sizes = first.shape[-2:]
    missing = [max(smallest, -(-size // multiple) * multiple) - size for size in sizes]
    (top, left), (bottom, right) = [m // 2 for m in missing], [m - m // 2 for m in missing]
    first, second = (pad(images, (left, right, top, bottom), mode="replicate") for images in (first, second))
    return first, second, (..., slice(top, top + sizes[0]), slice(left, left + sizes[1]))
