"""One signature for all matchers: frame features in, distances between clips out.

Most matchers make one number of a table of frame distances; `register_matcher` adds such a one. Those of the package
that do add up T + U cosines each, from either side, so a sum of them ("otam+diagonal") is their plain mean: in the same
unit as each, and none outweighs another. One of your own counts as it is.

Letters: g groups, Q queries, S supports, T query frames, U support frames, D width.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core import config
from tmal_core.errors import SettingsError
from tmal_core.matching.cosine import at_least_float32, cosine_distance, group_cosine_distance, mean_distance
from tmal_core.matching.diagonal_distance import diagonal
from tmal_core.matching.hausdorff import bimhm
from tmal_core.matching.nearest_tuples import tuples
from tmal_core.matching.otam_distance import otam

MATCHERS = tuple(config.MATCHERS)
"""Names of the matchers that come with the package."""

FromFrames = Callable[[Tensor], Tensor]
"""Frame distances (Q, S, T, U) to distances of clips (Q, S), differentiable."""

_without_smoothing: dict[str, FromFrames] = {"bimhm": bimhm, "diagonal": diagonal, "tuples": tuples}
_of_ones_own: dict[str, FromFrames] = {}


def register_matcher(name: str, from_frames: FromFrames | None) -> None:
    """Make a matcher known: `model.matching` takes its name from then on, in this process; None takes it away again.

    Raises:
        SettingsError: there is a matcher of that name, or it would be read as a sum.

    >>> register_matcher("ends", lambda distances: distances[:, :, 0, 0] + distances[:, :, -1, -1])
    >>> match(torch.eye(2)[None], torch.eye(2)[None], "ends")
    tensor([[0.0198]])
    >>> register_matcher("ends", None)
    """
    if from_frames is None:
        del _of_ones_own[name]
        config.MATCHERS.remove(name)
        return
    if name in config.MATCHERS:
        raise SettingsError(f"a name that no matcher has ({', '.join(config.MATCHERS)})", repr(name), "Choose another.")
    if "+" in name:
        raise SettingsError("a name without +, which joins the matchers of a sum", repr(name), "Choose another.")
    _of_ones_own[name] = from_frames
    config.MATCHERS.append(name)


def modules_of_matcher(name: str) -> dict[str, str]:
    """Where a matcher, or each of a sum, is defined: another process knows one of your own once it has imported that.

    >>> modules_of_matcher("otam")
    {'otam': 'tmal_core.matching.dispatch'}
    """
    parts = config.matchers_in(name)
    return {part: getattr(_of_ones_own.get(part, match), "__module__", "__main__") for part in parts}


def match(
    query: Float[Tensor, "q t d"], support: Float[Tensor, "s u d"], name: str, *, smoothing: float = 0.5
) -> Float[Tensor, "q s"]:
    """Distance of every query clip to every support clip: up to about 2 (T + U), and 0..2 for "mean".

    Args:
        query, support: frame features.
        name: "otam" (both directions), "bimhm" (bidirectional mean Hausdorff), "diagonal" (frame t with frame t),
            "tuples" (nearest pairs and triples), "mean" (cosine of temporal means), a registered one, or a sum of those
            without "mean", as "otam+diagonal".
        smoothing: of OTAM's softmin; the other matchers have none.

    Returns:
        (Q, S), differentiable.

    Raises:
        SettingsError: if there is no matcher of that name.
        ValueError: if the features are not two (clips, frames, D) tensors of one width D; by "diagonal" if T is not U.

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
    parts = name.split("+")
    if len(parts) > 1:
        return torch.stack([from_frames(distances, part, smoothing) for part in parts]).mean(0)
    if name == "otam":
        return otam(distances, smoothing)
    return (_without_smoothing | _of_ones_own)[name](distances)


def _check(name: str) -> None:
    try:
        config.matchers_in(name)
    except ValueError as error:
        raise SettingsError(str(error), repr(name), "Set model.matching to one of them.") from error
