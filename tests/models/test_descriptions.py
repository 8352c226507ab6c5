"""Files of descriptions: what is read of them, whose class is meant, and every fault by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tmal_core.errors import DataError
from tmal_core.models import descriptions
from tmal_core.models.descriptions import odd_ones, read_descriptions, sentences_of

KICK = {"kick": ["a foot meets a ball", "In the video, a leg swings."], "draw sword": "steel leaves its sheath"}


@pytest.fixture
def write(tmp_path):
    """A file of that content; the name says which kind."""

    def written(content: object, name: str = "texts.json"):
        path = tmp_path / name
        kind = json.dumps if name.endswith("json") else yaml.safe_dump
        path.write_text(content if isinstance(content, str) else kind(content), encoding="utf-8")
        return path

    return written


def test_json_and_yaml_say_the_same(write):
    found = [read_descriptions(write(KICK, name)) for name in ("a.json", "b.yaml", "c.YML")]
    assert found[0] == found[1] == found[2] == {**KICK, "draw sword": [KICK["draw sword"]]}
    aliased = read_descriptions(write("kick: &k [a, b]\nhit: *k\n", "d.yaml"))
    assert aliased == {"kick": ["a", "b"], "hit": ["a", "b"]}


def test_the_files_of_a_folder_are_one(write, tmp_path):
    write({"kick": ["a"]}, "train.json")
    write({"hug": ["b"]}, "test.yaml")
    (tmp_path / "README.md").write_text("kick: c")
    assert read_descriptions(tmp_path) == {"hug": ["b"], "kick": ["a"]}
    write({"kick": ["b"]}, "val.json")
    with pytest.raises(DataError, match=r"of each class once, got 'kick' in .*train\.json and again in val\.json"):
        read_descriptions(tmp_path)


def test_names_are_found_whatever_stands_between_their_words_and_however_they_are_written():
    known = {"Draw sword": ["d"], "Yo Yo": ["y"], "kick_ball": ["k"], "Hug": ["h"], "hug": ["i"], "more": ["m"]}
    asked = ["draw_sword", "yo yo", "kick ball", "hug", "Hug"]
    assert sentences_of(asked, known, Path("x.json")) == [["d"], ["y"], ["k"], ["i"], ["h"]]


@pytest.mark.parametrize("pair", [("Hug", "hUG"), ("big hug", "big_hug"), ("BIG hug", "big_HUG")])
def test_a_name_that_means_two_entries_is_refused(pair):
    asked = "big  hug" if " " in pair[0] else "hug"
    with pytest.raises(
        DataError, match=rf"one entry of x\.json for the class '{asked}', got '{pair[0]}' and '{pair[1]}'\."
    ):
        sentences_of([asked], {pair[0]: ["a"], pair[1]: ["b"]}, Path("x.json"))


def test_classes_that_the_file_lacks_are_named_with_the_nearest():
    with pytest.raises(DataError) as caught:
        sentences_of(["kick", "kick bal", *"abcdefg"], {"kick": ["a"], "kick ball": ["b"]}, Path("x.json"))
    assert str(caught.value) == (
        "expected descriptions of every class in x.json, got none of 8 of 9: 'kick bal' (there is 'kick ball'), 'a', "
        "'b', 'c', 'd' and 3 more. Add them, or correct their names."
    )


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ('{"a": ["x"], "a": ["y"]}', "f.json", r"of each class once, got 'a' in .*f\.json and again in f\.json"),
        ("a: x\nb: y\na: z", "f.yaml", r"of each class once, got 'a' in .*f\.yaml and again in f\.yaml"),
        ({"a": []}, "f.json", r"a list of sentences for each class, got an empty list for 'a' in"),
        ({"a": {"b": "c"}}, "f.json", r"a list of sentences for each class, got something else for 'a' in"),
        ({"a": None}, "f.yaml", r"got something else for 'a' in"),
        ({"a": {"b": "c"}}, "f.yaml", r"got something else for 'a' in"),
        ({"a": ["x", 3]}, "f.json", r"sentences for 'a', got '3' in .*Correct or remove"),
        ("a: [no]", "f.yaml", r"sentences for 'a', got 'False' in"),
        ({"a": ["x", " "]}, "f.json", r"sentences for 'a', got ' ' in"),
        (
            {"a": ["b", "a {} b"]},
            "f.json",
            r"as they stand for 'a', got 'a \{\} b' in .*f.json\. Sentences around .*pr",
        ),
        ("yes: [x]", "f.yaml", r"names of classes as text, got True in .*Write it in quotes"),
        ({"": ["x"]}, "f.json", r"names of classes as text, got '' in"),
        ("[1, 2]", "f.json", r"class names and their sentences, got .*f\.json with something else"),
        ('[["a", ["x"]]]', "f.json", r"class names and their sentences, got .*f\.json with something else"),
        ({}, "f.json", r"class names and their sentences, got .*f\.json with something else"),
        ("- a", "f.yaml", r"class names and their sentences, got .*f\.yaml with something else"),
        ("", "f.yaml", r"class names and their sentences, got .*f\.yaml with something else"),
        ('{"a": ["x"]', "f.json", r"a readable file of descriptions, got .*f\.json \(Expecting"),
        ("a: [x", "f.yaml", r"a readable file of descriptions, got .*f\.yaml \(while parsing"),
        (
            "a: !!python/name:os.system",
            "f.yaml",
            r"a readable file of descriptions, got .*could not determine a constr",
        ),
        ("[" * 100_000, "f.json", r"a readable file of descriptions"),
        (
            "a: x",
            "f.txt",
            r"descriptions of classes \(.json, .yaml, .yml, or a folder\), got .*f.txt, which is another",
        ),
    ],
)
def test_faults_are_named(write, content, name, words):
    with pytest.raises(DataError, match=words):
        read_descriptions(write(content, name))


def test_a_file_that_is_not_there_or_too_large(write, tmp_path, monkeypatch):
    for place in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DataError, match=r"got .*, which is none\. Correct model\.descriptions"):
            read_descriptions(place)
    monkeypatch.setattr(descriptions, "MOST_BYTES", 10)
    with pytest.raises(DataError, match=r"a file of descriptions of at most 10 bytes, got .*texts\.json with \d+"):
        read_descriptions(write(KICK))


def test_a_model_that_asks_for_more_is_no_description():
    texts = [["He uses a pole as an aid."], ["fine", "I’m sorry, which one?", "Please provide more details."]]
    assert odd_ones(["vault", "sword"], texts) == (
        "2 of 4 descriptions look like a language model that asks for more and are read as they are, the first of "
        "class 'sword': 'I’m sorry, which one?'"
    )
    assert odd_ones(["vault"], texts[:1]) == ""
