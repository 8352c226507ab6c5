"""decord's process may go down or hang: that is an error for one file, and the next one is read."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tmal_core.data.video import decoding as video
from tmal_core.data.video import decord_process
from tmal_core.errors import DataError


@pytest.fixture
def helper(clips) -> decord_process._Helper:
    """The process, at work."""
    video.read_frames(clips["b_frames"], [0], "decord")
    return decord_process._helper


def test_one_process_answers_all_questions(helper, clips, spelled):
    assert spelled(video.read_frames(clips["intra"], [5, 3], "decord")) == [5, 3]
    assert decord_process._helper is helper


@pytest.mark.parametrize("end", ["when asked", "before"])
def test_a_file_that_brings_it_down(helper, clips, spelled, tmp_path, monkeypatch, end):
    if end == "before":
        os.kill(helper.process.pid, signal.SIGKILL)
        helper.process.wait()
    else:
        os.kill(helper.process.pid, signal.SIGSTOP)
        threading.Timer(0.1, os.kill, (helper.process.pid, signal.SIGKILL)).start()
    with pytest.raises(DataError, match=r"b_frames\.mp4 \(it brought decord down\)\. Use decoder 'auto' or 'pyav'"):
        video.read_frames(clips["b_frames"], [7], "decord")
    assert spelled(video.read_frames(clips["b_frames"], [7], "decord")) == [7]
    assert decord_process._helper.process.pid != helper.process.pid


def test_a_file_on_which_it_hangs(helper, clips, spelled, monkeypatch):
    os.kill(helper.process.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(decord_process, "PATIENCE_S", 0.1)
        with pytest.raises(DataError, match=r"b_frames\.mp4 \(no answer for 0\.1 s\)"):
            video.read_frames(clips["b_frames"], [7], "decord")
    assert helper.process.returncode == -signal.SIGKILL
    assert spelled(video.read_frames(clips["b_frames"], [7], "decord")) == [7]


def test_interrupted_while_it_answers(helper, clips, spelled, monkeypatch):
    """The late answer must not be taken for that to the next question."""
    with monkeypatch.context() as patch:
        patch.setattr(decord_process.Connection, "poll", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            video.read_frames(clips["b_frames"], [7], "decord")
    assert spelled(video.read_frames(clips["b_frames"], [9], "decord")) == [9]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_ends_with_the_one_that_asks(clips, lives):
    """As a worker of a data loader: a process that just exits."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            video.read_frames(clips["b_frames"], [0], "decord")
            os.write(write, str(decord_process._helper.process.pid).encode())
        finally:
            os._exit(0)  # or it would go on as a second run of the tests
    os.close(write)
    os.waitpid(child, 0)
    helper = int(os.read(read, 20))
    os.close(read)
    for _ in range(5000):
        if not lives(helper):
            return
        threading.Event().wait(0.02)
    pytest.fail("it outlived its owner by 100 s")
