"""Names of classes compared: what is the same, what is alike, what only looks so, and what the real lists share."""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmal_core.data.sets.known_likeness import ALIKE, UNLIKE
from tmal_core.data.sets.lists import load_splits
from tmal_core.data.sets.overlap import Pair, overlapping, spelling, stems
from tmal_core.tasks.splits import import_splits

REAL = Path(os.environ.get("TMAL_TEST_LISTS", "no folder of lists is named"))
needs_real_lists = pytest.mark.skipif(not REAL.is_dir(), reason="TMAL_TEST_LISTS names no folder of CLIP-FSAR's lists")
PRESETS = ("hmdb51", "ucf101", "kinetics100", "ssv2_full", "ssv2_small")
WORDS = st.lists(st.text("abdeginrs", min_size=2, max_size=6), min_size=1, max_size=4)
NAMES = st.one_of(st.text(max_size=20), WORDS.map(" ".join), st.sampled_from([n for pair in ALIKE for n in pair]))


def kind(one: str, other: str) -> str:
    found = overlapping([one], [other])
    return found[0].kind if found else "none"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("ApplyEyeMakeup", "apply_eye-makeup", "same"),
        ("Blow DryHair", "blow dry hair", "same"),
        ("YoYo", "yo-yo", "same"),
        ("shot put", "Shotput", "same"),
        ("brush the hair", "Brush_Hair", "same"),
        ("Poking a hole into [something soft]", "Poking hole into [something soft]", "same"),
        ("biking", "ride_bike", "similar"),
        ("riding a bike", "biking", "similar"),
        ("biking through snow", "bike", "similar"),
        ("riding a bike", "biking through snow", "none"),
        ("pushup", "Push Ups", "similar"),
        ("fish and eat", "eat or fish", "similar"),
        ("playing drums", "Drumming", "similar"),
        ("shearing sheep", "shears sheep", "similar"),
        ("diving cliff", "CliffDiving", "similar"),
        ("Pouring [something] into [something]", "pour", "similar"),
        ("shoot_bow", "Archery", "similar"),
        ("horse race", "ride horse", "similar"),
        ("swing", "swimming", "none"),
        ("ring bell", "rowing", "none"),
        ("dive", "SkyDiving", "none"),
        ("surfing crowd", "Surfing", "none"),
        ("stand", "Putting [something that cannot actually stand upright] upright", "none"),  # an object's word
        ("Putting [something] into [something]", "Putting [something] onto [something]", "none"),
        ("Putting [something] and [something] on the table", "Putting [something] on the table", "similar"),
        ("", "", "none"),
        ("[something]", "the", "none"),
    ],
)
def test_pairs_that_are_known(one, other, expected):
    assert kind(one, other) == kind(other, one) == expected


@given(NAMES, NAMES)
@settings(max_examples=60, deadline=None)
def test_neither_side_matters(one, other):
    assert kind(one, other) == kind(other, one)


@given(NAMES)
@settings(max_examples=60, deadline=None)
def test_a_name_is_its_own(name):
    assert kind(name, name) == ("same" if spelling(name) else "none")


@given(WORDS, st.sampled_from([" ", "_", "-", "  "]))
@settings(max_examples=60, deadline=None)
def test_how_a_name_is_written_does_not_matter(words, between):
    plain = " ".join(words)
    camel = "".join(word.capitalize() for word in words)
    for written in (plain.upper(), plain.title(), between.join(words), camel, f"the {plain}!"):
        assert spelling(written) == spelling(plain) and stems(written) == stems(plain)


@given(st.lists(NAMES, max_size=5), st.lists(NAMES, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_list_is_its_pairs(trained, tested):
    """Each once, whatever comes twice, and the same before the similar."""
    found = overlapping(trained + trained, tested + tested)
    assert sorted(found) == sorted({p for a in trained for b in tested for p in overlapping([a], [b])})
    assert [pair.kind for pair in found] == sorted(pair.kind for pair in found)


def test_how_a_pair_was_found():
    assert overlapping(["Fencing", "Push Ups", "Soccer Penalty"], ["kick ball", "pushup", "fencing", "run"]) == [
        Pair("Fencing", "fencing", "same", "name"),
        Pair("Soccer Penalty", "kick ball", "similar", "list"),
        Pair("Push Ups", "pushup", "similar", "words"),
    ]


def test_the_list_made_by_hand_says_what_strings_do_not(monkeypatch):
    written = [frozenset(map(spelling, pair)) for group in (*ALIKE, *UNLIKE) for pair in permutations(group, 2)]
    assert len(set(written)) == len(written) / 2, "nothing is said twice, and nothing is both"
    monkeypatch.setattr("tmal_core.data.sets.overlap.ALIKE", ())
    monkeypatch.setattr("tmal_core.data.sets.overlap.UNLIKE", ())
    assert [group for group in ALIKE if any(kind(*pair) != "none" for pair in permutations(group, 2))] == []
    assert [group for group in UNLIKE if any(kind(*pair) != "similar" for pair in permutations(group, 2))] == []


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Names of each split of the real lists, those that have one."""
    found = {}
    for preset in PRESETS:
        root = tmp_path_factory.mktemp(preset)
        import_splits([REAL], preset, root)
        by_split = load_splits(root).groupby("split")["class_name"].unique()
        found[preset] = {s: sorted(n for n in names if not n.startswith("unnamed")) for s, names in by_split.items()}
    return found


@needs_real_lists
def test_the_list_made_by_hand_speaks_of_classes_that_there_are(real):
    names = {name for splits in real.values() for listed in splits.values() for name in listed}
    assert {name for group in (*ALIKE, *UNLIKE) for name in group} <= names


@needs_real_lists
@pytest.mark.parametrize(
    ("trained", "tested", "same", "similar"),
    [
        ("hmdb51", "ucf101", 1, 7),
        ("ucf101", "hmdb51", 1, 2),
        ("kinetics100", "ucf101", 0, 6),
        ("kinetics100", "hmdb51", 0, 2),
        ("ucf101", "kinetics100", 0, 3),
        ("hmdb51", "kinetics100", 0, 3),
        ("hmdb51", "ssv2_full", 0, 2),
        ("ssv2_full", "ssv2_small", 7, 9),
        ("ssv2_small", "ssv2_full", 9, 6),
    ],
)
def test_tested_classes_of_the_real_lists_that_were_trained_on(real, trained, tested, same, similar):
    pairs = overlapping(real[trained]["train"], real[tested]["test"])
    equal = {pair.tested for pair in pairs if pair.kind == "same"}
    assert (len(equal), len({pair.tested for pair in pairs} - equal)) == (same, similar)


@needs_real_lists
def test_pairs_of_the_real_lists(real):
    on_ucf = overlapping(real["kinetics100"]["train"], real["ucf101"]["test"])
    assert {(pair.trained, pair.tested, pair.found_by) for pair in on_ucf} == {
        ("blowing out candles", "Blowing Candles", "words"),
        ("punching bag", "Punch", "words"),
        ("water skiing", "Skiing", "words"),
        ("deadlifting", "Clean And Jerk", "list"),
        ("jumping into pool", "Diving", "list"),
        ("somersaulting", "Floor Gymnastics", "list"),
    }
    hmdb = overlapping(real["hmdb51"]["train"], real["ucf101"]["test"])
    assert hmdb[0] == Pair("punch", "Punch", "same", "name")
    assert {"Diving", "Cliff Diving", "Horse Race", "Rock Climbing Indoor"} <= {pair.tested for pair in hmdb}
    assert "Sky Diving" not in {pair.tested for pair in hmdb}
    assert overlapping(real["ucf101"]["train"], real["hmdb51"]["test"])[0].trained == "Fencing"
    assert kind("shoot_bow", "Archery") == "similar" and "Archery" in real["ucf101"]["train"]
