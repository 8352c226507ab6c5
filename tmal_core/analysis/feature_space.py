"""Where the clips of a class lie, before and after training: whole clips as points, their widest directions, and how
near the clips of a class are to each other, beside those of the classes that they are told from.

A clip's point holds what its method matches of it, frame behind frame, each of length one; nothing is averaged over
time, or all orders of the same frames would be one point. Half the squared distance of two points is the mean over t
of 1 - cosine of frame t with frame t, up to the 0.01 in the matchers' cosine. Clips are read as queries: no class name
is in their points.

Letters: V clips, T frames, D width of what is matched of a frame, F = T * D, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import linalg

from tmal_core.errors import DataError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.statistics import ByUnit, Interval, interval
from tmal_core.models.few_shot import FewShotModel
from tmal_core.runtime.seeding import generator

_CLIPS_AT_ONCE = 256
_FEWEST = 3


@torch.no_grad()
def clip_points(model: FewShotModel, bank: Bank, rows: np.ndarray) -> np.ndarray:
    """(V, F) float64, each of length one: rows of a bank (V,), in its first view, as the method compares them."""
    parts = torch.from_numpy(np.asarray(rows, np.int64)).split(_CLIPS_AT_ONCE)
    frames = torch.cat([model.head.modulate(bank.query[part].to(model.device)).cpu() for part in parts]).double()
    length = frames.norm(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return (frames / length / math.sqrt(frames.shape[1])).flatten(1).numpy()


@dataclass(frozen=True)
class Projection:
    """The directions in which some points spread most (PCA)."""

    mean: np.ndarray
    """(F,) of the points that it was fitted on."""
    directions: np.ndarray
    """(2, F), orthogonal, of length one; the widest first."""
    shares: np.ndarray
    """(2,) of the fitted points' variance, 0..1."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (V, F) to places (V, 2)."""
        return (points - self.mean) @ self.directions.T


def principal_axes(points: np.ndarray, like: np.ndarray | None = None) -> Projection:
    """Fit the two widest directions of points (V, F), exactly.

    Args:
        like: places (V, 2) of the same clips elsewhere. Each axis points the way in which they agree with it; without
            it, the way in which its largest entry is positive.

    Raises:
        DataError: fewer than three points.

    >>> found = principal_axes(np.array([[0.0, 0, 1], [4, 0, 1], [2, 1, 1], [2, -1, 1]]))
    >>> found.shares.round(2), found.directions.round(2) + 0.0
    (array([0.8, 0.2]), array([[1., 0., 0.],
           [0., 1., 0.]]))
    """
    if len(points) < _FEWEST:
        raise DataError(f"{_FEWEST} clips or more for two axes", str(len(points)), "Choose another episode type.")
    mean = points.mean(0)
    centred = points - mean
    products = centred @ centred.T  # (V, V): fewer clips than numbers in one of them
    spread, weights = linalg.eigh(products, subset_by_index=[len(points) - 2, len(points) - 1])
    spread, weights = spread[::-1].clip(0), weights[:, ::-1]
    directions = (weights.T @ centred) / np.sqrt(np.maximum(spread, np.finfo(float).tiny))[:, None]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)[:, 0]
    side = largest if like is None else (centred @ directions.T * (like - like.mean(0))).sum(0)
    directions *= np.where(side < 0, -1.0, 1.0)[:, None]
    return Projection(mean, directions, spread / max(float(np.trace(products)), np.finfo(float).tiny))


def class_distances(points: np.ndarray, classes: np.ndarray, groups: np.ndarray) -> pd.DataFrame:
    """How far the clips of a class are from each other, and from those of the classes that an episode tells them from.

    Args:
        points: (V, F) of `clip_points`.
        classes: (V,) names.
        groups: (V,) names of the groups that classes come in; all the same where they come in none.

    Returns:
        A row per class, in the order of `classes`: class_name, group, mean distances `within` it and `between` it and
        the others of its group (mean over frames of 1 - cosine, 0..2), and `ratio_pct`, within in percent of between.

    Raises:
        DataError: a class of one clip, or a group of one class.
    """
    names = list(dict.fromkeys(classes.tolist()))
    group_of = {name: str(groups[classes == name][0]) for name in names}
    distances, rows = 1 - points @ points.T, []
    for name in names:
        own, beside = classes == name, (groups == group_of[name]) & (classes != name)
        if own.sum() < 2 or not beside.any():
            got = f"{int(own.sum())} of {name!r} and {int(beside.sum())} of others"
            raise DataError("two clips of each class and some of another", got, "Choose another episode type.")
        inside = distances[np.ix_(own, own)]
        within = inside.sum() / (own.sum() * (own.sum() - 1))  # a clip is at 0 from itself
        rows.append((name, group_of[name], within, distances[np.ix_(own, beside)].mean()))
    table = pd.DataFrame(rows, columns=["class_name", "group", "within", "between"])
    return table.assign(ratio_pct=100 * table["within"] / table["between"])


def compactness(by_method: Mapping[str, pd.DataFrame], seed: int, resamples: int, confidence: float) -> pd.DataFrame:
    """Tables of `class_distances` by method: the mean over classes, with the ratio's interval over classes.

    100 % is what chance gives: clips of a class are as far apart as those of different classes. Classes that come in
    groups are resampled by groups. Of one class or group nothing is known about others, so it has no interval.

    Returns:
        A row per method: method, within, between, ratio_pct, low_pct, high_pct; and against the first one, paired by
        class, change_points, change_low, change_high and p.
    """
    first, rows = next(iter(by_method.values())), []
    for name, table in by_method.items():
        ratio = _over_classes(table, table["ratio_pct"], seed, resamples, confidence)
        change = _over_classes(table, table["ratio_pct"] - first["ratio_pct"], seed, resamples, confidence)
        means = table[["within", "between"]].mean()
        row = {"method": name, **means, "ratio_pct": ratio.mean, "low_pct": ratio.low, "high_pct": ratio.high}
        row |= {"change_points": change.mean, "change_low": change.low, "change_high": change.high}
        rows.append({**row, "p": change.p_value})
    return pd.DataFrame(rows)


def _over_classes(table: pd.DataFrame, values: pd.Series, seed: int, resamples: int, confidence: float) -> Interval:
    grouped = table["group"].nunique() > 1
    units, codes = np.unique(table["group" if grouped else "class_name"], return_inverse=True)
    if len(units) == 1:
        return Interval(float(values.mean()), math.nan, math.nan)
    found = ByUnit(np.bincount(codes, values)[None], np.bincount(codes))
    return interval(found, generator(seed, "bootstrap", "compactness"), resamples, confidence)
