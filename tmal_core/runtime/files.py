"""Files that are either whole or absent, and one clear error for a full disk.

Whatever a later run trusts is written through `atomic_path`: into a hidden folder beside its place, and moved there in
one step when it is complete. An exception, Ctrl-C included, leaves nothing behind; a killed process leaves a hidden
folder that nobody reads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tmal_core.errors import RunError, TmalError

PARTIAL = ".partial-"
"""Start of the names of hidden folders in which files are written before they are moved to their place."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A path to write to; the file appears at `path` when the block ends, and never if it raises.

    The temporary path has the file's own name (libraries read the format from it) in a hidden folder beside it, so
    that neither a glob over the folder nor a later run ever meets it.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder, "table.csv")) as part:
    ...         print(part.name, part.write_text("a,b"), Path(folder, "table.csv").exists())
    ...     print(Path(folder, "table.csv").read_text())
    table.csv 3 False
    a,b
    """
    path = Path(path)
    with full_disk_is_clear(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent, ignore_cleanup_errors=True) as hidden:
            part = Path(hidden, path.name)
            yield part
            if not part.is_file():
                raise FileNotFoundError(f"nothing was written for {path}")
            part.replace(path)


def require_writable(path: Path) -> None:
    """Refuse a place for a file before any work is done for it; what is there stays.

    Raises:
        RunError: it is a folder, or its folder is none and cannot be one, or takes no file.
    """
    remedy = "Name another file."
    if path.is_dir():
        raise RunError("a file to write", f"{path}, which is a folder", remedy)
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder):
            pass
    except OSError as error:
        raise RunError("a file that can be written", f"{path} ({error.strerror})", remedy) from None


def is_occupied(path: Path) -> bool:
    """Whether something stands at `path`: a file, or a folder with more in it than a killed process leaves."""
    return path.is_file() or (path.is_dir() and any(not entry.name.startswith(PARTIAL) for entry in path.iterdir()))


@contextmanager
def full_disk_is_clear(path: str | Path) -> Iterator[None]:
    """Turn the many ways in which libraries report a full disk into one RunError."""
    try:
        yield
    except Exception as error:
        if not _is_full_disk(error):
            raise
        remedy = "Free some space, or write to another disk, and run the same command again."
        raise RunError(f"room on the disk for {path}", "a full disk", remedy) from error


def file_sha256(path: Path, advance: Callable[[int], object] = lambda size: None) -> str:
    """sha256 of a file, hexadecimal; `advance` is told how many bytes were read, again and again."""
    digest = hashlib.sha256()
    # Opened without waiting: what looks like a file may have become a pipe.
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _is_full_disk(error: Exception) -> bool:
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "No space left on device" in str(error):
        return not isinstance(error, TmalError)
    # torch.save names no reason at all; its writer fails only when the disk takes no more.
    return isinstance(error, RuntimeError) and "PytorchStreamWriter failed writing" in str(error)
