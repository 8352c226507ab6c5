"""One signature for all matchers: frame features in, distances between clips out.

Most matchers make one number of a table of frame distances; `register_matcher` adds such a one.

Letters: g groups, Q queries, S supports, T query frames, U support frames, D width.
"""

from collections.abc import Callable

from jaxtyping import Float
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
    """Make a matcher known: `model.matching` takes its name from then on, in this process; None takes it away again.

    Raises:
        SettingsError: there is a matcher of that name.

    >>> import torch
    >>> register_matcher("in_step", lambda distances: distances.diagonal(dim1=2, dim2=3).sum(-1))
    >>> match(torch.eye(2)[None], torch.eye(2)[None], "in_step")
    tensor([[0.0198]])
    >>> register_matcher("in_step", None)
    """
    if from_frames is None:
        del _of_ones_own[name]
        config.MATCHERS.remove(name)
        return
    if name in config.MATCHERS:
        raise SettingsError(f"a name that no matcher has ({', '.join(config.MATCHERS)})", repr(name), "Choose another.")
    _of_ones_own[name] = from_frames
    config.MATCHERS.append(name)


def module_of_matcher(name: str) -> str:
    """Where a matcher is defined: another process knows one of your own once it has imported that.

    >>> module_of_matcher("otam")
    'tmal_core.matching.dispatch'
    """
    return getattr(_of_ones_own.get(name, match), "__module__", "__main__")


def match(
    query: Float[Tensor, "q t d"], support: Float[Tensor, "s u d"], name: str, *, smoothing: float = 0.5
) -> Float[Tensor, "q s"]:
    """Distance of every query clip to every support clip: up to about 2 (T + U), and 0..2 for "mean".

    Args:
        query, support: frame features.
        name: "otam" (both directions), "bimhm" (bidirectional mean Hausdorff), "mean" (cosine of temporal means), or
            a registered one.
        smoothing: of OTAM's softmin; the other matchers have none.

    Returns:
        (Q, S), differentiable.

    Raises:
        SettingsError: if there is no matcher of that name.
        ValueError: if the features are not two (clips, frames, D) tensors of one width D.

    >>> import torch
    >>> clip = torch.eye(3)[None]
    >>> [round(match(clip, clip.flip(1), name).item(), 2) for name in ("otam", "bimhm", "mean")]
    [1.36, 0.06, 0.03]
    """
    _check(name)
    if name == "mean":
        return mean_distance(query, support)
    return from_frames(cosine_distance(query, support), name, smoothing)


def match_groups(
    query: Float[Tensor, "g q t d"], support: Float[Tensor, "g s u d"], name: str, *, smoothing: float = 0.5
) -> Float[Tensor, "g q s"]:
    """As `match`, within each of g >= 1 groups; for evaluation alone, as distances of frames are made in place."""
    _check(name)
    if name == "mean":
        query, support = (clips.mean(2, keepdim=True) for clips in at_least_float32(query, support))
        return group_cosine_distance(query, support)[..., 0, 0]
    distances = group_cosine_distance(query, support)
    return from_frames(distances.flatten(0, 1), name, smoothing).reshape(distances.shape[:3])


def from_frames(distances: Float[Tensor, "q s t u"], name: str, smoothing: float = 0.5) -> Float[Tensor, "q s"]:
    """Distances between clips from those between their frames, by a matcher that needs no more: all but "mean"."""
    if name == "otam":
        return otam(distances, smoothing)
    return bimhm(distances) if name == "bimhm" else _of_ones_own[name](distances)


def _check(name: str) -> None:
    if name not in config.MATCHERS:
        known = ", ".join(config.MATCHERS)
        raise SettingsError(f"a matcher out of {known}", repr(name), "Set model.matching to one of them.")
