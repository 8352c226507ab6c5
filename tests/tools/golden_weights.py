"""Weights that are not in the end-to-end goldens: made by rule from their names (tests/assets/README.md)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import torch
from torch import Tensor


def by_rule(name: str, shape: Iterable[int]) -> Tensor:
    """float32 of that shape: LayerNorms near one, other vectors near zero, matrices scaled by their fan-in."""
    shape = tuple(shape)
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + 20261122) % 2**31)
    drawn = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return drawn * math.sqrt(1.6 / math.prod(shape[1:]))
    return 1 + 0.05 * drawn if name.endswith(".weight") else 0.05 * drawn
