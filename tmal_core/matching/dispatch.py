"""One signature for all matchers: frame features in, distances between clips out.

Letters: Q queries, S supports, T query frames, U support frames, D width.
"""

from __future__ import annotations

from torch import Tensor

from tmal_core.errors import SettingsError
from tmal_core.matching.cosine import cosine_distance, mean_distance, pair_cosine_distance
from tmal_core.matching.otam import otam
from tmal_core.matching.sets import bimhm

MATCHERS = ("otam", "bimhm", "mean")


def match(query: Tensor, support: Tensor, name: str, *, smoothing: float = 0.5) -> Tensor:
    """Distance of every query clip to every support clip.

    Args:
        query: (Q, T, D) frame features.
        support: (S, U, D) frame features.
        name: "otam" (both directions), "bimhm" (bidirectional mean Hausdorff) or "mean" (cosine of temporal means).
        smoothing: of OTAM's softmin; the other matchers have none.

    Returns:
        (Q, S) distances: up to about 2 (T + U) for "otam" and "bimhm", 0..2 for "mean".

    Raises:
        SettingsError: if there is no matcher of that name.
        ValueError: if the features are not two (clips, frames, D) tensors of one width D.
    """
    _check(name)
    if name == "mean":
        return mean_distance(query, support)
    distances = cosine_distance(query, support)
    return otam(distances, smoothing) if name == "otam" else bimhm(distances)


def match_pairs(query: Tensor, support: Tensor, name: str, *, smoothing: float = 0.5) -> Tensor:
    """As `match`, for chosen pairs of clips: (p, T, D) and (p, U, D) to distances (p,)."""
    _check(name)
    if name == "mean":
        query, support = query.mean(1, keepdim=True), support.mean(1, keepdim=True)
        return pair_cosine_distance(query, support)[:, 0, 0]
    distances = pair_cosine_distance(query, support)[:, None]
    return (otam(distances, smoothing) if name == "otam" else bimhm(distances))[:, 0]


def _check(name: str) -> None:
    if name not in MATCHERS:
        raise SettingsError(f"a matcher out of {', '.join(MATCHERS)}", repr(name), "Set model.matching to one of them.")
