"""Who works on what: named so that no later process is taken for it, and told how it ended."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from tmal_core.errors import RunError, SettingsError
from tmal_core.runtime import held_work
from tmal_core.runtime.held_work import Process, Work, held, read_work, wait_for_end

SLEEPS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print(1, flush=True)
time.sleep(999)
"""


@pytest.fixture
def other():
    """A process that sleeps, and dies of Ctrl-C."""
    with subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        yield process
        process.kill()


def writes(path, process, **values):
    held_work._write(path, Work(process, "2026-01-01T00:00:00+00:00", **values))


@pytest.mark.parametrize("has_proc", [True, False], ids=["from /proc", "by ps"])
def test_a_process_is_known_by_number_and_start(other, tmp_path, monkeypatch, has_proc):
    if not has_proc:
        monkeypatch.setattr(held_work, "PROC", tmp_path)
    known = Process.of(other.pid)
    assert known == Process.of(other.pid) and not known.is_gone and not Process.this().is_gone
    assert known._replace(started="at another time").is_gone, "the number was given again"
    assert not known._replace(host="another", pid=2**22 + 1).is_gone, "nobody here can say"
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert known.is_gone, "one that nobody has collected yet has ended too"
    other.wait()
    assert known.is_gone and not known.interrupt()


def test_an_interrupt_reaches_it_and_no_other(other):
    known = Process.of(other.pid)
    assert not known._replace(started="at another time").interrupt() and other.poll() is None
    assert not known._replace(host="another").interrupt() and other.poll() is None
    assert known.interrupt()
    assert other.wait() == -signal.SIGINT
    wait_for_end(known)


def test_work_is_done_failed_or_interrupted(tmp_path):
    path = tmp_path / "deep" / "train.json"
    assert read_work(path) is None
    with held(path):
        work = read_work(path)
        assert (work.process, work.state, work.is_going_on) == (Process.this(), "running", True)
        with held(path):  # of the same process within
            pass
        assert read_work(path).state == "running"
    assert (read_work(path).status, read_work(path).is_going_on) == ("done", False)
    with pytest.raises(KeyboardInterrupt), held(path):
        raise KeyboardInterrupt
    assert read_work(path).state == "interrupted"
    read_work(path).raise_error()  # is no error
    with pytest.raises(ZeroDivisionError), held(path):
        _ = 1 / 0
    assert read_work(path).status == "failed"


class Fancy(Exception):
    """Of a kind that only this file knows."""


@pytest.mark.parametrize(
    ("raised", "comes_back", "text"),
    [
        (SettingsError("a", "b", "C."), SettingsError, "expected a, got b. C."),
        (ZeroDivisionError("by zero"), ZeroDivisionError, "by zero"),
        (Fancy("that"), RuntimeError, "Fancy: that"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "why"), RuntimeError, "UnicodeDecodeError: 'utf-8' codec"),
    ],
)
def test_an_error_comes_back_as_what_it_was(tmp_path, raised, comes_back, text):
    with pytest.raises(type(raised)), held(tmp_path / "work.json"):
        raise raised
    with pytest.raises(comes_back) as caught:
        read_work(tmp_path / "work.json").raise_error()
    assert type(caught.value) is comes_back and str(caught.value).startswith(text)
    cause = str(caught.value.__cause__)
    assert cause.startswith(f"in {Process.this()}:") and "raise raised" in cause
    if comes_back is SettingsError:
        assert caught.value.remedy == "C."


def test_another_that_is_at_it_is_named_and_one_that_is_gone_is_not_in_the_way(tmp_path, other):
    path = tmp_path / "train-tmal.json"
    writes(path, Process.of(other.pid))
    with (
        pytest.raises(
            RunError, match=rf"nobody at work on train-tmal, got process {other.pid} on .*, at work since 2026"
        ),
        held(path),
    ):
        pass
    assert read_work(path).process.pid == other.pid
    other.kill()
    other.wait()
    assert (read_work(path).state, read_work(path).status) == ("running", "interrupted")
    with held(path):
        assert read_work(path).process == Process.this()


def test_a_broken_file_is_named(tmp_path):
    for text in ("{", "[]", '{"process": {"pid": 1}}'):
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(RunError, match=r"a file that says who works, got .*w\.json"):
            read_work(tmp_path / "w.json")


def test_a_full_disk_does_not_hide_what_went_wrong(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ZeroDivisionError), held(tmp_path / "w.json"):
        monkeypatch.setattr(held_work, "_write", full)
        _ = 1 / 0


@pytest.mark.parametrize(("number", "passes"), [(errno.ENOLCK, True), (errno.EIO, False)])
def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch, number, passes):
    def no_lock(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    if passes:
        with held(tmp_path / "w.json"):
            assert json.loads((tmp_path / "w.json").read_text())["state"] == "running"
    else:
        with pytest.raises(OSError, match="no"), held(tmp_path / "w.json"):
            pass
