"""Who works on what: a process leaves its name beside the work, and others find it, follow it and interrupt it.

The name is process number, start and machine, since numbers are given again. A file `<folder>/<work>.json` holds it,
with how the work ended once it has: so that who follows learns of an error, and who comes later of a kill.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tmal_core import errors
from tmal_core.errors import RunError, TmalError
from tmal_core.runtime.files import atomic_path

PROC = Path("/proc")
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What a file system says that knows none; two processes that begin in the same moment are then not kept apart."""


class Process(NamedTuple):
    """A process that no later one is taken for."""

    pid: int
    started: str
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The one on this machine that has the number now; gone where there is none."""
        return cls(pid, _start_of(pid) or "", platform.node())

    @classmethod
    def this(cls) -> Process:
        """The calling one."""
        return cls.of(os.getpid())

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, on this machine."""
        return self.host == platform.node()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, a kill included. Of another machine's nobody here can say: it counts as alive."""
        return self.is_here and _start_of(self.pid) != self.started

    def interrupt(self) -> bool:
        """Send it what Ctrl-C sends; whether it was there to hear it."""
        if not self.is_here or self.is_gone:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)
            return True
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Work:
    """What a file says of some work."""

    process: Process
    since: str
    state: str = "running"  # then done, failed or interrupted
    error: dict[str, Any] | None = None

    @property
    def is_going_on(self) -> bool:
        return self.state == "running" and not self.process.is_gone

    @property
    def status(self) -> str:
        """running, done, failed or interrupted; a process that is gone without a word was interrupted."""
        return "interrupted" if self.state == "running" and self.process.is_gone else self.state

    def raise_error(self) -> None:
        """Raise what the work failed with, if it failed: an error of the same kind, with its traceback as cause."""
        if self.error is None or self.state != "failed":
            return
        name, told = self.error["type"], self.error["message"]
        cause = RuntimeError(f"in {self.process}:\n{self.error['traceback']}")
        own = getattr(errors, name, None)
        if own is not None and "parts" in self.error:
            raise own(*self.error["parts"]) from cause
        kind = getattr(builtins, name, None)
        with suppress(TypeError):  # those that take more than a message
            if isinstance(kind, type) and issubclass(kind, Exception):
                raise kind(told) from cause
        raise RuntimeError(f"{name}: {told}") from cause


def read_work(path: Path) -> Work | None:
    """What the file says; None where there is none.

    Raises:
        RunError: it is no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Work(Process(**found.pop("process")), **found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        got = f"{path}: {' '.join(str(error).split())}"
        raise RunError("a file that says who works", got, "Remove it, if nobody does.") from error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """This process does the work that the file stands for, and no other one meanwhile.

    Within the block of the same work again it changes nothing.

    Raises:
        RunError: another process is at it.
    """
    mine = Work(Process.this(), datetime.now(UTC).isoformat(timespec="seconds"))
    with _alone(path):
        there = read_work(path)
        within = there is not None and there.is_going_on
        if there is not None and within and there.process != mine.process:
            got = f"{there.process}, at work since {there.since}"
            raise RunError(f"nobody at work on {path.stem}", got, "Wait for it, or interrupt it first.")
        if not within:
            _write(path, mine)
    if within:
        yield
        return
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
        told["traceback"] = traceback.format_exc()
        if isinstance(error, TmalError):
            told["parts"] = [error.expected, error.got, error.remedy]
        # On a full disk the end cannot be written: that the process is gone says enough.
        with suppress(OSError, RunError):
            _write(path, Work(mine.process, mine.since, "interrupted" if interrupted else "failed", told))
        raise
    _write(path, Work(mine.process, mine.since, "done"))


def wait_for_end(process: Process, every_s: float = 0.05) -> None:
    """Return when it is gone."""
    while not process.is_gone:
        time.sleep(every_s)


def _write(path: Path, work: Work) -> None:
    content = vars(work) | {"process": work.process._asdict()}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time looks at the file and changes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def _start_of(pid: int) -> str | None:
    """When a process began, in words that change with every start of the machine; None if there is none.

    One that has ended and waits to be collected counts as none.
    """
    if (PROC / "self" / "stat").exists():
        try:
            facts = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = PROC / "sys" / "kernel" / "random" / "boot_id"
        machine = boot.read_text().strip() if boot.exists() else ""
        return None if facts[0] in "ZX" else f"{facts[19]} {machine}".strip()
    command = ["ps", "-o", "state=", "-o", "lstart=", "-p", str(pid)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return None if not told or told[0].startswith("Z") else " ".join(told[1:])
