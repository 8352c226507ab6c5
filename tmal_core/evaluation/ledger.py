"""The ledger of looks at `test`: a line for every method that answers it, beside the catalogue of the data.

Who has seen answers on test and then changes something has made a second validation split of it. Looking cannot be
forbidden, but it can be counted: `Experiment.bank`, which all answers need, adds a line each time it opens the test
split, and refuses where no line can be added. Run folders come and go; the ledger stays with the data.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from tmal_core.data.sets.catalog import LEDGER
from tmal_core.errors import DataError
from tmal_core.runtime.files import file_sha256, full_disk_is_clear
from tmal_core.runtime.tables import save_csv

TEST = "test"
"""The split whose answers are counted."""
COLUMNS = ("when", "run", "method", "settings", "checkpoint", "sha256")
"""What a line says: the time (UTC), the run folder, the method, the hash of its settings, and the file of its trained
weights with the first digits of its checksum (both empty for a method that is not trained)."""


def note_look(folder: Path, run: Path, method: str, settings: str, checkpoint: Path | None) -> None:
    """Add a line to the ledger of a data folder, and write all of them to `tables/looks.csv` of the run.

    Processes wait for each other, so lines are whole and none is lost.

    Raises:
        DataError: the ledger cannot be written, or a line of it is broken; then nothing is added.
        RunError: the disk is full.
    """
    path, when = folder / LEDGER, datetime.now(UTC).isoformat(timespec="seconds")
    trained = (str(checkpoint), file_sha256(checkpoint)[:12]) if checkpoint else ("", "")
    look = dict(zip(COLUMNS, (when, str(run), method, settings, *trained), strict=True))
    try:
        with full_disk_is_clear(path), path.open("ab+") as file:
            _lock(file)  # until it is closed; appending alone is not safe on network disks
            file.seek(0)
            known = _lines(path, file.read())
            file.write(f"{json.dumps(look)}\n".encode())
    except OSError as error:
        remedy = "Each answer on test is a line there. Make this file writable (its folder need not be), or ask val: "
        remedy += "leave out --final; in the suite, --parameter final=false."
        got = f"{path} ({error.strerror})"
        raise DataError("a ledger of looks at test that can be written", got, remedy) from error
    save_csv(_table([*known, look]), run / "tables" / "looks.csv")


def looks(folder: Path) -> pd.DataFrame:
    """All looks at the test split of a data folder, oldest first: `look` counts from 1, then `COLUMNS`.

    Raises:
        DataError: a line of the ledger is broken.
    """
    path, lines = folder / LEDGER, []
    if path.exists():
        with path.open("rb") as file:
            _lock(file, shared=True)
            lines = _lines(path, file.read())
    return _table(lines)


def looks_in_words(folder: Path) -> str:
    """How often test was looked at, for people."""
    return f"looks at test so far: {len(looks(folder))} ({folder / LEDGER})"


def _table(lines: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([{"look": i, **line} for i, line in enumerate(lines, start=1)], columns=["look", *COLUMNS])


def _lock(file: BinaryIO, shared: bool = False) -> None:
    """Wait for other processes. Windows has no `fcntl`: there a line is written whole, and by one process at a time."""
    with suppress(ImportError):
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def _lines(path: Path, content: bytes) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            look = json.loads(line)
        except ValueError:
            look = None
        if not (line.endswith(b"\n") and isinstance(look, dict) and set(look) == set(COLUMNS)):
            remedy = "Restore it from a copy. Remove it only if its end is missing: then nothing was answered."
            raise DataError("a look at test in every line", f"{path}, line {number}, which is broken", remedy)
        found.append(look)
    return found
