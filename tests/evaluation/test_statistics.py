"""Intervals: wide where classes differ, narrow where they do not, paired only on the same episodes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.evaluation.scoring import Episodes, Outcome
from tmal_core.evaluation.statistics import (
    ByUnit,
    above_chance_pct,
    accuracy_interval,
    difference_interval,
    episode_interval,
    holm,
    interval,
    with_correction,
)
from tmal_core.runtime.seeding import generator

CLASSES, CLIPS, EPISODES = 12, 20, 1500
CATALOG = Catalog(
    root=None,
    table=pd.DataFrame(
        {
            "class_name": np.repeat([f"class {c}" for c in range(CLASSES)], CLIPS),
            "group": "",
            "base": [f"clip {i}" for i in range(CLASSES * CLIPS)],
        }
    ),
)


def _outcome(chance_of_right, seed=0):
    """Two-way episodes answered right with a probability that depends on the query's class and clip."""
    rng = generator(seed, "outcome")
    classes = np.stack([rng.permutation(CLASSES)[:2] for _ in range(EPISODES)])
    clips = classes[:, :, None] * CLIPS + np.argsort(rng.random((EPISODES, 2, CLIPS)), axis=2)[:, :, :2]
    episodes = Episodes("test", clips[:, :, :1], clips[:, :, 1:])
    right = rng.random((EPISODES, 2)) < chance_of_right(classes, clips[:, :, 1])
    answer = np.where(right, [[0, 1]], [[1, 0]])
    return Outcome(episodes, np.eye(2, dtype=np.float32)[answer])


def _interval(outcome, **changes):
    return accuracy_interval(outcome, CATALOG, **{"seed": 0, "resamples": 300, "confidence": 0.95, **changes})


def test_mean_is_the_accuracy():
    outcome = _outcome(lambda classes, _: np.full(classes.shape, 0.7))
    found = _interval(outcome)
    assert found.mean == pytest.approx(outcome.accuracy_pct)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(("right", "told"), [(0.45, False), (0.5, False), (0.6, True)])
def test_what_cannot_be_told_from_chance_counts_as_chance(right, told):
    outcome = _outcome(lambda classes, _: np.full(classes.shape, right))
    assert above_chance_pct(outcome) == (outcome.accuracy_pct if told else 50.0)


def test_certain_answers_have_no_interval():
    found = _interval(_outcome(lambda classes, _: np.ones(classes.shape)))
    assert (found.mean, found.low, found.high) == (100.0, 100.0, 100.0)


def test_classes_that_differ_widen_the_interval():
    """Half of the classes are always right and half never: the episodes alone do not see how little that says."""
    outcome = _outcome(lambda classes, _: classes % 2)
    assert _interval(outcome).half_width > 5 * episode_interval(outcome).half_width


def test_intervals_cover():
    """Over many worlds with classes of their own difficulty, about 95 % of intervals hold the truth of all classes."""
    hits, worlds = 0, 40
    for world in range(worlds):
        level = np.clip(generator(world, "level").normal(0.7, 0.15, CLASSES), 0, 1)
        found = _interval(_outcome(lambda classes, _, level=level: level[classes], seed=world), resamples=200)
        hits += found.low <= 70.0 <= found.high
    assert hits >= 0.85 * worlds


def test_same_seed_same_interval():
    outcome = _outcome(lambda classes, _: classes % 2)
    assert _interval(outcome) == _interval(outcome)
    assert _interval(outcome) != _interval(outcome, seed=1)


def test_paired_difference_is_narrower_than_its_parts():
    """Two methods that are right on the same hard and easy classes differ by little, and the pairing knows it."""
    first = _outcome(lambda classes, _: classes % 2)
    second = Outcome(first.episodes, first.logits.copy())
    second.logits[:30] = second.logits[:30, :, ::-1]
    difference = difference_interval(first, second, CATALOG, 0, 300, 0.95)
    assert difference.mean == pytest.approx(first.accuracy_pct - second.accuracy_pct)
    assert difference.half_width < _interval(first).half_width / 5


def test_difference_of_other_episodes_is_refused():
    first = _outcome(lambda classes, _: classes % 2)
    with pytest.raises(EpisodeError, match="expected the same episodes on both sides"):
        difference_interval(first, _outcome(lambda classes, _: classes % 2, seed=1), CATALOG, 0, 10, 0.95)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_a_comparison_is_clear_only_after_correction():
    table = with_correction(pd.DataFrame({"p": [0.001, 0.04, 0.5]}), 0.95)
    assert table["clear"].tolist() == [True, False, False]


def test_p_values_follow_the_interval():
    """A sure difference has a small one, none at all has one, and an accuracy has none."""
    none, some = (_outcome(lambda classes, _, right=right: right(classes)) for right in (np.zeros_like, _four_of_five))
    assert difference_interval(none, none, CATALOG, 0, 300, 0.95).p_value == 1.0
    found = difference_interval(some, none, CATALOG, 0, 300, 0.95)
    assert found.p_value < 0.01 and found.low > 0
    assert np.isnan(_interval(some).p_value)


def _four_of_five(classes):
    return (classes % 5 > 0).astype(float)


def test_seeds_that_differ_widen_the_interval_and_raise_the_p_value():
    """Classes agree, seeds do not: as in a table whose every difference is a matter of one lucky training."""
    units, counts = np.array([52.0, 48, 50, 51, 49]), np.full(5, 10)
    alike, apart = ([0.1, -0.1, 0, 0, 0], [30, -20, 10, -25, 5])
    found = [
        interval(ByUnit((units + 3 + np.array(seeds)[:, None]) * 10 - 500, counts), generator(0), 300, 0.95)
        for seeds in (alike, apart)
    ]
    assert found[0].mean == pytest.approx(3) and found[1].mean == pytest.approx(3)
    assert found[1].half_width > 3 * found[0].half_width
    assert found[0].p_value < 0.05 < found[1].p_value


def test_few_classes_are_told_to_say_little():
    """The same spread of classes: half as many make the interval wider than by the root of two."""
    widths = []
    for copies in (1, 2, 4):
        sums = np.tile([80.0, 60, 70], copies)[None] * 10
        widths.append(interval(ByUnit(sums, np.full(3 * copies, 10)), generator(0), 2000, 0.95, True).half_width)
    assert widths[0] > 2 * widths[1] and widths[1] > 1.6 * widths[2]
    assert widths[2] == pytest.approx(np.std(np.tile([80, 60, 70], 4), ddof=1) * 2.3 / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize(("accuracy", "told"), [(True, (70.0, 0.0, 100.0)), (False, (70.0, -100.0, 100.0))])
def test_of_a_single_class_nothing_is_known_about_others(accuracy, told):
    found = interval(ByUnit(np.array([[700.0]]), np.array([10])), generator(0), 100, 0.95, accuracy)
    assert (found.mean, found.low, found.high) == told
    assert np.isnan(found.p_value) if accuracy else found.p_value == 1


def test_an_accuracy_stays_between_0_and_100():
    found = interval(ByUnit(np.array([[1000.0, 1000, 400]]), np.full(3, 10)), generator(0), 500, 0.95, accuracy=True)
    assert 0 < found.low < found.mean == 80 < found.high < 100
