"""Examining files: right figures, the same with workers, broken files named, changed files read again."""

from __future__ import annotations

import errno
import hashlib
import json
import os

import pytest

from tmal_core.data.video import examination as examine_module
from tmal_core.data.video.examination import JOURNAL, Examined, Journal, examine, examine_all
from tmal_core.errors import RunError


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_clip):
    root = tmp_path_factory.mktemp("videos")
    for number in range(6):
        make_clip(root / f"{number}.mp4", frames=9 + number)
    (root / "text.avi").write_text("not a video")
    (root / "empty.webm").touch()
    return root


def test_figures(videos):
    found = examine(videos, "3.mp4")
    data = (videos / "3.mp4").read_bytes()
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (found.num_frames, found.lost_frames, found.fps, found.height, found.width) == (12, 0, 24.0, 80, 80)
    assert found.codec == "h264" and not found.reason


def test_reasons_name_no_path_of_the_machine(videos):
    reasons = {path: examine(videos, path).reason for path in ("text.avi", "empty.webm", "none.avi", ".")}
    assert reasons["empty.webm"] == "empty file" and reasons["none.avi"] == "No such file or directory"
    assert all(reasons.values()) and not any(str(videos) in reason for reason in reasons.values())


def test_a_file_that_changes_while_it_is_read(videos, tmp_path, monkeypatch):
    path = tmp_path / "1.mp4"
    path.write_bytes((videos / "1.mp4").read_bytes())
    probe = examine_module.probe

    def grow(file, decoder):
        info = probe(file, decoder)
        os.utime(file, ns=(1, 1))
        return info

    monkeypatch.setattr(examine_module, "probe", grow)
    assert examine(tmp_path, "1.mp4").reason == "it changed while it was read"


def test_a_file_that_may_not_be_read(videos, monkeypatch):
    def denied(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.open", denied)
    assert examine(videos, "1.mp4") == Examined("1.mp4", reason="Permission denied")


def test_workers_find_the_same(videos):
    paths = sorted(path.name for path in videos.iterdir())
    alone = list(examine_all(videos, paths, "auto", 0))
    assert [found.path for found in alone] == paths and sum(bool(found.reason) for found in alone) == 2
    assert list(examine_all(videos, paths, "auto", 2)) == alone
    assert list(examine_all(videos, [], "auto", 2)) == []


class Killer(str):
    """A path that ends the process which unpickles it, as a crashing decoder would."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_crash_costs_one_file(videos):
    paths = ["0.mp4", "1.mp4", Killer("2.mp4"), "3.mp4", "4.mp4", "5.mp4"]
    found = {examined.path: examined for examined in examine_all(videos, paths, "auto", 1)}
    assert sorted(found) == sorted(paths)
    assert [path for path, examined in found.items() if examined.reason] == ["2.mp4"]
    assert "crashed" in found["2.mp4"].reason


def lines(root):
    return (root / JOURNAL).read_text().splitlines()


def test_journal_remembers_what_has_not_changed(videos, tmp_path):
    copy = tmp_path / "1.mp4"
    copy.write_bytes((videos / "1.mp4").read_bytes())
    with Journal(tmp_path / "data", "auto") as journal:
        assert journal.recall(tmp_path, "1.mp4") is None
        found = examine(tmp_path, "1.mp4")
        journal.add(found)
        journal.add(examine(videos, "text.avi"))
        assert len(lines(tmp_path / "data")) == 2, "on disk at once, and no failures"
    assert Journal(tmp_path / "data", "auto").recall(tmp_path, "1.mp4") == found
    assert Journal(tmp_path / "data", "pyav").recall(tmp_path, "1.mp4") is None
    os.utime(copy, ns=(1, 1))
    assert Journal(tmp_path / "data", "auto").recall(tmp_path, "1.mp4") is None
    copy.unlink()
    assert Journal(tmp_path / "data", "auto").recall(tmp_path, "1.mp4") is None


def test_a_full_disk_is_told(tmp_path):
    with Journal(tmp_path, "auto") as journal:
        journal._file.close()
        journal._file = FullDisk()
        with pytest.raises(RunError, match=r"room on the disk for .*prepare_journal.jsonl, got a full disk"):
            journal.add(Examined("a.avi"))


class FullDisk:
    """A file that takes no more."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        pass


def test_journal_passes_over_what_is_no_line_of_it(tmp_path):
    good = Examined("a.avi", 1, 2, 9, 0, 24.0, 4, 4, "h264", "00")
    with Journal(tmp_path, "auto") as journal:
        journal.add(good)
    wrong = ["{", "[]", "7", '{"path": "b.avi"', '{"path": 7}', '{"path": "c.avi", "size": "1"}', '{"x": 1}']
    wrong.append(json.dumps({"path": "d.avi", "reason": "broken"}))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write("\n".join([*wrong, '{"path": "half']))
    with Journal(tmp_path, "auto") as journal:
        assert list(journal._known) == ["a.avi"]
        journal.add(Examined("c.avi"))
        journal.add(Examined("b.avi"))
        journal.compact()
    assert [json.loads(line)["path"] for line in lines(tmp_path)[1:]] == ["a.avi", "b.avi", "c.avi"]
