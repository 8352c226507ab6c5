"""Published figures: each with its source, second-hand ones marked, none offered for another data set."""

from __future__ import annotations

import pytest

from tmal_core.config import load_settings, preset_names
from tmal_core.evaluation.published_results import DATA_SETS, SECOND_HAND, comparison_note, published, published_table


def test_every_figure_has_its_source():
    table = published()
    assert set(table["data_set"]) <= set(DATA_SETS) and table["accuracy_pct"].between(0, 100).all()
    assert not table.duplicated(["method", "data_set", "shot"]).any() and not table.isna().any().any()
    second_hand = set(table.loc[table["source"] == SECOND_HAND, "method"])
    assert second_hand == {"zero-shot CLIP", "CLIP-FSAR", "CLIP-FSAR + text score", "EMP-Net"}
    one = table.set_index(["method", "data_set", "shot"])["accuracy_pct"]
    assert (one["TS-FSAR", "hmdb51", 5], one["CLIP-FSAR", "ssv2_small", 1]) == (88.9, 54.5)


def test_the_readable_table_holds_the_same_figures():
    table = published_table()
    assert list(table.columns) == [*DATA_SETS.values(), "source"]
    assert table.loc["CLIP-FSAR", "Kinetics-100"] == "89.7 / -" and table.loc["CLIP-MEI", "SSv2-Small"] == "- / -"
    assert table["source"].str.startswith("(2nd)").sum() == 4
    numbers = table.drop(columns="source").stack().str.split(" / ").explode()
    assert (numbers != "-").sum() == len(published())


def test_data_sets_are_those_of_the_presets():
    names = {load_settings(preset).data.name for preset in preset_names()}
    assert set(DATA_SETS) == names - {"diagnostic"}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (("diagnostic", 5, 1), "None of these was measured on `diagnostic`"),
        (("hmdb51", 5, 5), "The column HMDB51 is of the same data set and split, 5-shot"),
        (("hmdb51", 5, 3), "not 5-way 3-shot"),
        (("ucf101", 10, 1), "not 10-way 1-shot"),
    ],
)
def test_the_note_says_what_may_be_compared(case, words):
    assert words in comparison_note(*case)
