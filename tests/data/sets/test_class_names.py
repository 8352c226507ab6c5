"""Names of classes: every source is read, and two that disagree are told."""

from __future__ import annotations

import json
import shutil

import pytest

from tmal_core.data.sets.class_names import from_folder, given_names, name_classes, templates
from tmal_core.data.sets.lists import read_clip_fsar_list
from tmal_core.errors import DataError


@pytest.fixture
def folder(assets, tmp_path):
    """A copy of the made-up lists and label files, to be spoilt."""
    shutil.copytree(assets / "splits", tmp_path / "splits")
    return tmp_path / "splits"


def rows(folder, kind, split):
    return read_clip_fsar_list(folder / kind / f"{split}_few_shot.txt", split)


def test_names_of_folders():
    folders = ["brush_hair", "ApplyLipstick", "YoYo", "playing guitar", "HTML", "TaiChi2Go", "a__b_"]
    names = ["brush hair", "Apply Lipstick", "Yo Yo", "playing guitar", "HTML", "Tai Chi2 Go", "a b"]
    assert [from_folder(name) for name in folders] == names


def test_yaml_beside_the_lists_comes_first(folder):
    given = given_names(folder / "folders")
    assert sorted(given) == ["test", "train"]
    named = name_classes("train", rows(folder, "folders", "train"), given["train"])
    assert named.names == ["water plants", "Fold Paper", "ring_bell", "juggle"] and named.origin == "madeup_1shot.yaml"
    named = name_classes("val", rows(folder, "folders", "val"), None)
    assert named.names == ["sweep floor", "Peel Apple"] and named.origin == "names of the folders"


def test_json_beside_the_lists(folder):
    (folder / "ids" / "class_names.json").write_text(json.dumps({"val": ["a", "b"]}))
    given = given_names(folder / "ids")
    assert list(given) == ["val"] and name_classes("val", rows(folder, "ids", "val"), given["val"]).names == ["a", "b"]


def test_label_files(folder):
    by_video = templates(folder / "labels")
    named = name_classes("val", rows(folder, "ids", "val"), None, by_video)
    assert named.names == ["Shaking [something]", "Stacking [number of] [something]"] and not named.notes
    given = given_names(folder / "ids")["train"]
    assert name_classes("train", rows(folder, "ids", "train"), given, by_video).names == given.names
    for new, old in (
        ("train.json", "something-something-v2-train.json"),
        ("labels.json", "something-something-v2-labels.json"),
    ):
        (folder / "labels" / old).rename(folder / "labels" / new)
    assert templates(folder / "labels") == by_video


def test_nobody_names_them(folder):
    named = name_classes("val", rows(folder, "ids", "val"))
    assert named.names == ["unnamed val 0", "unnamed val 1"] and named.origin == "none"


def test_little_disagreement_is_noted_and_much_is_an_error(folder):
    by_video = templates(folder / "labels")
    train, given = rows(folder, "ids", "train"), given_names(folder / "ids")["train"]
    named = name_classes("train", train, given, {**by_video, "101": "Hiding [something]"})
    assert named.notes == ["1 of 8 videos of train have another template in the label files, or none"]
    given.names[2] = "Flipping [something]"
    named = name_classes("train", train, given, by_video)
    assert named.notes == ["names in madeup_1shot.yaml differ from the label files for train2"]
    given.names[:] = [given.names[1], given.names[0], "x"]
    with pytest.raises(
        DataError, match=r"the same names for train, got 'Hiding .*' in .* and 'Lifting .* train0. .*order"
    ):
        name_classes("train", train, given, by_video)
    with pytest.raises(DataError, match=r"listed videos in the label files, got none of the 2 videos of val1, as 211"):
        name_classes("val", rows(folder, "ids", "val"), None, {"201": "a", "202": "a"})
    mixed = {"201": "a", "202": "b", "211": "c", "212": "d"}
    assert name_classes("val", rows(folder, "ids", "val"), None, mixed).notes
    with pytest.raises(DataError, match=r"one template per class, got 5 of 8 videos of train"):
        name_classes("train", train, None, {str(v): f"t{v}" for v in range(100, 130)})


def test_a_class_missing_from_the_names(folder):
    given = given_names(folder / "folders")["train"]
    with pytest.raises(DataError, match=r"names of the 4 classes of train, got 3 names in .*a class is missing"):
        name_classes("train", rows(folder, "folders", "train"), type(given)(given.names[:3], given.source))
    given.names[:2] = given.names[1::-1]
    with pytest.raises(DataError, match=r"class train0, got 'Fold Paper' in .* for the folder water_plants"):
        name_classes("train", rows(folder, "folders", "train"), given)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("ids/class_names.json", "[]", "lists of names for train, val, test"),
        ("ids/class_names.json", '{"valid": ["a"]}', "lists of names for train, val, test"),
        ("ids/class_names.json", '{"val": ["a", 3]}', "a list of class names for val"),
        ("ids/class_names.json", '{"val": ["a", "\\n"]}', "a list of class names for val"),
        ("ids/class_names.json", "{", r"a readable file of class names, got .*class_names.json"),
        (
            "ids/other.yaml",
            "TRAIN: {CLASS_NAME: [x]}",
            r"one list of names for train .*madeup_1shot.yaml and other.yaml",
        ),
        ("ids/other.yaml", "TRAIN: [", r"a readable file of class names, got .*other.yaml"),
        ("ids/other.yaml", "a: 2020-13-45", r"a readable file of class names, got .*other.yaml"),
        ("ids/other.yaml", "TEST: {CLASS_NAME: abc}", "a list of class names for test"),
        ("labels/something-something-v2-train.json", '[{"id": "101"}]', "a list of videos with id and template"),
        ("labels/something-something-v2-train.json", "7", "a list of videos with id and template"),
        ("labels/something-something-v2-train.json", "[" * 100_000, "a readable file of class names"),
        ("labels/something-something-v2-labels.json", '{"Shaking something": "0"}', "templates that are classes in"),
    ],
)
def test_broken_files_are_named(folder, file, content, words):
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=words):
        given_names(folder / "ids")
        templates(folder / "labels")


def test_no_label_files(folder):
    with pytest.raises(DataError, match=r"something-something-v2-train.json or .*validation.json in .*, got neither"):
        templates(folder / "ids")
