"""How often the intervals of `evaluation/statistics.py` hold the truth, and how often a difference of nothing is clear.

A world has units (classes, or groups of them), clips in each, and seeds of training, whose effects are normal on the
logit scale; a table is what a sample of them answers in 10,000 queries. With one seed the truth is that seed's mean
over all units and clips there might be, with several the mean over all seeds too. A difference of nothing is that of
two methods that are as good as each other on average, but not for each unit and each seed.

Letters: N tables, S seeds, U units, C clips per unit, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from measure import row
from scipy import stats

from tmal_core.evaluation.statistics import ByUnit, interval
from tmal_core.runtime.seeding import generator

TABLES, RESAMPLES, CLIPS, QUERIES = 2000, 500, 24, 10_000
MEANS, UNITS, SEEDS = (0.50, 0.75, 0.90), (4, 6, 10, 24), (1, 5)
CONFIDENCE = 0.95


class Spread(NamedTuple):
    """Standard deviations on the logit scale."""

    unit: float
    clip: float
    seed: float


# Around what the study in data/study shows of trained methods: over classes 0.6 to 1.6 for half of its figures, at most
# 1.9; over seeds 0.04 to 0.17, at most 0.48.
SPREADS = (Spread(0.5, 1.0, 0.2), Spread(1.0, 1.0, 0.2), Spread(2.0, 1.5, 0.4))
CELLS = tuple(product(MEANS, UNITS, SEEDS))


def rows() -> Iterator[dict]:
    """For each spread the coverage on average, in the worst cells, and the rate of differences that are none."""
    for spread in SPREADS:
        of = "units, clips and seeds spread by {}, {} and {}".format(*spread)
        found = [coverage_pct(spread, *cell) for cell in CELLS]
        for name, value, bar, limit in (
            ("average", np.mean(found), ">=", 94.0),
            ("lowest of the cells", min(found), ">=", 92.0),
            ("highest of the cells", max(found), "<=", 98.0),
        ):
            yield row(f"coverage of the 95 % interval, {name}, {of}", float(value), "%", bar, limit)
        for seeds in SEEDS:
            rate = np.mean([false_pct(spread, units, seeds) for units in UNITS])
            yield row(f"differences of nothing with p < 0.05, {seeds} seeds, {of}", float(rate), "%")


def coverage_pct(spread: Spread, mean: float, units: int, seeds: int) -> float:
    """Of the intervals around a mean accuracy."""
    rng = generator(0, "coverage", *spread, mean, units, seeds)
    level = _level(mean, float(np.linalg.norm(spread)))
    by_seed = rng.normal(0, spread.seed, (TABLES, seeds, 1, 1))
    right = _answers(level + by_seed, spread, units, rng)
    others = _normal_quantiles(float(np.hypot(spread.unit, spread.clip)))
    truth = [_share(level + own + others).mean() if seeds == 1 else mean for own in by_seed[:, 0, 0, 0]]
    held = 0
    for table, true in zip(right, truth, strict=True):
        found = interval(ByUnit(100 * table, np.ones(units)), rng, RESAMPLES, CONFIDENCE, accuracy=True)
        held += found.low <= 100 * true <= found.high
    return 100 * held / TABLES


def false_pct(spread: Spread, units: int, seeds: int) -> float:
    """Of the differences between two methods that are equally good on average."""
    rng = generator(0, "nothing", *spread, units, seeds)
    level = _level(MEANS[1], float(np.linalg.norm(spread)))
    shared = rng.normal(0, spread.unit, (TABLES, 1, units, 1))
    both = []
    for _ in range(2):
        by_seed = rng.normal(0, spread.seed if seeds > 1 else 0.0, (TABLES, seeds, 1, 1))
        own = Spread(spread.unit / 2, spread.clip, spread.seed)
        both.append(_answers(level + shared + by_seed, own, units, rng))
    found = [
        interval(ByUnit(100 * difference, np.ones(units)), rng, RESAMPLES, CONFIDENCE)
        for difference in both[0] - both[1]
    ]
    return 100 * float(np.mean([one.p_value < 1 - CONFIDENCE for one in found]))


def _answers(level: np.ndarray, spread: Spread, units: int, rng: np.random.Generator) -> np.ndarray:
    """Shares of right answers (N, S, U); a level (N, S, 1 or U, 1) on the logit scale."""
    effects = rng.normal(0, spread.unit, (TABLES, 1, units, 1)) + rng.normal(0, spread.clip, (TABLES, 1, units, CLIPS))
    asked = max(1, QUERIES // (units * CLIPS))
    return rng.binomial(asked, _share(level + effects)).mean(3) / asked


def _level(mean: float, spread: float) -> float:
    """On the logit scale, so that shares spread around it have the mean: by bisection."""
    low, high, others = -12.0, 12.0, _normal_quantiles(spread)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _share(middle + others).mean() < mean else (low, middle)
    return middle


def _normal_quantiles(spread: float) -> np.ndarray:
    """A normal law as 2,000 equally probable values."""
    return spread * stats.norm.ppf((np.arange(2000) + 0.5) / 2000)


def _share(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
