"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno

import pytest

from tmal_core.errors import RunError
from tmal_core.runtime.files import PARTIAL, atomic_path, full_disk_is_clear, is_occupied, require_writable


def test_atomic_path_appears_at_the_end_under_its_own_name(tmp_path):
    target = tmp_path / "deep" / "table.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("a,b\n")
        assert temporary.name == "table.csv"
        assert not target.exists()
        assert not list(target.parent.glob("*.csv")), "a glob must not meet the unfinished file"
    assert target.read_text() == "a,b\n"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_atomic_path_leaves_the_old_file_on_any_exception(tmp_path, error):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_that_got_nothing_is_a_defect(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(tmp_path / "table.csv"):
        pass


def test_what_a_killed_process_left_is_no_content(tmp_path):
    (tmp_path / "set" / f"{PARTIAL}x").mkdir(parents=True)
    assert not is_occupied(tmp_path / "set") and not is_occupied(tmp_path / "none")
    (tmp_path / "set" / "a").touch()
    assert is_occupied(tmp_path / "set") and is_occupied(tmp_path / "set" / "a")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError(
            "[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data/0: file"
        ),
    ],
)
def test_full_disk_is_one_clear_line(tmp_path, error):
    message = r"expected room on the disk .* got a full disk\. Free some space"
    with pytest.raises(RunError, match=message), atomic_path(tmp_path / "weights.pt") as temporary:
        temporary.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def test_other_errors_keep_their_kind(tmp_path):
    with pytest.raises(PermissionError), full_disk_is_clear(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_place_that_takes_no_file_is_refused_before(tmp_path):
    (tmp_path / "file.txt").write_text("x")
    for place in (tmp_path / "a.csv", tmp_path / "new" / "deep" / "a.csv", tmp_path / "file.txt"):
        require_writable(place)
    assert (
        sorted(path.name for path in tmp_path.iterdir()) == ["file.txt"] and (tmp_path / "file.txt").read_text() == "x"
    )
    with pytest.raises(RunError, match=rf"a file to write, got {tmp_path}, which is a folder\. Name another file"):
        require_writable(tmp_path)
    with pytest.raises(
        RunError, match=r"a file that can be written, got .*/file\.txt/a\.csv \(Not a directory\)\. Name"
    ):
        require_writable(tmp_path / "file.txt" / "a.csv")
