"""Own videos: classes are dealt out as asked, the same every time."""

from __future__ import annotations

import pytest

from tmal_core.data.sets.folder import walk
from tmal_core.data.sets.own_videos import class_counts, moved_classes, own_splits
from tmal_core.errors import DataError, SettingsError


@pytest.fixture
def clips(tmp_path):
    def clips(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return walk(tmp_path)

    return clips


@pytest.mark.parametrize(
    ("numbers", "num_classes", "expected"),
    [
        ("6/2/2", 10, [6, 2, 2]),
        ("64/12/24", 100, [64, 12, 24]),
        ("64/12/24", 25, [16, 3, 6]),
        ("64/12/24", 12, [8, 1, 3]),
        ("0/0/100", 7, [0, 0, 7]),
        ("50/25/25", 3, [1, 1, 1]),
        ("1/0/99", 30, [0, 0, 30]),
    ],
)
def test_counts_or_percentages(numbers, num_classes, expected):
    assert list(class_counts(numbers, num_classes).values()) == expected


@pytest.mark.parametrize("numbers", ["", "64", "64/12", "64/12/24/0", "a/b/c", "-1/1/1", "1.5/1/1", "64 / 12 / 24"])
def test_malformed_numbers(numbers):
    with pytest.raises(SettingsError, match="three numbers for train, val and test, as 64/12/24, got"):
        class_counts(numbers, 10)


def test_numbers_that_do_not_add_up():
    with pytest.raises(SettingsError, match=r"add up to the 10 classes, or to 100 \(percent\), got 5/2/2, .* up to 9"):
        class_counts("5/2/2", 10)


def test_classes_are_dealt_out_by_the_seed(clips):
    folder = clips(*(f"class_{c}/deep/{v}.mp4" for c in "abcdefghij" for v in range(3)), "stray.mp4", "notes/x.txt")
    table = own_splits(folder, "60/20/20", seed=0, way=2)
    assert table.groupby("split")["class_name"].nunique().to_dict() == {"train": 6, "val": 2, "test": 2}
    assert len(table) == 30 and set(table["class_name"]) == {f"class {c}" for c in "abcdefghij"}
    assert table["path"].iat[0].startswith("class_") and table["video"].iat[0] == table["path"].iat[0][:-4]
    assert own_splits(folder, "6/2/2", seed=0, way=2).equals(table)
    other = own_splits(folder, "60/20/20", seed=1, way=2)
    assert moved_classes(table, other) and not moved_classes(table, table)
    assert set(own_splits(folder, "0/0/100", seed=0, way=5)["split"]) == {"test"}


def test_too_few_classes(clips):
    folder = clips(*(f"{c}/1.mp4" for c in "abcdefghij"))
    with pytest.raises(DataError, match=r"at least 5 classes in each split, .*got 1 in val, 2 in test \(10 classes in"):
        own_splits(folder, "64/12/24", seed=0, way=5)
    with pytest.raises(DataError, match="got none in test"):
        own_splits(folder, "100/0/0", seed=0, way=5)


def test_links_that_lead_out_are_said(tmp_path):
    (tmp_path / "jump").symlink_to(tmp_path.parent)
    with pytest.raises(DataError, match=r"no folder around them \(left out: jump, a link that leads out of the folder"):
        own_splits(walk(tmp_path), "0/0/100", seed=0, way=1)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("1.mp4", "2.mp4"), "one subfolder per class, got .* with 2 videos and no folder"),
        (
            ("a b/1.mp4", "a_B/1.mp4"),
            "class folders whose names differ in letters or digits, got (a b and a_B|a_B and a b)",
        ),
        (("a/1.mp4", "a/1.avi", "b/1.mp4"), "one video of a name in a folder, got a/1.avi and a/1.mp4"),
        (("a/1\\.mp4", "b/1.mp4"), r"plain names of folders and videos, got .*\(a backslash\)"),
        (("a\\x/1.mp4",), r"plain names of folders and videos, got .*\(a backslash\)"),
        (("-/1.mp4",), r"plain names of folders and videos, got .*a folder without letters"),
    ],
)
def test_names_that_do_not_do(clips, paths, words):
    with pytest.raises(DataError, match=words):
        own_splits(clips(*paths), "0/0/100", seed=0, way=1)


def test_a_file_whose_name_cannot_be_used_is_left_out_and_named(clips):
    folder = clips("a/1.mp4", "a/2\n.mp4", "a/3\\.mp4", "b/1.mp4")
    table = own_splits(folder, "0/0/100", seed=0, way=2)
    assert sorted(table["path"]) == ["a/1.mp4", "b/1.mp4"]
    assert folder.refused == {"'a/2\\n.mp4'": "a control character", "a/3\\.mp4": "a backslash"}
