"""Matching clips as sets of frames: the bidirectional mean Hausdorff distance (HyRSM, Wang et al., CVPR 2022, 3.3).

Letters: Q queries, S supports, T query frames, U support frames.
As in CLIP-FSAR's and MoLo's code the minima are summed, not averaged: with T = U = 8 the values are 8 times the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bimhm(distances: Tensor) -> Tensor:
    """Sum over query frames of the nearest support frame's distance, plus the same from the support's side.

    Args:
        distances: (Q, S, T, U) distances between frames.

    Returns:
        (Q, S) distances; float32 for bfloat16 and float16 input, otherwise the input's dtype.

    Raises:
        ValueError: if the distances have not four dimensions, or a clip has no frame.
    """
    if distances.ndim != 4 or 0 in distances.shape[2:]:
        raise ValueError(f"expected distances (Q, S, T, U) with T, U >= 1, got {tuple(distances.shape)}")
    distances = distances.to(torch.promote_types(distances.dtype, torch.float32))
    return distances.amin(3).sum(2) + distances.amin(2).sum(2)
