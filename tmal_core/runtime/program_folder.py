"""What a program and the processes beneath it know of each other: a folder that the environment names.

`tmal suite` and `tmal lab` start kernels, and these start processes that train, which a kernel's end does not end. Each
of them leaves its name in the program's folder; when the program ends it interrupts those that are left and waits for
them, and where it was killed they see that it is gone. What a bar of progress shows stands there too, for the suite's
terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tmal_core.errors import RunError
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.held_work import Process, wait_for_end

VARIABLE = "TMAL_PROGRAM"
_OWNER, _STATE, _MEMBER = "owner.json", "state.json", "process-{}.json"


class Program:
    """A program that starts others; `environment` is for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: str(self.folder)}

    @property
    def state(self) -> dict[str, Any] | None:
        """What the processes beneath said last (`say_state`); None before they did."""
        with suppress(OSError, ValueError):
            return json.loads((self.folder / _STATE).read_text())
        return None

    def forget_state(self) -> None:
        """What was said is over."""
        (self.folder / _STATE).unlink(missing_ok=True)

    def interrupt_members(self) -> None:
        """Interrupt every process that has joined, and wait for its end; Ctrl-C meanwhile interrupts them once more."""
        members = [found for path in self.folder.glob(_MEMBER.format("*")) if (found := _process(path))]
        for member in members:
            member.interrupt()
        try:
            for member in members:
                wait_for_end(member)
        except KeyboardInterrupt:
            for member in members:
                member.interrupt()
            raise


@contextmanager
def program() -> Iterator[Program]:
    """This process is a program; at the end of the block nothing that joined it is left."""
    folder = Path(tempfile.mkdtemp(prefix="tmal-"))
    _write(folder / _OWNER, Process.this()._asdict())
    found = Program(folder)
    try:
        yield found
    finally:
        try:
            found.interrupt_members()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def joined(check_every_s: float = 1.0) -> Iterator[None]:
    """This process is one of the program's that the environment names, if it names one: it is interrupted with it.

    Raises:
        KeyboardInterrupt: the program has ended already.
    """
    name = os.environ.get(VARIABLE)
    if name is None:
        yield
        return
    folder, own = Path(name), _MEMBER.format(os.getpid())
    try:
        _write(folder / own, Process.this()._asdict())
    except OSError:
        raise KeyboardInterrupt from None
    owner = _process(folder / _OWNER)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(check_every_s):
            if owner is None or owner.is_gone or not folder.exists():
                os.kill(os.getpid(), signal.SIGINT)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        (folder / own).unlink(missing_ok=True)


def say_state(**values: Any) -> None:
    """Say where this process stands, if it is one of a program's."""
    if name := os.environ.get(VARIABLE):
        with suppress(OSError, RunError):  # the program has ended, or has no room
            _write(Path(name) / _STATE, {**values, "time": time.time()})


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all; not into a folder that is gone."""
    if not path.parent.is_dir():
        raise FileNotFoundError(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content))


def _process(path: Path) -> Process | None:
    """None where it has just been taken away."""
    with suppress(FileNotFoundError):
        return Process(**json.loads(path.read_text()))
    return None
