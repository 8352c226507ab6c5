"""What the suite says while it runs: lines that stay, and one that says where things stand.

In a terminal that one renews itself; in a file or a log it is a new line, at most every half minute.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tmal_core.runtime.program_folder import Program

Say = Callable[[str], object]
LOG_EVERY_S = 30.0
STALE_S = 10.0
"""What was said longer ago, and is at its end, is over."""
_CLEAR = "\r\x1b[K"


class TerminalLines:
    """Writes both kinds of lines.

    Args:
        stream: stdout by default, as it is when a line is written.
        now: a clock in seconds.
    """

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._now = stream, now
        self._renewed = False
        self._written = now()
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._write(f"{line}\n")
        self._renewed = False

    def renew(self, line: str) -> None:
        """The line that says where things stand."""
        stream = self._stream or sys.stdout
        if stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._write(line if len(line) <= width else f"{line[: width - 1]}…")
            self._renewed = True
        elif self._now() - self._written >= LOG_EVERY_S:
            self._write(f"{line}\n")

    def clear(self) -> None:
        """Take that line away."""
        if self._renewed:
            self._write("")
            self._renewed = False

    def _write(self, text: str) -> None:
        stream = self._stream or sys.stdout
        with self._lock:
            stream.write(_CLEAR + text if self._renewed else text)
            stream.flush()
            self._written = self._now()


@contextmanager
def state_renewed(name: str, program: Program, renew: Say, every_s: float = 1.0) -> Iterator[None]:
    """While the block runs, say every second how long it has, and what the processes beneath the program are at."""
    program.forget_state()
    began, over = time.monotonic(), threading.Event()

    def look() -> None:
        while not over.wait(every_s):
            at = state_in_words(program.state, time.time())
            renew(f"{name}: {duration(time.monotonic() - began)}{', ' if at else ''}{at}")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def state_in_words(state: dict[str, Any] | None, now: float) -> str:
    """What `progress_bar` told.

    Args:
        now: seconds of the clock that told it.

    >>> state = {"what": "training tmal", "done": 512, "total": 1080, "per_s": 2.0, "time": 100.0}
    >>> state_in_words(state, 101.0)
    'training tmal: 512 of 1,080, about 4 min 44 s left'
    >>> state_in_words({**state, "done": 1080}, 111.0)
    ''
    """
    if state is None or (state["done"] == state["total"] and now - state["time"] > STALE_S):
        return ""
    words = f"{state['what']}: {state['done']:,}"
    if state["total"]:
        words += f" of {state['total']:,}"
        if state["per_s"] and state["done"] < state["total"]:
            words += f", about {duration((state['total'] - state['done']) / state['per_s'])} left"
    return words


def duration(seconds: float) -> str:
    """In words.

    >>> duration(42.3), duration(284.0), duration(7500.0)
    ('42 s', '4 min 44 s', '2 h 5 min')
    """
    whole = int(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 5400 else f"{whole // 3600} h {whole % 3600 // 60} min"
