"""What OTAM aligned with what: the soft alignment of two clips, and the best single path through it.

Cao et al., Few-Shot Video Classification via Temporal Alignment (OTAM), CVPR 2020, section 3.3.
Letters: Q queries, S supports, T query frames, U support frames.

The soft minimum that OTAM takes over all alignments has the alignments' shares as its gradient: the derivative of the
distance with respect to the distance d[t, u] of two frames is the expected number of times that the pair (t, u) is
matched. In one direction every support frame is matched once in expectation (the first at least once, as the query may
wait there), so each column of the matrix sums to one; query frames before and after the action are matched by nobody.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tmal_core.matching.otam_distance import otam


def otam_alignment(distances: Tensor, smoothing: float = 0.5, bidirectional: bool = True) -> Tensor:
    """How much each pair of frames is matched: the gradient of `otam` with respect to the distances.

    Args:
        distances: (Q, S, T, U) distances between frames, as `cosine_distance` gives them.
        smoothing: of OTAM's softmin; towards 0 the alignment becomes the indicator of the best path.
        bidirectional: mean of both directions (the distance is their sum); otherwise the query's alone.

    Returns:
        (Q, S, T, U) expected numbers of matches, at least 0, of the distances' dtype (float32 for half precision).

    Raises:
        ValueError: as `otam`.
    """
    distances = distances.detach().to(torch.promote_types(distances.dtype, torch.float32)).requires_grad_()
    with torch.enable_grad():
        total = otam(distances, smoothing, bidirectional).sum()
    (gradient,) = torch.autograd.grad(total, distances)
    return gradient / 2 if bidirectional else gradient


def best_path(distances: np.ndarray | Tensor) -> np.ndarray:
    """The cheapest hard alignment: the limit of OTAM's query direction for smoothing towards 0.

    The path takes the support frames one after another; the query frame stays or moves on by one. It may begin and end
    at any query frame. For the other direction pass the transposed matrix.

    Args:
        distances: (T, U) distances between frames, at least 0.

    Returns:
        (U, 2) int64, rows of (query frame, support frame), in order of time. Of equal paths the earlier one.

    Raises:
        ValueError: if the distances are not a matrix with at least one row and column, or one is negative.
    """
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 2 or 0 in d.shape or not (d >= 0).all():
        raise ValueError(f"expected distances (T, U), T, U >= 1, all of them at least 0, got shape {d.shape}")
    num_columns = d.shape[1]
    costs = d.copy()
    came_from_above = np.zeros(d.shape, dtype=bool)
    for column in range(1, num_columns):
        above = np.concatenate([[np.inf], costs[:-1, column - 1]])
        came_from_above[:, column] = above < costs[:, column - 1]
        costs[:, column] += np.minimum(above, costs[:, column - 1])
    row = int(costs[:, -1].argmin())
    path = np.empty((num_columns, 2), dtype=np.int64)
    for column in range(num_columns - 1, -1, -1):
        path[column] = row, column
        row -= int(came_from_above[row, column])
    return path
