"""CLIP-FSAR's colour jitter, which training queries of Kinetics-100 pass (its `datasets/utils/transformations.py`).

mix(u, v, f) = f u + (1 - f) v, cut to 0..1; grey = 0.299 R + 0.587 G + 0.114 B. One set of factors serves all frames of
a clip; only the mean that contrast mixes in is each frame's own. Letters: T frames, H, W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

GREY_SHARE = 0.3
"""Of the clips that lose their colours first."""
_OPERATIONS = ("brightness", "contrast", "saturation", "hue")
LUMA = (0.299, 0.587, 0.114)


class ColourJitter(NamedTuple):
    """What is done to the colours of a clip, in which order."""

    brightness: float  # 0.5..1.5, as are the next two: 1 changes nothing
    contrast: float
    saturation: float
    hue: float  # -0.25..0.25 of the circle
    order: tuple[str, ...]  # the names above, each once, perhaps with `grey` before them


def draw_jitter(generator: np.random.Generator) -> ColourJitter:
    """A random one; drawn in the reference's order."""
    brightness, contrast, saturation = (generator.uniform(0.5, 1.5) for _ in range(3))
    hue = generator.uniform(-0.25, 0.25)
    order = [_OPERATIONS[number] for number in generator.permutation(len(_OPERATIONS))]
    first = ["grey"] if generator.random() < GREY_SHARE else []
    return ColourJitter(brightness, contrast, saturation, hue, (*first, *order))


def jittered(images: Tensor, jitter: ColourJitter) -> Tensor:
    """(T, 3, H, W) in 0..1 to the same."""
    for name in jitter.order:
        if name == "hue":
            images = _turned(images, jitter.hue)
        elif name == "grey":
            images = _grey(images).expand_as(images)
        else:
            others = {"brightness": torch.zeros(()), "contrast": _grey(images).mean((-3, -2, -1), keepdim=True)}
            images = torch.lerp(others.get(name, _grey(images)), images, getattr(jitter, name)).clamp(0, 1)
    return images


def _grey(images: Tensor) -> Tensor:
    return (images * torch.tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)


def _turned(images: Tensor, by: float) -> Tensor:
    """HSV, H + by, and back: a channel is max - C clamp(min(k, 4 - k), 0, 1), C = max - min, k = (n + 6 H) mod 6, and n
    5, 3, 1 for red, green, blue."""
    red, green, blue = images.unbind(-3)
    top = images.amax(-3)
    chroma = top - images.amin(-3)
    safe = chroma.where(chroma > 0, torch.ones(()))
    sixths = ((red - green) / safe + 4).where(top != green, (blue - red) / safe + 2)
    sixths = sixths.where(top != red, (green - blue) / safe) + 6 * by
    places = ((n + sixths) % 6 for n in (5, 3, 1))
    return torch.stack([top - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in places], dim=-3)
