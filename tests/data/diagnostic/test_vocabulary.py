"""Classes and their splits: what the issue of leakage depends on."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from tmal_core.config import Family
from tmal_core.data.diagnostic.vocabulary import FAMILIES, PLACES, all_classes
from tmal_core.data.sets.catalog import SPLITS


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes(family):
    classes = FAMILIES[family]()
    counts = Counter(action.split for action in classes)
    assert 40 <= len(classes) <= 60
    assert counts["test"] >= 8
    assert counts["val"] >= 6
    assert set(counts) == set(SPLITS)


def test_names_are_unique():
    names = [action.name for action in all_classes(list(FAMILIES))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_of_held_out_names_are_seen_in_training(family):
    words = {split: set() for split in SPLITS}
    for action in FAMILIES[family]():
        words[action.split].update(action.name.replace(",", "").split())
    assert words["val"] | words["test"] <= words["train"]


def test_all_families_are_the_default():
    assert list(dict.fromkeys(action.family for action in all_classes())) == list(FAMILIES) == list(get_args(Family))


def test_semantic_episodes_are_possible_in_every_split():
    groups = Counter((action.group, action.split) for action in FAMILIES["semantic"]())
    assert all(count >= 2 for count in groups.values())
    assert {split for _, split in groups} == set(SPLITS)


def test_every_held_out_step_of_order_has_a_parallel_one_in_training():
    steps = {"train": set(), "val": set(), "test": set()}
    for action in FAMILIES["order"]():
        if action.parts["kind"] == "place":
            places = [PLACES[action.parts[key]] for key in "012"]
            places = places if action.parts["direction"] == "forward" else places[::-1]
            pairs = zip(places, places[1:] + places[:1], strict=True)
            steps[action.split].update((x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairs)
    assert steps["val"] | steps["test"] <= steps["train"]
