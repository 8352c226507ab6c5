"""Intervals that say how far a result would move with other classes and other clips.

Ten thousand episodes drawn from ten classes of a hundred clips share their classes and clips: an interval over
episodes alone is far too narrow. Here classes, query clips and support clips are resampled, each on its own, and a
query counts with the product of the three weights (the pigeonhole bootstrap: Owen, The pigeonhole bootstrap, Annals of
Applied Statistics 1, 2007). The interval is the percentile interval of the resampled means.

Letters: A queries of all episodes, R resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

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
    """Two-sided, of a mean of zero: normal, with the standard deviation of the resampled means."""

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
    """Accuracy in percent with its interval over classes and clips.

    >>> table = pd.DataFrame({"class_name": list("aabb"), "group": "", "base": list("wxyz")})
    >>> episodes = Episodes("all", np.array([[[0], [2]]]), np.array([[[1], [3]]]))  # both queries are named right:
    >>> print(accuracy_interval(Outcome(episodes, np.eye(2)[None]), Catalog(None, table), 0, 100, confidence=0.95))
    100.0 [100.0, 100.0]
    """
    return interval(100.0 * outcome.correct, outcome.episodes, catalog, seed, resamples, confidence)


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
    values = 100.0 * (first.correct.astype(np.float64) - second.correct)
    return interval(values, first.episodes, catalog, seed, resamples, confidence)


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


def interval(
    values: np.ndarray, episodes: Episodes, catalog: Catalog, seed: int, resamples: int, confidence: float
) -> Interval:
    """Mean of the queries' values with its interval over classes and clips.

    Args:
        values: (E, N, Q), one number per query: right or wrong, a difference, a mean over seeds of training.
        catalog: of the episodes' rows.
        seed: of the resampling.
        resamples: R.
        confidence: of the interval, 0..1.

    >>> table = pd.DataFrame({"class_name": list("aabb"), "group": "", "base": list("wxyz")})
    >>> episodes = Episodes("all", np.array([[[0], [2]]]), np.array([[[1], [3]]]))  # one 2-way episode
    >>> print(interval(np.array([[[0.0], [100.0]]]), episodes, Catalog(None, table), 0, 100, confidence=0.95))
    50.0 [0.0, 100.0]
    """
    flat = values.astype(np.float64).reshape(-1)
    rng = generator(seed, "bootstrap", episodes.name)
    factors = _factors(episodes, catalog)
    means = np.empty(resamples)
    for r in range(resamples):
        weight = np.ones(len(flat))
        for codes, size in factors:
            weight *= np.bincount(rng.integers(size, size=size), minlength=size)[codes]
        total = weight.sum()
        # With a handful of classes a resample can miss every query; such a resample says nothing.
        means[r] = (weight * flat).sum() / total if total else np.nan
    tail = 100 * (1 - confidence) / 2
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    mean, spread = float(flat.mean()), float(np.nanstd(means))
    p_value = 2 * NormalDist().cdf(-abs(mean) / spread) if spread else float(mean == 0)
    return Interval(mean, float(low), float(high), p_value)


def _factors(episodes: Episodes, catalog: Catalog) -> list[tuple[np.ndarray, int]]:
    """What is resampled: for each factor the code (A,) of every query, and the number of codes.

    The class is the unit where classes are independent; of classes that come in pairs, the pair.
    """
    table, query = catalog.table, episodes.query
    units = np.where(table["group"] != "", table["group"], table["class_name"])[query].reshape(-1)
    query_clips = table["base"].to_numpy()[query].reshape(-1)
    # The first support clip of the query's own class stands for its episode's support set.
    support_clips = np.broadcast_to(episodes.support[:, :, :1], query.shape).reshape(-1)
    factors = []
    for labels in (units, query_clips, support_clips):
        _, codes = np.unique(labels, return_inverse=True)
        factors.append((codes, int(codes.max()) + 1))
    return factors
