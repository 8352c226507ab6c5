"""The end-to-end goldens: their files, their pictures, and weights that are made by rule (tests/assets/README.md)."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD


def by_rule(name: str, shape: Iterable[int]) -> Tensor:
    """float32 of that shape: LayerNorms near one, other vectors near zero, matrices scaled by their fan-in."""
    shape = tuple(shape)
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + 20261122) % 2**31)
    drawn = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return drawn * math.sqrt(1.6 / math.prod(shape[1:]))
    return 1 + 0.05 * drawn if name.endswith(".weight") else 0.05 * drawn


def read_golden(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and settings of a golden file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
        return tensors, json.loads(file.metadata()["settings"])


def normalised(frames: Tensor) -> Tensor:
    """Frames (..., 3, H, W) in 0..255 by CLIP's mean and std: float64 of float64, else float32."""
    shares = frames / 255
    mean, std = (torch.tensor(values, dtype=shares.dtype).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (shares - mean) / std
