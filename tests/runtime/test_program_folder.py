"""A program and what works beneath it: nothing is left when it ends, and it hears how far they are."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from tmal_core.runtime.held_work import Process
from tmal_core.runtime.program_folder import VARIABLE, joined, program, say_state
from tmal_core.runtime.progress_bar import tqdm

MEMBER = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from tmal_core.runtime.program_folder import joined
try:
    with joined(0.05):
        print("ready", flush=True)
        time.sleep(999)
except KeyboardInterrupt:
    Path(sys.argv[1]).write_text("saved")
"""
PROGRAM = """
import os, time
from tmal_core.runtime.program_folder import program
with program() as found:
    print(found.folder, flush=True)
    time.sleep(999)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a member, which writes a file when it is interrupted."""
    begun = []

    def member(environment, ready="ready\n"):
        command = [sys.executable, "-c", MEMBER, str(tmp_path / "end")]
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        begun.append(process)
        assert process.stdout.readline() == ready
        return process

    yield member
    for process in begun:
        process.kill()
        process.communicate()


def test_members_are_interrupted_and_waited_for(start, tmp_path):
    with program() as found:
        member = Process.of(start(found.environment).pid)
        assert not member.is_gone
    assert member.is_gone and (tmp_path / "end").read_text() == "saved" and not found.folder.exists()


def test_members_end_with_a_program_that_is_killed(start, tmp_path):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as killed:
        folder = killed.stdout.readline().strip()
        member = start({VARIABLE: folder})
        killed.kill()
    assert member.wait() == 0 and (tmp_path / "end").read_text() == "saved"


def test_who_comes_too_late_ends_at_once(start, tmp_path):
    member = start({VARIABLE: str(tmp_path / "gone")}, ready="")
    assert member.wait() == 0 and (tmp_path / "end").read_text() == "saved"


def test_a_second_interrupt_is_passed_on(start, monkeypatch):
    """Here in place of a member that does not end: the first wait is interrupted."""
    heard = []
    monkeypatch.setattr(Process, "interrupt", lambda self: heard.append(self.pid))

    def impatient(process):
        raise KeyboardInterrupt

    with program() as found:
        member = start(found.environment)
        with monkeypatch.context() as patched:
            patched.setattr("tmal_core.runtime.program_folder.wait_for_end", impatient)
            with pytest.raises(KeyboardInterrupt):
                found.interrupt_members()
        assert heard == [member.pid] * 2
        member.send_signal(signal.SIGINT)
        member.wait()


def test_without_a_program_nothing_is_joined_or_said(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with joined():
        say_state(what="x")


def test_bars_say_how_far_they_are(monkeypatch):
    with program() as found:
        monkeypatch.setenv(VARIABLE, str(found.folder))
        assert found.state is None
        with tqdm(total=10, desc="training tmal", file=io.StringIO()) as bar:
            bar.update(3)
            state = found.state
            assert (state["what"], state["done"], state["total"]) == ("training tmal", 3, 10)
            bar.update(1)
            assert found.state["done"] == 3, "not more often than every second"
        found.forget_state()
        assert found.state is None
        with tqdm(total=10, disable=True) as bar:
            bar.update(3)
        assert found.state is None
    say_state(what="the folder is gone")
