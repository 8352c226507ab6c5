"""decord in a process of its own: a file that brings it down ends that process, and not the one that asked.

One of 120,000 mutated videos made decord end the whole process (`std::bad_alloc`), and none made PyAV. The process
starts with the first question and ends with the one that asks; a forked worker starts its own.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE_S = 60.0  # longest wait for an answer; 8 frames take milliseconds

_CODE = "import sys; sys.path[:] = {!r}; from tmal_core.data.video.decord_process import serve; serve({})"


class Failed(Exception):
    """What decord said, or how its process ended."""


class _Helper:
    """The process, and a line to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.lock = threading.Lock()  # one question at a time
        self.line, other = multiprocessing.Pipe()
        with other:
            command = [sys.executable, "-c", _CODE.format(sys.path, other.fileno())]
            silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            self.process = subprocess.Popen(command, pass_fds=[other.fileno()], **silent)

    def ask(self, question: object) -> Any:
        try:
            with self.lock:
                self.line.send(question)
                if not self.line.poll(PATIENCE_S):
                    raise Failed(f"no answer for {PATIENCE_S:g} s")
                return self.line.recv()
        except (EOFError, OSError):
            raise Failed("it brought decord down") from None

    def end(self) -> None:
        """Only by the process that started it: a forked one has copies, which it lets go."""
        self.line.close()
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


_helper: _Helper | None = None


def read_batch(path: Path, positions: list[int], num_frames: int) -> np.ndarray:
    """Images (T, H, W, 3) uint8 RGB at the positions.

    Raises:
        Failed: decord counts another number of frames than the file really has, refuses, or goes down.
    """
    global _helper
    if _helper is None or _helper.owner != os.getpid():
        _helper = _Helper()
        atexit.register(_helper.end)
    try:
        kind, answer = _helper.ask((str(path), positions, num_frames))
    except BaseException:  # Ctrl-C too: the answer to this question must not be taken for that to the next one
        atexit.unregister(_helper.end)
        _helper.end()
        _helper = None
        raise
    if kind == "failed":
        raise Failed(answer)
    return answer


def serve(fd: int) -> None:
    """Answer questions until the other side is gone."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    with Connection(fd) as line:
        while True:
            try:
                path, positions, num_frames = line.recv()
            except EOFError:
                return
            line.send(_answer(decord, path, positions, num_frames))


def _answer(decord: Any, path: str, positions: list[int], num_frames: int) -> tuple[str, object]:
    try:
        reader = decord.VideoReader(path, num_threads=1)
        if len(reader) != num_frames:
            return "failed", f"decord counts {len(reader)} frames, {num_frames} decode"
        return "images", reader.get_batch(positions).asnumpy() if positions else np.empty((0, 0, 0, 3), np.uint8)
    except (decord.DECORDError, RuntimeError, IndexError, MemoryError) as error:
        return "failed", f"decord: {(str(error).strip() or 'failed').splitlines()[0]}"
