"""Tables of results: complete, the same twice, and from one set of episodes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tmal_core.errors import WeightsError
from tmal_core.tasks.evaluate import answer, class_table, difference_table, result_table, save_table

METHODS = ["zero_shot", "protonet", "otam"]


@pytest.fixture(scope="module")
def outcomes(small_settings, small_data, tmp_path_factory):
    return answer(small_settings, tmp_path_factory.mktemp("run"), METHODS, "val", progress=False)


def test_one_row_per_method_and_protocol(small_settings, outcomes):
    table = result_table(small_settings, outcomes, "val")
    assert len(table) == len(METHODS) * 5
    assert not table.isna().any().any()
    assert (table["low_pct"] <= table["accuracy_pct"]).all() and (table["accuracy_pct"] <= table["high_pct"]).all()
    assert (table["chance_pct"] == 100 / table["way"]).all()
    assert (table["episodes"] == small_settings.evaluation.episodes).all()


def test_same_seed_same_table_to_the_last_digit(small_settings, outcomes, tmp_path):
    again = answer(small_settings, tmp_path, METHODS, "val", progress=False)
    files = [
        save_table(result_table(small_settings, found, "val"), tmp_path / name, "results").read_bytes()
        for name, found in (("first", outcomes), ("second", again))
    ]
    assert files[0] == files[1]


def test_all_methods_answer_the_same_episodes(outcomes):
    for protocol, first in outcomes["otam"].items():
        for name in METHODS:
            assert np.array_equal(outcomes[name][protocol].episodes.query, first.episodes.query)


def test_difference_is_the_difference_of_the_means(small_settings, outcomes):
    gaps = difference_table(small_settings, outcomes, "val", [("otam", "protonet")]).set_index("protocol")
    for protocol in outcomes["otam"]:
        accuracy = [outcomes[name][protocol].accuracy_pct for name in ("otam", "protonet")]
        assert gaps["points"][protocol] == pytest.approx(accuracy[0] - accuracy[1])


def test_classes_add_up(small_data, outcomes):
    outcome = outcomes["otam"]["appearance"]
    table = class_table(outcome, small_data.select("val"))
    assert table["queries"].sum() == outcome.correct.size
    assert np.average(table["accuracy_pct"], weights=table["queries"]) == pytest.approx(outcome.accuracy_pct)
    assert table["accuracy_pct"].is_monotonic_increasing


def test_method_that_was_not_trained(small_settings, small_data, tmp_path):
    with pytest.raises(WeightsError, match="Train first"):
        answer(small_settings, tmp_path, ["st_adapter"], "val", progress=False)


def test_saved_table_reads_back(tmp_path):
    table = pd.DataFrame({"method": ["a"], "accuracy_pct": [100 / 3]})
    assert pd.read_csv(save_table(table, tmp_path, "x")).equals(table)
