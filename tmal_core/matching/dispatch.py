"""One signature for all matchers: frame features in, distances between clips out.

Letters: g groups, Q queries, S supports, T query frames, U support frames, D width.
"""

from __future__ import annotations

from torch import Tensor

from tmal_core.errors import SettingsError
from tmal_core.matching.cosine import at_least_float32, cosine_distance, group_cosine_distance, mean_distance
from tmal_core.matching.hausdorff import bimhm
from tmal_core.matching.otam_distance import otam

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


def match_groups(query: Tensor, support: Tensor, name: str, *, smoothing: float = 0.5) -> Tensor:
    """As `match`, within each of g >= 1 groups, for evaluation: (g, Q, T, D) and (g, S, U, D) to distances (g, Q, S).

    Not for training: distances of frames are made in place.
    """
    _check(name)
    if name == "mean":
        query, support = (clips.mean(2, keepdim=True) for clips in at_least_float32(query, support))
        return group_cosine_distance(query, support)[..., 0, 0]
    distances = group_cosine_distance(query, support)
    together = distances.flatten(0, 1)
    return (otam(together, smoothing) if name == "otam" else bimhm(together)).view(distances.shape[:3])


def _check(name: str) -> None:
    if name not in MATCHERS:
        raise SettingsError(f"a matcher out of {', '.join(MATCHERS)}", repr(name), "Set model.matching to one of them.")
