"""What is measured of a clip, summed up over clips, and held against the bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.analysis import faithfulness as module
from tmal_core.analysis.faithfulness import (
    ABOVE_RANDOM,
    ANEW,
    BELOW_CENTRE,
    BELOW_RANDOM,
    CENTRE,
    DELETION,
    FRAMES_BELOW_RANDOM,
    INSERTION,
    MOST_TIMES_AREA,
    ON_OBJECT,
    RANDOM,
    TIMES_AREA,
    Explained,
    curve_points,
    measure_clip,
    summed_up,
)
from tmal_core.analysis.faithfulness_bars import BARS, verdicts
from tmal_core.data.clips import Clip

SIZE = (8, 2, 2)


class Weighing:
    """Its probability is the weight of what is not covered; most weight is in a corner of the first frames."""

    grid = SIZE[1:]
    weights = torch.full(SIZE, 0.01)
    weights[:4, 0, 0] = 0.18
    weights = weights / weights.sum()

    def probability(self, variants):
        patches = torch.nn.functional.avg_pool2d(variants.frames.mean(2), 2)
        return (patches * self.weights).sum((1, 2, 3))


@pytest.fixture
def explained(monkeypatch):
    """The true map, its opposite, and what both become under other weights: one stays, one is reversed."""
    trained, anew, weights = Weighing(), Weighing(), Weighing.weights
    maps = {id(trained): {"true": weights, "false": -weights}, id(anew): {"true": -weights, "false": -weights}}
    monkeypatch.setattr(module, "explain", lambda target, clip, what: maps[id(target)])
    coverage = torch.zeros(SIZE)
    coverage[:, 0, 0] = 0.5
    return Explained(trained, Clip(torch.ones(8, 3, 4, 4)), coverage, {"trained": anew})


def test_a_true_map_and_its_opposite(explained):
    found = measure_clip(explained, "frames", np.random.default_rng(0)).set_index(["measure", "quantity"])["value"]
    assert found["true", BELOW_RANDOM] < -10 and found["true", BELOW_CENTRE] < -10 and found["true", ABOVE_RANDOM] > 10
    assert found["false", BELOW_RANDOM] > 10 and found["false", ABOVE_RANDOM] < -10
    assert found["true", BELOW_RANDOM] == pytest.approx(found["true", DELETION] - found[RANDOM, DELETION])
    assert found["true", BELOW_CENTRE] == pytest.approx(found["true", DELETION] - found[CENTRE, DELETION])
    assert found["true", FRAMES_BELOW_RANDOM] < 0 < found["false", FRAMES_BELOW_RANDOM]
    on_object = Weighing.weights[:, 0, 0].sum().item() * 0.5
    assert found["true", ON_OBJECT] == pytest.approx(100 * on_object, rel=1e-5)
    assert found["true", TIMES_AREA] == pytest.approx(on_object, rel=1e-5)
    assert found["true", MOST_TIMES_AREA] == 0.5
    assert found["true", ANEW["trained"]] == -1 and found["false", ANEW["trained"]] == 1
    assert ("true", ANEW["all"]) not in found and (RANDOM, ANEW["trained"]) not in found
    assert (RANDOM, BELOW_RANDOM) not in found and (CENTRE, ON_OBJECT) in found


def test_curves_are_kept_from_end_to_end(explained):
    found = measure_clip(explained, "frames", np.random.default_rng(0)).set_index(["measure", "quantity"])["curve"]
    deletion, insertion = found["true", DELETION], found["true", INSERTION]
    assert len(deletion) == module.STEPS + 1 and deletion[0] == pytest.approx(100) and deletion[-1] == 0
    assert insertion[0] == 0 and insertion[-1] == pytest.approx(100) and found["true", ON_OBJECT] is None


def found_rows(quantity, values, units, per=1.0, curve=None):
    rows = {"family": "appearance", "input": "frames", "measure": "one", "quantity": quantity, "value": values}
    return pd.DataFrame({**rows, "per": per, "clip": range(len(values)), "unit": units, "curve": curve})


def test_means_are_over_clips_and_ratios_of_means():
    clips = [found_rows(DELETION, [10.0, 20, 60], ["a", "a", "b"])]
    clips[0]["curve"] = [np.array([100.0, 0]), np.array([100.0, 30]), np.array([100.0, 60])]
    clips += [found_rows(TIMES_AREA, [0.1, 0.3, 0.5], ["a", "a", "b"], per=[0.1, 0.1, 0.1])]
    clips += [found_rows(BELOW_RANDOM, [-5.0, -7, -6], ["a", "a", "b"])]
    clips += [found_rows(ANEW["all"], [0.1, 0.3, 0.2], ["a", "a", "b"])]
    table = summed_up(pd.concat(clips), 0, 200, 0.95).set_index("quantity")
    assert table["mean"].to_dict() == pytest.approx({DELETION: 30, TIMES_AREA: 3, BELOW_RANDOM: -6, ANEW["all"]: 0.2})
    assert table["unit"].to_dict() == {
        DELETION: "%",
        TIMES_AREA: "times",
        BELOW_RANDOM: "points",
        ANEW["all"]: "correlation",
    }
    assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()
    assert table["low"][DELETION] < 30 < table["high"][DELETION] and (table["clips"] == 3).all()
    assert table["p_value"].notna().to_dict() == {
        DELETION: False,
        TIMES_AREA: False,
        BELOW_RANDOM: True,
        ANEW["all"]: False,
    }
    assert curve_points([table["curve_pct"][DELETION]]).tolist() == [[100, 30]] and table["curve_pct"][TIMES_AREA] == ""


def test_of_a_single_class_there_is_no_interval():
    (row,) = summed_up(found_rows(BELOW_RANDOM, [-5.0, -7], ["a", "a"]), 0, 50, 0.95).to_dict("records")
    assert row["mean"] == -6 and np.isnan(row["low"]) and np.isnan(row["high"])


GOOD = {TIMES_AREA: 2.0, MOST_TIMES_AREA: 9.0, BELOW_RANDOM: -8.0, **dict.fromkeys(ANEW.values(), 0.1)}


def table_of(**measures):
    """Measures of frames on `appearance` by name, each with means by quantity."""
    rows = [
        {"family": "appearance", "input": "frames", "measure": name, "quantity": quantity, "mean": mean}
        for name, means in measures.items()
        for quantity, mean in means.items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["mean"] - 1, high=table["mean"] + 1, clips=200)


def test_what_reaches_all_bars_passes_and_the_rest_comes_last():
    table = table_of(bad={**GOOD, TIMES_AREA: 1.5}, good=GOOD, **{RANDOM: GOOD})
    found = verdicts(table)
    assert found["measure"].tolist() == ["good", "bad"] and found["passes"].tolist() == [True, False]
    assert found["fails_at"].tolist() == ["", f"{TIMES_AREA}: 1.50, not at least 2 times"]
    assert found[BELOW_RANDOM][0] == "-8.00 [-9.00, -7.00]" and (found["clips"] == 200).all()


@pytest.mark.parametrize(
    ("quantity", "mean"),
    [(TIMES_AREA, 1.99), (BELOW_RANDOM, -0.9), (BELOW_RANDOM, 5.0), *((name, 0.3) for name in ANEW.values())],
)
def test_each_bar_can_be_missed(quantity, mean):
    (row,) = verdicts(table_of(one={**GOOD, quantity: mean})).to_dict("records")
    assert not row["passes"] and row["fails_at"].startswith(f"{quantity}: {mean:.2f}, not ")


def test_what_nobody_can_reach_and_what_nobody_measured_is_said():
    means = {**GOOD, TIMES_AREA: 1.2, MOST_TIMES_AREA: 1.7}
    del means[ANEW["all"]]
    (row,) = verdicts(table_of(one=means)).to_dict("records")
    assert "1.20, not at least 2 times (no map can have more than 1.70 here)" in row["fails_at"]
    assert f"{ANEW['all']}: not measured" in row["fails_at"] and row[ANEW["all"]] == "not measured"


def test_other_families_and_inputs_decide_nothing():
    table = pd.concat([table_of(one=GOOD).assign(family="order"), table_of(one=GOOD).assign(input="flow")])
    assert verdicts(table).empty and list(verdicts(table).columns) == [
        "input",
        "measure",
        "family",
        "clips",
        *BARS,
        "passes",
        "fails_at",
    ]
