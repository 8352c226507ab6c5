"""Published figures: each with its source, second-hand ones marked, none offered for another data set."""

from __future__ import annotations

import pytest

from tmal_core.config import load_settings, preset_names
from tmal_core.evaluation.published_results import (
    DATA_SETS,
    NOT_STATED,
    SECOND_HAND,
    TEXT_AT_TEST,
    comparison_note,
    published_table,
)

SECOND_HAND_METHODS = {"zero-shot CLIP", "CLIP-FSAR", "CLIP-FSAR + text score", "EMP-Net"}


def test_the_table_holds_every_figure_with_its_source():
    table = published_table()
    assert list(table.columns) == [*DATA_SETS.values(), TEXT_AT_TEST, "source"] and table.index.is_unique
    assert set(table.index[table["source"] == SECOND_HAND]) == SECOND_HAND_METHODS
    assert table["source"].str.startswith("(2nd)").sum() == 4
    assert table.loc["CLIP-FSAR", "Kinetics-100"] == "89.7 / -" and table.loc["CLIP-MEI", "SSv2-Small"] == "- / -"
    assert (table.loc["TS-FSAR", "HMDB51"], table.loc["CLIP-FSAR", "SSv2-Small"]) == ("85.0 / 88.9", "54.5 / 61.8")
    pairs = table.drop(columns=[TEXT_AT_TEST, "source"]).stack().str.split(" / ")
    numbers = pairs.explode()
    assert (pairs.str.len() == 2).all() and numbers[numbers != "-"].astype(float).between(0, 100).all()


def test_rows_say_whether_class_names_are_read_at_test():
    said = published_table()[TEXT_AT_TEST]
    assert set(said) <= {"none", "features", "score", "both", NOT_STATED}
    assert (said["zero-shot CLIP"], said["CLIP-FSAR"], said["TS-FSAR"]) == ("score", "features", "score")
    assert said["CLIP-FSAR + text score"] == "both" and set(said[["EMP-Net", "CLIP-MEI"]]) == {NOT_STATED}


def test_data_sets_are_those_of_the_presets():
    names = {load_settings(preset).data.name for preset in preset_names()}
    assert set(DATA_SETS) == names - {"diagnostic"}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (("diagnostic", 5, 1), "None of these was measured on diagnostic"),
        (("hmdb51", 5, 5), "The column HMDB51 is of the same data set and split, 5-shot"),
        (("hmdb51", 5, 3), "not 5-way 3-shot"),
        (("ucf101", 10, 1), "not 10-way 1-shot"),
    ],
)
def test_the_note_says_what_may_be_compared(case, words):
    assert words in comparison_note(*case)
