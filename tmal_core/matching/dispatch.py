"""One signature for all matchers: frame features in, distances between clips out.

Most matchers make one number of a table of frame distances; `register_matcher` adds such a one.

Letters: g groups, Q queries, S supports, T query frames, U support frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tmal_core import config
from tmal_core.errors import SettingsError
from tmal_core.matching.cosine import at_least_float32, cosine_distance, group_cosine_distance, mean_distance
from tmal_core.matching.hausdorff import bimhm
from tmal_core.matching.otam_distance import otam

MATCHERS = tuple(config.MATCHERS)
"""Names of the matchers that come with the package."""

FromFrames = Callable[[Tensor], Tensor]
"""Frame distances (Q, S, T, U) to distances of clips (Q, S), differentiable."""

_of_ones_own: dict[str, FromFrames] = {}


def register_matcher(name: str, from_frames: FromFrames | None) -> None:
    """Make a matcher known: `model.matching` takes its name from then on, in this process.

    Args:
        name: a new one.
        from_frames: frame distances (Q, S, T, U) to distances of clips (Q, S); None takes the matcher away again.

    Raises:
        SettingsError: there is a matcher of that name.
    """
    if from_frames is None:
        del _of_ones_own[name]
        config.MATCHERS.remove(name)
        return
    if name in config.MATCHERS:
        raise SettingsError(f"a name that no matcher has ({', '.join(config.MATCHERS)})", repr(name), "Choose another.")
    _of_ones_own[name] = from_frames
    config.MATCHERS.append(name)


def match(query: Tensor, support: Tensor, name: str, *, smoothing: float = 0.5) -> Tensor:
    """Distance of every query clip to every support clip.

    Args:
        query: (Q, T, D) frame features.
        support: (S, U, D) frame features.
        name: "otam" (both directions), "bimhm" (bidirectional mean Hausdorff), "mean" (cosine of temporal means), or
            a registered one.
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
    return _from_frames(cosine_distance(query, support), name, smoothing)


def match_groups(query: Tensor, support: Tensor, name: str, *, smoothing: float = 0.5) -> Tensor:
    """As `match`, within each of g >= 1 groups, for evaluation: (g, Q, T, D) and (g, S, U, D) to distances (g, Q, S).

    Not for training: distances of frames are made in place.
    """
    _check(name)
    if name == "mean":
        query, support = (clips.mean(2, keepdim=True) for clips in at_least_float32(query, support))
        return group_cosine_distance(query, support)[..., 0, 0]
    distances = group_cosine_distance(query, support)
    return _from_frames(distances.flatten(0, 1), name, smoothing).reshape(distances.shape[:3])


def _from_frames(distances: Tensor, name: str, smoothing: float) -> Tensor:
    """Frame distances (Q, S, T, U) to distances of clips (Q, S)."""
    if name == "otam":
        return otam(distances, smoothing)
    return bimhm(distances) if name == "bimhm" else _of_ones_own[name](distances)


def _check(name: str) -> None:
    if name not in config.MATCHERS:
        known = ", ".join(config.MATCHERS)
        raise SettingsError(f"a matcher out of {known}", repr(name), "Set model.matching to one of them.")
