"""What OTAM aligned with what: the soft alignment of two clips, and the best single path through it.

Cao et al., Few-Shot Video Classification via Temporal Alignment (OTAM), CVPR 2020, section 3.3.
Letters: Q queries, S supports, T query frames, U support frames.

The derivative of OTAM's soft minimum with respect to the distance d[t, u] of two frames is the expected number of
times that the pair (t, u) is matched. In one direction every support frame is matched once in expectation (the first at
least once, as the query may wait there); query frames before and after the action are matched by nobody.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.matching.cosine import at_least_float32
from tmal_core.matching.otam_distance import otam


def otam_alignment(
    distances: Float[Tensor, "q s t u"], smoothing: float = 0.5, bidirectional: bool = True
) -> Float[Tensor, "q s t u"]:
    """Expected number of times that each pair of frames is matched: the gradient of `otam` for the distances.

    Args:
        distances: between frames, as `cosine_distance` gives them.
        smoothing: of OTAM's softmin; towards 0 the alignment becomes the indicator of the best path.
        bidirectional: mean of both directions (the distance is their sum); otherwise the query's alone.

    Raises:
        ValueError: as `otam`.

    >>> otam_alignment(1 - torch.eye(2)[None, None], smoothing=0.01).round(decimals=3)
    tensor([[[[1., 0.],
              [0., 1.]]]])
    """
    distances = at_least_float32(distances.detach())[0].requires_grad_()
    with torch.enable_grad():
        total = otam(distances, smoothing, bidirectional).sum()
    (gradient,) = torch.autograd.grad(total, distances)
    return gradient / 2 if bidirectional else gradient


def best_path(distances: np.ndarray | Tensor) -> np.ndarray:
    """The cheapest hard alignment: the limit of OTAM's query direction for smoothing towards 0.

    The path takes the support frames one after another; the query frame stays or moves on by one. It may begin and end
    at any query frame. For the other direction pass the transposed matrix.

    Distances between frames (T, U), at least 0, to (U, 2) int64, rows of (query frame, support frame), in order of
    time. Of equal paths the earlier one.

    Raises:
        ValueError: if the distances are not a matrix with at least one row and column, or one is negative.

    >>> best_path(np.array([[0.9, 0.8], [0.1, 0.7], [0.6, 0.2]])).tolist()
    [[1, 0], [2, 1]]
    """
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 2 or 0 in d.shape or not (d >= 0).all():
        raise ValueError(f"expected distances (T, U), T, U >= 1, all of them at least 0, got shape {d.shape}")
    costs = d.copy()
    for column in range(1, d.shape[1]):
        above = np.concatenate([[np.inf], costs[:-1, column - 1]])
        costs[:, column] += np.minimum(above, costs[:, column - 1])
    rows = [int(costs[:, -1].argmin())]
    for before in costs.T[-2::-1]:  # from the last column but one to the first
        row = rows[-1]
        rows.append(row - int(row > 0 and before[row - 1] < before[row]))
    return np.stack([rows[::-1], np.arange(len(rows))], axis=1)
