"""Ordered temporal alignment of two clips (OTAM, Cao et al., CVPR 2020, section 3.3).

Letters: Q queries, S supports, T query frames, U support frames, M alignments computed at once (pairs, and both
directions of each), s smoothing.

The alignment cost c of a (T, U) distance matrix d between a zero column on the left and one on the right:
row 0 is the running sum; below it c[l, 0] = 0 and c[l, m] = d[l, m] - s log sum exp(-c[before] / s), where `before` is
(l-1, m-1) and (l, m-1), in the first and the last column (l-1, m) too. The distance is the cost of the last corner.

How it is computed. With p = exp(-c / s) and w = exp(-d / s) this is a sum over paths of products of w:
    p[l, m] = w[l, m] (p[l-1, m-1] + p[l, m-1])           a whole column at once, for m > 1
    p[l, 1] = w[l, 1] (2 + p[l-1, 1]), p[0, 1] = w[0, 1]  the only column that runs row by row
    p[corner] = 2 (p[0, U] + ... + p[T-2, U]) + p[T-1, U] the zero column on the right, summed up
so an alignment takes T + U steps over all pairs, not T (U + 1), and the gradient is that of a sum of paths:
dc[corner] / dd[l, m] = p[l, m] q[l, m] / p[corner], with q the same recursion from the corner backwards.
The steps are either products and sums of p itself, where p cannot leave the range of float32 or else of float64, or
sums and logaddexp of log p in float64: the same recursion in two semirings. (log p in float32 is off by 1.4e-5 in
gradients at s = 0.1.) Pairs lie along the last dimension, so every step reads memory in order.
"""

import math
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.matching.cosine import checked_distances

# Pairs worked on at once. On the CPU their tables (about 1 KB a pair at 8 x 8) should stay in the cache.
PAIRS_AT_ONCE_CPU, PAIRS_AT_ONCE_GPU = 4096, 1 << 18
_LARGEST_UNROLLED = 16 * 16


def otam(
    distances: Float[Tensor, "q s t u"], smoothing: float = 0.5, bidirectional: bool = True
) -> Float[Tensor, "q s"]:
    """Soft cost of the best ordered alignment of every query with every support, once differentiable.

    float32 for bfloat16 and float16 distances, otherwise their dtype.

    Args:
        distances: between frames; any finite values up to 1e4 and more.
        smoothing: temperature s > 0 of the softmin: 0.5 in CLIP-FSAR, 0.1 in OTAM.
        bidirectional: add the cost of aligning the support with the query (the transposed matrix).

    Raises:
        ValueError: if the distances have not four dimensions, a clip has no frame, or smoothing is not positive.

    >>> in_order = 1 - torch.eye(3)[None, None]
    >>> bool(otam(in_order) < otam(in_order.flip(3)))
    True
    """
    distances = checked_distances(distances)
    if not smoothing > 0:
        raise ValueError(f"expected smoothing > 0, got {smoothing}")
    if distances.numel() == 0:
        return distances.sum((2, 3))
    at_once = PAIRS_AT_ONCE_CPU if distances.device.type == "cpu" else PAIRS_AT_ONCE_GPU
    parts = distances.permute(2, 3, 0, 1).flatten(2).split(at_once, dim=2)
    if (kernels := _kernels(distances)) is not None:
        costs = [kernels.Alignment.apply(d_TUM, smoothing, bidirectional) for d_TUM in parts]
    else:
        ring, dtype = _arithmetic(distances, smoothing)
        costs = [_Alignment.apply(d_TUM.to(dtype), smoothing, bidirectional, ring) for d_TUM in parts]
    return torch.cat(costs).view(distances.shape[:2]).to(distances.dtype)


def _kernels(distances: Tensor) -> ModuleType | None:
    """The Triton version where there is a GPU for it and its loops, which are unrolled, stay short."""
    if not distances.is_cuda or distances[0, 0].numel() > _LARGEST_UNROLLED or find_spec("triton") is None:
        return None
    return import_module("tmal_core.matching.otam_triton")


class _Linear:
    """Numbers are p: plus is +, times is x."""

    zero, one, two = 0.0, 1.0, 2.0
    plus, times, total = torch.add, torch.mul, torch.sum
    weights = staticmethod(lambda d, smoothing: torch.mul(d, -1 / smoothing).exp_())
    cost = staticmethod(lambda p, smoothing: p.log() * -smoothing)
    share = staticmethod(lambda p, q, corner: p.mul(q).div_(corner))


class _Log:
    """Numbers are log p: plus is logaddexp, times is +."""

    zero, one, two = -math.inf, 0.0, math.log(2)
    plus, times, total = torch.logaddexp, torch.add, torch.logsumexp
    weights = staticmethod(lambda d, smoothing: d * (-1 / smoothing))
    cost = staticmethod(lambda p, smoothing: p * -smoothing)
    share = staticmethod(lambda p, q, corner: p.add(q).sub_(corner).exp_())


def _arithmetic(distances: Tensor, smoothing: float) -> tuple[Any, torch.dtype]:
    """The cheapest arithmetic in which no p, however bad or good its path, leaves the normal numbers of the dtype.

    A cell has at least one path of U (or T) distances, which bounds p from below, and at most
    (2 T + 1) 2^U paths of at most T + U distances, which bounds it from above.
    """
    if distances.device.type != "cpu":  # reading the range would wait for the device, and the launches are as many
        return _Log, torch.float64
    num_frames, num_support_frames = distances.shape[2:]
    longest = max(num_frames, num_support_frames)
    lowest, highest = (float(x) / smoothing for x in torch.aminmax(distances.detach()))
    best = max(0.0, -lowest) * (num_frames + num_support_frames) + longest * math.log(2) + math.log(2 * longest + 1)
    for dtype in (distances.dtype, torch.float64):
        if max(longest * highest, best) < -math.log(torch.finfo(dtype).tiny) - 7:
            return _Linear, dtype
    return _Log, torch.float64


class _Alignment(torch.autograd.Function):
    """Costs (M,) of distances (T, U, M), with the analytic gradient."""

    @staticmethod
    def forward(ctx, d_TUM: Tensor, smoothing: float, bidirectional: bool, ring: Any) -> Tensor:
        w_TUM = ring.weights(d_TUM, smoothing)
        tables = []  # one of all alignments of one shape: weights, p, p at the corner
        for w_UTM in _directions(w_TUM, bidirectional):
            p_UTM = _forwards(w_UTM, ring)
            tables += [w_UTM, p_UTM, ring.total(ring.times(p_UTM[-1, 1:], _ends(w_UTM, ring)), dim=0)]
        ctx.save_for_backward(*tables)
        ctx.ring, ctx.bidirectional = ring, bidirectional
        cost = ring.cost(torch.cat(tables[2::3]), smoothing)
        return cost.view(2, -1).sum(0) if bidirectional else cost

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_M: Tensor):
        ring, tables = ctx.ring, ctx.saved_tensors
        shares = []  # (U, T, M) of the first direction, (T, U, M) of the second
        for w_UTM, p_UTM, corner_M in zip(tables[::3], tables[1::3], tables[2::3], strict=True):
            share = ring.share(p_UTM[:, 1:], _backwards(w_UTM, ring), corner_M)
            shares += share.split(grad_M.shape[0], dim=2)
        grad_TUM = shares[0].transpose(0, 1)
        if ctx.bidirectional:
            grad_TUM = grad_TUM + shares[1]
        return grad_TUM * grad_M, None, None, None


def _directions(w_TUM: Tensor, bidirectional: bool) -> list[Tensor]:
    """The weights by column, (U, T, M); both directions in one batch (U, T, 2 M) where their shapes are equal."""
    w_UTM = w_TUM.transpose(0, 1)
    if not bidirectional:
        return [w_UTM]
    return [torch.cat([w_UTM, w_TUM], dim=2)] if w_TUM.shape[0] == w_TUM.shape[1] else [w_UTM, w_TUM]


def _ends(w_UTM: Tensor, ring: Any) -> Tensor:
    """How often each row of the last column counts at the corner, (T, 1): twice, the last one once."""
    ends = w_UTM.new_full((w_UTM.shape[1], 1), ring.two)
    ends[-1] = ring.one
    return ends


def _forwards(w_UTM: Tensor, ring: Any) -> Tensor:
    """p of every cell, (U, T + 1, M); its row 0 is a row of zeros above the matrix."""
    num_columns, num_rows, num = w_UTM.shape
    p = w_UTM.new_empty(num_columns, num_rows + 1, num)
    p[:, 0] = ring.zero
    p[0, 1] = w_UTM[0, 0]
    two = w_UTM.new_full((num,), ring.two)
    first_p, first_w = p[0].unbind(0), w_UTM[0].unbind(0)
    for row in range(1, num_rows):
        cell = first_p[row + 1]
        ring.plus(first_p[row], two, out=cell)
        ring.times(cell, first_w[row], out=cell)
    above, here = p[:, :-1].unbind(0), p[:, 1:].unbind(0)
    for column in range(1, num_columns):
        ring.plus(here[column - 1], above[column - 1], out=here[column])
        ring.times(here[column], w_UTM[column], out=here[column])
    return p


def _backwards(w_UTM: Tensor, ring: Any) -> Tensor:
    """q = dp[corner] / dp of every cell, (U, T, M)."""
    num_columns, num_rows, num = w_UTM.shape
    q = w_UTM.new_empty(num_columns, num_rows + 1, num)  # a row of zeros below the matrix
    q[:, -1] = ring.zero
    q[-1, :-1] = _ends(w_UTM, ring)
    wq = w_UTM.new_full((num_rows + 1, num), ring.zero)
    for column in range(num_columns - 2, -1, -1):
        ring.times(w_UTM[column + 1], q[column + 1, :-1], out=wq[:-1])
        ring.plus(wq[:-1], wq[1:], out=q[column, :-1])
    first_q, first_w = q[0].unbind(0), w_UTM[0].unbind(0)
    for row in range(num_rows - 2, -1, -1):
        ring.plus(first_q[row], ring.times(first_w[row + 1], first_q[row + 1]), out=first_q[row])
    return q[:, :-1]
