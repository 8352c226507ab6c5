"""Matching clips as sets of pairs and triples of frames in their order, each with the nearest one of the other clip.

The idea is TRX's (Perrett et al., "Temporal-Relational CrossTransformers for Few-Shot Action Recognition", CVPR 2021,
section 3.2): an action is told by short ordered parts of a clip, at whatever time and speed they come. Here without
anything learned: no projections, no attention over tuples, but the nearest one, from both sides as in BiMHM. A pair
that comes in another order is no pair of the clip, so what is played backwards is something else.

Frames of tuples count as much as each other, so two tuples are as far apart as their frames are on average. Distances
between tuples are never listed, of which 16 frames have 560 x 560 of triples alone for two clips. The nearest triple
u1 < u2 < u3 of (t1, t2, t3) is found along u by running minima, in steps that triples with the same beginning share:

    m1[u] = min over u1 <= u of d[t1, u1]
    m2[u] = min over u2 <= u of d[t2, u2] + m1[u2 - 1]
    nearest = min over u3 of d[t3, u3] + m2[u3 - 1]

Letters: Q queries, S supports, T query frames, U support frames, M pairs of clips, n frames of a tuple, C tuples.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.matching.cosine import checked_distances

SIZES = (2, 3)
"""Frames of a tuple."""
_NUMBERS_AT_ONCE_CPU, _NUMBERS_AT_ONCE_GPU = 1 << 20, 1 << 26  # of the longest table: on a CPU it should stay in cache


def tuples(distances: Float[Tensor, "q s t u"]) -> Float[Tensor, "q s"]:
    """T times the mean distance of the query's tuples to their nearest ones, plus U times the same from the support's
    side, in 0..2 (T + U); the mean of pairs and triples. Once differentiable.

    Where the shorter clip has two frames there are pairs alone, and of a single frame nothing but frames.

    float32 for bfloat16 and float16 distances between frames, otherwise their dtype.

    Raises:
        ValueError: if the distances have not four dimensions, or a clip has no frame.

    >>> in_order = 1 - torch.eye(3)[None, None]
    >>> tuples(in_order), tuples(in_order.flip(3))
    (tensor([[0.]]), tensor([[4.]]))
    """
    distances = checked_distances(distances)
    num_frames, num_support_frames = distances.shape[2:]
    longest = max(num_frames, num_support_frames)
    numbers = max(comb(longest, size) for size in (1, *SIZES)) * longest
    at_once = _NUMBERS_AT_ONCE_CPU if distances.device.type == "cpu" else _NUMBERS_AT_ONCE_GPU
    d_TUM = distances.permute(2, 3, 0, 1).flatten(2)
    parts = d_TUM.split(max(1, at_once // numbers), dim=2)
    return torch.cat([_Nearest.apply(part) for part in parts]).view(distances.shape[:2])


class _Nearest(torch.autograd.Function):
    """Distances (M,) of d (T, U, M). What is kept for the gradient is how often each pair of frames counts."""

    @staticmethod
    def forward(ctx: Any, d_TUM: Tensor) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return _both_ways(d_TUM)
        with torch.enable_grad():
            d_TUM = d_TUM.detach().contiguous().requires_grad_()
            found = _both_ways(d_TUM)
            (counts,) = torch.autograd.grad(found.sum(), d_TUM)
        ctx.save_for_backward(counts)
        return found.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_M: Tensor) -> Tensor:
        (counts,) = ctx.saved_tensors
        return counts * grad_M


def _both_ways(d_TUM: Tensor) -> Tensor:
    shorter = min(d_TUM.shape[:2])
    sizes = [size for size in SIZES if size <= shorter] or [1]
    d_UTM = d_TUM.transpose(0, 1)
    sides = [len(d) * found for d in (d_TUM, d_UTM) for found in _mean_nearest(d, sizes)]
    return torch.stack(sides).sum(0) / len(sizes)


def _mean_nearest(d_TUM: Tensor, sizes: list[int]) -> list[Tensor]:
    """For each size the mean (M,) over the tuples of rows of their distance to the nearest tuple of columns."""
    num_rows, found = len(d_TUM), []
    sums = d_TUM  # (C, U - n + 1, M) of the tuples of n rows, by the column of their last one: n - 1 and further right
    for size in range(1, max(sizes) + 1):
        if size > 1:
            before = {chosen: at for at, chosen in enumerate(combinations(range(num_rows), size - 1))}
            chosen = list(combinations(range(num_rows), size))
            starts = torch.tensor([before[rows[:-1]] for rows in chosen], device=d_TUM.device)
            last = torch.tensor([rows[-1] for rows in chosen], device=d_TUM.device)
            sums = d_TUM[last, size - 1 :] + _running_minima(sums)[starts]
        if size in sizes:
            found.append(sums.amin(1).mean(0) / size)
    return found


def _running_minima(sums: Tensor) -> Tensor:
    """The least of each column and those left of it, for all columns but the last."""
    least = [sums[:, 0]]
    for column in range(1, sums.shape[1] - 1):
        least.append(torch.minimum(least[-1], sums[:, column]))
    return torch.stack(least, 1)
