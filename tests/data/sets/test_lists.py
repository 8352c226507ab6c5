"""Lists in CLIP-FSAR's format: both forms read, every fault named with file, line and remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from tmal_core.data.sets.lists import (
    check_published,
    join_lists,
    load_splits,
    path_fault,
    read_clip_fsar_list,
    save_splits,
    stem,
)
from tmal_core.data.sets.sources import SOURCES
from tmal_core.errors import DataError

REAL = Path(os.environ.get("TMAL_TEST_LISTS", "no folder of lists is named"))
needs_real_lists = pytest.mark.skipif(not REAL.is_dir(), reason="TMAL_TEST_LISTS names no folder of CLIP-FSAR's lists")
IDS = "train0/11\ntrain0/12\ntrain1/21\n"
PATHS = "train0//v/a/1.avi\ntrain0//v/a/2.avi\ntrain1//v/b/1.avi\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "list.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_both_forms(assets):
    table = read_clip_fsar_list(assets / "splits" / "folders" / "train_few_shot.txt", "train")
    assert len(table) == 12 and table["class_id"].tolist() == [i for i in range(4) for _ in range(3)]
    first = table.iloc[0].to_dict()
    assert first == {
        "video": "videos/water_plants/water_plants_00",
        "path": "videos/water_plants/water_plants_00.avi",
        "split": "train",
        "class_id": 0,
        "line": 1,
    }
    table = read_clip_fsar_list(assets / "splits" / "ids" / "val_few_shot.txt", "val")
    assert table["video"].tolist() == table["path"].tolist() == ["201", "202", "211", "212"]
    assert table["class_id"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("content", [IDS, PATHS])
def test_line_ends_blank_lines_and_marks_do_not_matter(write, content):
    plain = read_clip_fsar_list(write(content), "train")
    for changed in (content.replace("\n", "\r\n"), content[:-1], "\ufeff" + content, content.replace("\n", " \t\n")):
        pd.testing.assert_frame_equal(read_clip_fsar_list(write(changed), "train"), plain)
    spaced = read_clip_fsar_list(write(content.replace("\n", "\n\n")), "train")
    assert spaced["video"].tolist() == plain["video"].tolist() and spaced["line"].tolist() == [1, 3, 5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "lines like train8/78687 or .*, got .*list.txt, which is empty. Fetch"),
        (" \n\n", "which is empty"),
        (IDS + "train1 22\n", "a line like train8/78687 .*line 4: train1 22. Correct"),
        (IDS + "train1/\n", r"line 4: train1/ \(no name of a file\)"),
        (IDS + "train01/22\n", "line 4: train01/22"),
        (IDS + "train-1/22\n", "line 4: train-1/22"),
        (IDS + f"train{'9' * 5000}/22\n", "line 4: train9999"),
        (IDS + "tain1/22\n", "line 4: tain1/22"),
        (IDS + "test1/22\n", "expected lines of train, got .*line 4: test1/22. Correct the line, or read .* as test"),
        (IDS + "train1/b/22\n", "line 4: .*a path after one slash, where it takes two"),
        (PATHS + "train1//22.avi\n", "line 4: .*no folder of a class"),
        (PATHS + "train1//v/b/../../../secret.avi\n", r"line 4: .*'\.\.', which leads out"),
        (PATHS + "train1///etc/b/x.avi\n", "line 4: .*an absolute path"),
        (PATHS + "train1//C:/b/x.avi\n", "line 4: .*an absolute path"),
        (PATHS + "train1//v\\b\\x.avi\n", "line 4: .*a backslash"),
        (PATHS + "train1//v/b/\0.avi\n", r"line 4: train1//v/b/\?\.avi \(a control character"),
        (PATHS + "train1//v/./x.avi\n", "line 4: .*no name of a file"),
        (PATHS + "train1//v/b/.avi\n", "line 4: .*no name of a file"),
        (IDS + "train1/..\n", r"line 4: .*'\.\.', which leads out"),
        (IDS + "train0/11\n", "each video once, got .*line 4: 11, first in line 1. Remove"),
        (PATHS + "train1//v/b/1.mp4\n", "each video once, got .*line 4: v/b/1.mp4, first in line 3"),
        (PATHS + "train0//v/b/2.avi\n", "one folder per class, got .*line 4: v/b/2.avi in class train0, .* with a"),
        (PATHS + "train2//v/b/2.avi\n", "one class per folder, got .*line 4: v/b/2.avi in class train2, .*train1"),
        (PATHS + "train2/33\n", "lines of one form, got .*list.txt with ids and with paths"),
        (IDS + "train3/31\ntrain5/32\n", "classes train0 to train5, got .*without train2, train4. Fetch"),
    ],
)
def test_faults_are_named(write, content, words):
    with pytest.raises(DataError, match=words):
        read_clip_fsar_list(write(content), "train")


def test_what_is_not_a_text_file(write, tmp_path):
    with pytest.raises(DataError, match=r"a list in UTF-8, got .*list.txt, line 3: invalid .*Save the list as UTF-8"):
        read_clip_fsar_list(write(b"train0/11\ntrain0/12\ntrain1/\xff\xfe\n"), "train")
    with pytest.raises(DataError, match=r"a list of videos, got .*none.txt \(No such file"):
        read_clip_fsar_list(tmp_path / "none.txt", "train")
    with pytest.raises(DataError, match=r"\(Is a directory\)"):
        read_clip_fsar_list(tmp_path, "train")
    with pytest.raises(DataError, match="embedded null"):
        read_clip_fsar_list(f"{tmp_path}/a\0b", "train")
    with pytest.raises(DataError, match="a split among train, val, test, got 'valid'"):
        read_clip_fsar_list(write(IDS), "valid")


def test_permission(write, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(DataError, match=r"list.txt \(Permission denied\)"):
        read_clip_fsar_list(write(IDS), "train")


def test_names_of_files():
    assert [stem(name) for name in ("a/x.avi", "x.WEBM", "v1.5", "x.tar.mkv", "x")] == [
        "a/x",
        "x",
        "v1.5",
        "x.tar",
        "x",
    ]
    assert path_fault("videos/#1 (a)/[x]~&;+@!.avi") == ""


def lists(write, **contents):
    return {s: read_clip_fsar_list(write(content, f"{s}.txt"), s) for s, content in contents.items()}


def test_splits_share_neither_videos_nor_classes(write):
    two = lists(write, train=PATHS, test="test0//v/c/3.avi\ntest0//v/c/4.avi\n")
    table = join_lists(two, {"train": ["a", "b"], "test": ["c"]})
    assert table["split"].tolist() == ["train"] * 3 + ["test"] * 2 and table["class_name"].iat[-1] == "c"
    two["test"].loc[1, ["video", "path"]] = ["v/b/1", "v/b/1.avi"]
    with pytest.raises(DataError, match=r"v/b/1.avi in both: line 3 of train and line 2 of test"):
        join_lists(two, {"train": ["a", "b"], "test": ["c"]})
    two = lists(write, train=PATHS, test="test0//v/B_/3.avi\n")
    with pytest.raises(DataError, match=r"different classes in all splits, got 'B ' as train1 and as test0"):
        join_lists(two, {"train": ["a", "b"], "test": ["B "]})


def test_published_numbers():
    counts = SOURCES["hmdb51"]
    rows = [(s, i % counts.classes[s]) for s, number in counts.videos.items() for i in range(number)]
    table = pd.DataFrame(rows, columns=["split", "class_id"])
    assert check_published(table, "hmdb51") is True and check_published(table[:1], "mine") is False
    with pytest.raises(DataError, match=r"1,292 videos in test of hmdb51, got 1,291: .*Pass --any-counts"):
        check_published(table[:-1], "hmdb51")
    short = table[(table["split"] != "val") | (table["class_id"] < 9)]
    for any_counts in (False, True):
        with pytest.raises(DataError, match="10 classes in val of hmdb51, got 9"):
            check_published(short, "hmdb51", any_counts)
    assert check_published(table[:-1], "hmdb51", any_counts=True)


@pytest.fixture
def saved(write, tmp_path):
    table = join_lists(
        lists(write, train=PATHS, test='test0//v/"c", d/3.avi\n'), {"train": ["a", "b"], "test": ['"c"']}
    )
    return table, save_splits(tmp_path / "data", table)


def test_saved_and_loaded(saved):
    table, path = saved
    pd.testing.assert_frame_equal(load_splits(path.parent), table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: "", r"a table with the columns .*begins with nothing"),
        (lambda t: t.splitlines()[0], r"and has 1 lines"),
        (lambda t: t.replace("class_id", "id"), r"begins with video,path,split,id,class_name"),
        (lambda t: t + "x,x.avi\n", r"5 columns, got .*line 6: x,x.avi"),
        (lambda t: t.replace(",train,1,", ",training,1,"), r"a split among .*line 4: 'training'"),
        (lambda t: t.replace(",train,1,", ",train,one,"), r"a class id from 0, got .*line 4: 'one'"),
        (lambda t: t.replace("v/b/1.avi", "../b/1.avi"), r"line 4: video 'v/b/1' at '../b/1.avi' \('\.\.'"),
        (lambda t: t.replace("v/b/1.avi", "v/b/9.avi"), r"line 4: .*not the path without its suffix"),
        (lambda t: t.replace(",1,b", ",1,-"), r"a class name, got .*line 4: '-'"),
        (lambda t: t.replace(",1,b", ",1,A"), r"different classes in all splits, got 'A' as train0 and as train1"),
        (lambda t: t.replace("2.avi,train,0,a", "2.avi,train,0,z"), r"one name per class, got .*train0"),
        (lambda t: t.replace(",train,1,", ",train,2,"), r"without train1"),
        (lambda t: t + t.splitlines()[3] + "\n", r"each video once, got .*line 6: v/b/1"),
        (lambda t: t + 'x,"', r"a readable table of splits"),
    ],
)
def test_an_edited_table_is_checked(saved, change, words):
    path = saved[1]
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=words):
        load_splits(path.parent)


def test_no_table(tmp_path):
    with pytest.raises(DataError, match=r"splits.csv in .*, got none. Run `tmal splits import`"):
        load_splits(tmp_path)
    (tmp_path / "splits.csv").write_bytes(b"\xff")
    with pytest.raises(DataError, match="a readable table of splits"):
        load_splits(tmp_path)


@needs_real_lists
@pytest.mark.parametrize("name", SOURCES)
def test_real_lists_have_the_published_numbers(name):
    for split, number in SOURCES[name].videos.items():
        table = read_clip_fsar_list(REAL / name / f"{split}_few_shot.txt", split)
        assert len(table) == number and table["class_id"].nunique() == SOURCES[name].classes[split]
