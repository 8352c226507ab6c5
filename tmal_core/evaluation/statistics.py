"""Intervals that say how far a result would move with other classes, their clips, and other seeds of training.

Ten thousand episodes drawn from ten classes of a hundred clips share their classes and clips: an interval over
episodes alone is far too narrow. Here classes are resampled with all their clips, and seeds of training beside them,
each class and seed for itself. (Clips drawn anew within a class would count their spread twice: Davison and Hinkley,
Bootstrap Methods and their Application, 1997, section 3.8.) Of n classes or seeds n - 1 are drawn, so that the
resampled means spread as the mean itself does (Rao and Wu, JASA 83, 1988).

Few classes show their spread badly, so the interval takes Student's quantile and not the normal one, with degrees of
freedom as Satterthwaite (Biometrics Bulletin 2, 1946) adds those of classes and seeds, and fewer for classes, whose
accuracies are no normal numbers. An accuracy's interval is made on the logit scale, where it stays below 100 %. How
often such intervals hold the truth is measured by `make bench ONLY=coverage`.

Letters: S seeds of training, U units (classes, or groups where classes come in groups), R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy import stats

from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.evaluation.scoring import Episodes, Outcome
from tmal_core.runtime.seeding import generator


@dataclass(frozen=True)
class Interval:
    """A mean and its interval, in percent (or points for differences)."""

    mean: float
    low: float
    high: float
    p_value: float = float("nan")
    """Two-sided, of a difference of zero."""

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]"


def above_chance_pct(outcome: Outcome) -> float:
    """Accuracy in percent; chance itself where the answers cannot be told from guesses (three standard errors)."""
    chance = 1 / outcome.episodes.way
    error = math.sqrt(chance * (1 - chance) / outcome.correct.size)
    return outcome.accuracy_pct if outcome.accuracy_pct > 100 * (chance + 3 * error) else 100 * chance


def accuracy_interval(outcome: Outcome, catalog: Catalog, seed: int, resamples: int, confidence: float) -> Interval:
    """Accuracy in percent with its interval over classes with their clips.

    >>> table = pd.DataFrame({"class_name": list("aabb"), "group": ""})
    >>> episodes = Episodes("all", np.array([[[0], [2]]]), np.array([[[1], [3]]]))  # both queries are named right:
    >>> print(accuracy_interval(Outcome(episodes, np.eye(2)[None]), Catalog(None, table), 0, 100, confidence=0.95))
    100.0 [100.0, 100.0]
    """
    found = by_unit(100.0 * outcome.correct[None], outcome.episodes, catalog)
    return interval(found, generator(seed, "bootstrap", outcome.episodes.name), resamples, confidence, accuracy=True)


def mean_interval(intervals: Sequence[Interval], mean: float) -> Interval:
    """Of the mean over episode types: their classes are different ones, so the half widths add as squares.

    Args:
        intervals: of accuracies in percent.
        mean: in percent, what it is laid around.

    >>> print(mean_interval([Interval(50.0, 44.0, 56.0), Interval(70.0, 62.0, 78.0)], 60.0))
    60.0 [55.0, 65.0]
    """
    half = math.sqrt(sum(one.half_width**2 for one in intervals)) / len(intervals)
    return Interval(mean, max(0.0, mean - half), min(100.0, mean + half))


def difference_interval(
    first: Outcome, second: Outcome, catalog: Catalog, seed: int, resamples: int, confidence: float
) -> Interval:
    """Accuracy of the first minus the second in points, paired: both must have answered the same episodes.

    Raises:
        EpisodeError: they have not, or they read other frames of the same videos.
    """
    sides = zip(vars(first.episodes).values(), vars(second.episodes).values(), strict=True)
    if not all(np.array_equal(one, other) for one, other in sides):
        got = f"other episodes of '{first.episodes.name}' and '{second.episodes.name}'"
        raise EpisodeError("the same episodes on both sides of a comparison", got, "Evaluate both on one draw.")
    if first.positions != second.positions:
        got = f"frames {first.positions or 'unknown'} and {second.positions or 'unknown'}"
        remedy = "Evaluate both with the same sampling, seed and evaluation.views."
        raise EpisodeError("the same frames of each video on both sides of a comparison", got, remedy)
    found = by_unit(100.0 * (first.correct[None].astype(np.float64) - second.correct), first.episodes, catalog)
    return interval(found, generator(seed, "bootstrap", first.episodes.name), resamples, confidence)


def episode_interval(outcome: Outcome, confidence: float = 0.95) -> Interval:
    """The interval of the field's tables: normal, over episodes alone. Too narrow, given for comparison."""
    per_episode = 100.0 * outcome.correct.mean(axis=(1, 2))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    half = z * float(per_episode.std(ddof=1)) / np.sqrt(len(per_episode)) if len(per_episode) > 1 else 0.0
    mean = float(per_episode.mean())
    return Interval(mean, mean - half, mean + half)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm, A simple sequentially rejective multiple test procedure, 1979)."""
    order = np.argsort(p_values)
    scaled = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(1.0, scaled)[np.argsort(order)]


def with_correction(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Comparisons with their p-values `p`, and beside them `p_holm`, corrected for the number of rows, and `clear`.

    A comparison is clear where its corrected p-value is below 1 - confidence.
    """
    p_holm = holm(table["p"].to_numpy())
    return table.assign(p_holm=p_holm, clear=p_holm < 1 - confidence)


@dataclass(frozen=True)
class ByUnit:
    """What queries come to, summed by seed of training and unit."""

    sums: np.ndarray  # (S, U)
    counts: np.ndarray  # (U,) queries, the same for every seed

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum() / len(self.sums))


def by_unit(values: np.ndarray, episodes: Episodes, catalog: Catalog) -> ByUnit:
    """Sum up the queries' values (S, E, N, Q): right or wrong in percent, or differences in points.

    The unit is the query's class where classes are independent; of classes that come in groups, the group.
    """
    table = catalog.table
    return summed(values, np.where(table["group"] != "", table["group"], table["class_name"])[episodes.query])


def summed(values: np.ndarray, units: np.ndarray) -> ByUnit:
    """The same of values (S, ...), where the unit of each is known: names or numbers (...)."""
    names, codes = np.unique(units.reshape(-1), return_inverse=True)
    sums = [np.bincount(codes, one.reshape(-1), len(names)) for one in values.astype(np.float64)]
    return ByUnit(np.stack(sums), np.bincount(codes, minlength=len(names)))


def interval(
    found: ByUnit, rng: np.random.Generator, resamples: int, confidence: float, accuracy: bool = False
) -> Interval:
    """The mean with its interval over units, and over seeds where there are several.

    Args:
        found: in percent or points.
        rng: of the resampling.
        resamples: R.
        confidence: of the interval, 0..1.
        accuracy: percentages of right answers; otherwise differences, which get a p-value too.

    >>> halves = ByUnit(np.array([[300.0, 100.0, 200.0]]), np.array([4, 4, 4]))  # 75, 25 and 50 % right
    >>> print(interval(halves, np.random.default_rng(0), 1000, 0.95, accuracy=True))
    50.0 [3.0, 97.0]
    """
    num_seeds, num_units = found.sums.shape
    onto, back = (_logit, _percent) if accuracy else (np.asarray, np.asarray)
    if num_units == 1:  # of a single class nothing is known about others
        return Interval(found.mean, 0.0 if accuracy else -100.0, 100.0, math.nan if accuracy else 1.0)
    units, seeds = _drawn(rng, num_units, resamples), _drawn(rng, num_seeds, resamples)
    by_class = _spread(found, units, np.ones((1, num_seeds)), onto)
    by_seed = _spread(found, np.ones((1, num_units)), seeds, onto) if num_seeds > 1 else 0.0
    both = _spread(found, units, seeds, onto) if num_seeds > 1 else by_class
    mean, centre = found.mean, float(onto(np.array(found.mean)))
    if both < _NOTHING:
        return Interval(mean, mean, mean, math.nan if accuracy else float(mean == 0))
    doubt = by_class**2 / _degrees(num_units) + (by_seed**2 / (num_seeds - 1) if num_seeds > 1 else 0.0)
    student = stats.t((by_class + by_seed) ** 2 / doubt)
    half = student.ppf(0.5 + confidence / 2) * math.sqrt(both)
    low, high = (float(back(np.array(centre + side))) for side in (-half, half))
    p_value = math.nan if accuracy else float(2 * student.sf(abs(mean) / math.sqrt(both)))
    return Interval(mean, min(low, mean), max(high, mean), p_value)


_NOTHING = 1e-12
"""A variance that is rounding alone."""
_EXCESS = 0.75
"""Kurtosis beyond the normal one that accuracies of classes are taken to have. With it 95 % intervals hold the truth in
95.7 % of cases, in 92.9 to 97.8 % of the worst and best (`bench_coverage`); with 0 it was 91 % of the worst."""


def _degrees(num_units: int) -> float:
    """Of freedom of a variance from so many units."""
    return 2 / (2 / (num_units - 1) + _EXCESS / num_units)


def _drawn(rng: np.random.Generator, size: int, resamples: int) -> np.ndarray:
    """(R, size) how often each is drawn when one less than there are is drawn; a single one always."""
    return rng.multinomial(size - 1, np.full(size, 1 / size), resamples) if size > 1 else np.ones((resamples, 1))


def _spread(found: ByUnit, units: np.ndarray, seeds: np.ndarray, onto: Callable[[np.ndarray], np.ndarray]) -> float:
    """Variance of resampled means, on a scale."""
    sums = ((seeds @ found.sums) * units).sum(1)
    return float(onto(sums / (units @ found.counts) / seeds.sum(1)).var())


_NEAREST = 1e-3  # to 0 and to 1 that a share comes on the logit scale


def _logit(percent: np.ndarray) -> np.ndarray:
    share = np.clip(percent / 100, _NEAREST, 1 - _NEAREST)
    return np.log(share / (1 - share))


def _percent(logit: np.ndarray) -> np.ndarray:
    return 100 / (1 + np.exp(-logit))
