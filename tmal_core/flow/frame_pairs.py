"""What every estimator of flow asks of its input."""

from __future__ import annotations

from torch import Tensor

from tmal_core.errors import DataError


def check_pair(first: Tensor, second: Tensor) -> None:
    """Raise DataError unless both are (B, 3, H, W) of one size."""
    if first.ndim != 4 or first.shape[1] != 3 or first.shape != second.shape or first.numel() == 0:
        got = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise DataError("two batches of frames of the same shape (B, 3, H, W)", got, "Pass frames of one video.")
