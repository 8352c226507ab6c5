"""The walk over the folder of the videos, and which file is which listed video."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

import pandas as pd
import pytest

from tmal_core.data.sets import folder as folder_module
from tmal_core.data.sets.folder import match, one_file, walk
from tmal_core.errors import DataError


@pytest.fixture
def tree(tmp_path):
    """Makes empty files below a folder and returns the folder."""

    def tree(*paths: str):
        root = tmp_path / "videos"
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        return root

    return tree


def found(root, *paths):
    """(file, reason) of listed paths."""
    return list(match(pd.DataFrame({"path": list(paths)}), walk(root)).itertuples(index=False, name=None))


def test_any_suffix_of_a_video_serves(tree):
    root = tree("78687.webm", "5.mp4", "deep/er/6.MKV", "7.avi", "8.txt")
    files = [file for file, _ in found(root, "78687", "5.webm", "6", "7.avi", "8.avi")]
    assert files == ["78687.webm", "5.mp4", "deep/er/6.MKV", "7.avi", ""]


def test_folders_may_be_called_otherwise_or_be_missing(tree):
    root = tree("all/brush hair/x.avi", "y.avi")
    assert [file for file, _ in found(root, "v/brush_hair/x.avi", "v/catch/y.avi")] == ["all/brush hair/x.avi", "y.avi"]


def test_the_folder_that_agrees_is_taken(tree):
    root = tree("a/1.avi", "b/1.avi", "old/b/1.avi", "v/c/2.avi", "w/c/2.avi")
    files = [file for file, _ in found(root, "v/a/1.avi", "old/b/1.avi", "v/c/2.avi")]
    assert files == ["a/1.avi", "old/b/1.avi", "v/c/2.avi"]
    assert found(root, "v/b/1.avi") == [("", "ambiguous: b/1.avi, old/b/1.avi")]


def test_the_listed_suffix_is_preferred(tree):
    root = tree("a/1.avi", "a/1.mp4", "a/1.webm")
    assert found(root, "a/1.webm") == [("a/1.webm", "")] and found(root, "a/1.mkv") == [("a/1.mp4", "")]


def test_a_file_of_another_class_is_never_taken(tree):
    root = tree("b/1.avi", "b/2.avi")
    stranger = "no file of this name; b/1.avi lies in the folder of another class"
    assert found(root, "v/a/1.avi", "v/b/2.avi") == [("", stranger), ("b/2.avi", "")]
    answers = found(root, "v/a/1.avi", "v/b/1.avi")
    assert answers == [("", "no file of this name"), ("b/1.avi", "")], "what another video uses is not worth a word"


def test_one_file_cannot_be_two_videos(tree):
    answers = found(tree("1.avi"), "v/a/1.avi", "v/b/1.avi")
    assert answers == [("", "ambiguous: 1.avi could be 2 listed videos")] * 2


def test_missing_and_folders_called_like_a_video(tree):
    root = tree("1.avi/frame.jpg", "2.avi")
    assert found(root, "1.avi", "3.avi") == [("", "1.avi is a folder, not a file"), ("", "no file of this name")]


@pytest.mark.parametrize("suffix", [".gif", ".wmv", ".flv", ".3gp", ".mts", ".m2ts", ".ogv", ".vob", ".VOB"])
def test_suffixes_of_cameras_and_of_the_web(tree, suffix):
    assert found(tree(f"B/clip1{suffix}"), f"B/clip1{suffix.upper()}", "B/clip2") == [
        (f"B/clip1{suffix}", ""),
        ("", "no file of this name"),
    ]


def test_what_is_no_video_is_named_with_the_reason(tree):
    root = tree("a/1.avi", "a/2.webp", "a/3.XYZ", "a/README")
    assert walk(root).aside == {
        "a/2.webp": "animated WebP is not decoded: save it as GIF or mp4",
        "a/3.XYZ": "not a kind of video that is read (.xyz)",
        "a/README": "not a kind of video that is read (no suffix)",
    }
    reasons = [reason for _, reason in found(root, "a/2.mp4", "a/2.WEBP", "a/3.xyz", "a/4.avi")]
    assert reasons == ["animated WebP is not decoded: save it as GIF or mp4"] * 2 + [
        "not a kind of video that is read (.xyz)",
        "no file of this name",
    ]


def test_a_suffix_that_was_added_to_the_listed_name(tree):
    root = tree("B/x.mp4.avi", "B/y.webm.mp4", "B/z.mp4", "B/z.mp4.avi", "C/w.mp4.avi")
    answers = found(root, "B/x.mp4", "B/y.webm", "B/z.mp4", "B/z.mp4.avi", "B/w.mp4")
    assert [file for file, _ in answers] == ["B/x.mp4.avi", "B/y.webm.mp4", "B/z.mp4", "B/z.mp4.avi", "C/w.mp4.avi"]
    other = found(root, "B/x.mp4", "B/w.mp4", "C/v.avi")
    assert other[1] == ("", "no file of this name"), "a file of another class is not taken for it"


def test_a_single_file_whatever_its_suffix(tree):
    root = tree("clip")
    assert one_file(root / "clip").paths() == ["clip"] and one_file(root / "clip").root == root
    name = os.fsdecode(b"latin\xe9.mp4")
    assert one_file(root / name).refused == {repr(name): "the name is not UTF-8"}


def test_accents_compare_however_they_are_written(tree):
    assert found(tree("caf\u0065\u0301.avi"), "caf\u00e9.mp4") == [("cafe\u0301.avi", "")]


def test_links(tree, tmp_path):
    root = tree("real/1.avi", "real/b/2.avi")
    (tmp_path / "secret.avi").touch()
    (tmp_path / "elsewhere").mkdir()
    links = {
        "inside.avi": root / "real" / "1.avi",
        "out.avi": tmp_path / "secret.avi",
        "out": tmp_path / "elsewhere",
        "broken.avi": root / "nothing",
        "a.avi": root / "b.avi",
        "b.avi": root / "a.avi",
        "real/b/up": root,
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    seen = walk(root)
    assert seen.paths() == ["inside.avi", "real/1.avi", "real/b/2.avi"]
    assert {path: reason.split(",")[0] for path, reason in seen.refused.items()} == {
        "out.avi": "a link that leads out of the folder",
        "out": "a link that leads out of the folder",
        "broken.avi": "a broken link",
        "a.avi": "a link that leads in a circle",
        "b.avi": "a link that leads in a circle",
        "real/b/up": "a link to a folder",
    }
    assert found(root, "out.avi") == [("", "a link that leads out of the folder, to " + str(tmp_path / "secret.avi"))]
    (tmp_path / "link").symlink_to(root)
    assert walk(tmp_path / "link").root == root, "the folder itself may be a link"


def test_hidden_files_pipes_and_names_that_are_no_text(tree):
    root = tree("1.avi", "._1.avi", ".trash/2.avi", "flow/3.avi", "a/flow/4.avi", "splits.csv", "a/.partial-x/5.avi")
    os.mkfifo(root / "pipe.avi")
    (root / os.fsdecode(b"\xff.avi")).touch()
    seen = walk(root, is_data_folder=True)
    assert seen.paths() == ["1.avi", "a/flow/4.avi"] and sorted(seen.hidden) == ["._1.avi", ".trash"]
    assert not seen.others and seen.aside[".trash"] == "hidden by its name"
    assert walk(root).paths() == ["1.avi", "a/flow/4.avi", "flow/3.avi"] and list(walk(root).others) == ["splits.csv"]
    assert sorted(seen.refused.values()) == ["not a file: a pipe, a socket or a device", "the name is not UTF-8"]


def test_no_videos(tree, tmp_path):
    with pytest.raises(DataError, match=r"a folder of videos that can be read, got .*none \(No such file"):
        walk(tmp_path / "none")
    with pytest.raises(DataError, match=r"\(Not a directory\)"):
        walk(tree("1.avi") / "1.avi")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"videos \(.mp4, .webm, .avi, .mkv, .*\.gif\), got .*empty, which is empty"):
        walk(tmp_path / "empty")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0001.jpg").touch()
    with pytest.raises(DataError, match=r"only files like 0001.jpg. .*pictures are not read"):
        walk(tmp_path / "frames")


def test_a_folder_that_may_not_be_read(tree, monkeypatch):
    root, scandir = tree("a/1.avi", "2.avi"), os.scandir

    def denied(path):
        if str(path).endswith("a/"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folder_module.os, "scandir", lambda path: denied(f"{path}/"))
    with pytest.raises(DataError, match=r"got .*/a \(Permission denied\). Correct its path or its permissions"):
        walk(root)


class BareEntry:
    """What a directory says of an entry without a call per file."""

    def __init__(self, entry):
        self.name, self.is_symlink, self.is_dir, self.is_file = (
            entry.name,
            entry.is_symlink,
            entry.is_dir,
            entry.is_file,
        )


def test_one_walk_is_all(tree, monkeypatch):
    root, scandir, walked = tree(*(f"{c}/{i}.avi" for c in "abc" for i in range(9))), os.scandir, []

    @contextmanager
    def bare(path):
        walked.append(str(path))
        with scandir(path) as entries:
            yield map(BareEntry, entries)

    monkeypatch.setattr(folder_module.os, "scandir", bare)
    answers = found(root, *(f"v/{c}/{i}.webm" for c in "abc" for i in range(9)))
    assert all(file for file, _ in answers) and len(walked) == len(set(walked)) == 4
