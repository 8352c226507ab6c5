"""How much of a map lies on the object, against how much of the picture the object is.

Letters: T frames, H, W pixels of the decoded frame, R rows and K columns of patches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from tmal_core.data.video.transforms import ClipTransform


class ObjectShare(NamedTuple):
    """Shares in 0..1, of all frames of a clip together."""

    relevance: float
    """Of what speaks for the class: how much of it lies on the object, that of a patch spread evenly over it."""
    area: float
    """Of the crop that is the object: what a map has that is the same everywhere."""
    most: float
    """The highest that `relevance` could be: all of it in the patch that the object fills best."""


def patch_coverage(masks: np.ndarray, transform: ClipTransform, grid: tuple[int, int]) -> Tensor:
    """(T, R, K) in 0..1: how much of each patch of the centre crop the object covers, of masks (T, H, W) bool.

    Raises:
        ValueError: the masks are not (T, H, W).
    """
    if masks.ndim != 3:
        raise ValueError(f"expected masks (T, H, W), got {masks.shape}")
    plan = transform.plan(*masks.shape[1:])
    whole = torch.from_numpy(masks).float()[:, None]
    whole = interpolate(whole, (plan.height, plan.width), mode="bilinear", align_corners=False, antialias=True)
    crop = whole[..., plan.top : plan.top + transform.crop, plan.left : plan.left + transform.crop]
    return adaptive_avg_pool2d(crop, grid)[:, 0]


def share_on_object(scores: Tensor, coverage: Tensor) -> ObjectShare:
    """Of a map (T, R, K) and the coverage of its patches (T, R, K).

    What speaks against the class (below zero) counts as nothing; where nothing speaks for it the share is the area's.
    """
    weight = scores.double().clamp_min(0)
    if not weight.any():
        weight = torch.ones_like(weight)
    share = (weight * coverage).sum() / weight.sum()
    return ObjectShare(share.item(), coverage.mean().item(), coverage.max().item())
