"""What a distance between two clips is made of: how often each pair of frames is matched, and what it adds.

For every matcher that makes one number of a table of frame distances, its derivative says how often a pair is matched;
times the pair's distance this is what the pair adds. The distances of BiMHM, of the diagonal and of tuples (a share of
each pair of frames that two nearest tuples have in one place) are the sum of these. OTAM's is less than that by its
softmin's share (smoothing times the entropy over paths), which has no pair: the rest. A sum has its share of that.

Letters: T query frames, U support frames, d width, n pairs on a path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.matching.alignment import best_path
from tmal_core.matching.cosine import EPS, at_least_float32, cosine_distance
from tmal_core.matching.dispatch import from_frames, match


@dataclass(frozen=True)
class Breakdown:
    """One distance between two clips, taken apart."""

    distance: float
    between_frames: np.ndarray
    """(T, U) float32, one minus the cosine of two frames."""
    matched: np.ndarray
    """(T, U) float32, how often each pair is matched, over all directions of the matcher."""
    added: np.ndarray
    """(T, U) float32, what each pair adds to the distance."""
    rest: float
    """What of the distance no pair adds: the sum of `added` and this is the distance."""
    paths: tuple[np.ndarray, ...] = ()
    """(n, 2) int64 each, rows of (query frame, support frame): the hard matches behind it, one array for each
    direction, which are the same on the diagonal; none where there is no single path: of means, tuples and sums."""


def breakdown(
    query: Float[Tensor, "t d"],
    support: Float[Tensor, "u d"],
    name: str,
    smoothing: float = 0.5,
    agreed: Float[Tensor, "t u"] | None = None,
) -> Breakdown:
    """Take apart the distance that `match` gives two clips of frame features, by any matcher it knows.

    Args:
        agreed: what each pair takes off that distance beside the matcher (`TaskConditioning`); nothing by default.

    Raises:
        SettingsError: there is no matcher of that name.

    >>> clip = torch.eye(3)
    >>> found = breakdown(clip, clip.flip(0), "bimhm")
    >>> found.matched.tolist(), [path.tolist() for path in found.paths]
    ([[0.0, 0.0, 2.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0]], [[[0, 2], [1, 1], [2, 0]], [[2, 0], [1, 1], [0, 2]]])
    """
    query, support = at_least_float32(query.detach(), support.detach())
    distance = match(query[None], support[None], name, smoothing=smoothing).item()
    between = cosine_distance(query[None], support[None])
    if name == "mean":
        matched, added = _of_means(query, support)
    else:
        matched = _derivative(between, name, smoothing)[0, 0]
        added = matched * between[0, 0]
    if agreed is not None:
        added, distance = added - agreed, distance - agreed.sum().item()
    table = between[0, 0].numpy()
    return Breakdown(
        distance, table, matched.numpy(), added.numpy(), distance - added.sum().item(), _paths(table, name)
    )


def _derivative(between: Tensor, name: str, smoothing: float) -> Tensor:
    between = between.clone().requires_grad_()
    with torch.enable_grad():
        total = from_frames(between, name, smoothing).sum()
    return torch.autograd.grad(total, between)[0]


def _of_means(query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine of two means is a sum over pairs of frames: every pair counts the same."""
    share = 1 / (len(query) * len(support))
    norms = query.mean(0).norm() * support.mean(0).norm() + EPS
    return torch.full((len(query), len(support)), share), share * (1 - query @ support.T / norms)


def _paths(table: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
    if name == "otam":
        return best_path(table.clip(0)), best_path(table.T.clip(0))[:, ::-1]
    if name == "bimhm":
        queries, supports = np.arange(table.shape[0]), np.arange(table.shape[1])
        return np.stack([queries, table.argmin(1)], 1), np.stack([table.argmin(0), supports], 1)
    if name == "diagonal":
        return (np.stack([np.arange(len(table))] * 2, 1),) * 2
    return ()
