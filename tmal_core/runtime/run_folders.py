"""Runs: one folder per run, readable with any JSON tool.

A run folder holds `run.json` (settings, their hash, commit, environment, process, status, summary), `metrics.jsonl`
(one JSON object per line), `checkpoints/`, and in `processes/` who trains in it. `runs(root)` turns any number of them
into one table.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tmal_core.config import CHANGES_NO_NUMBER, ComputeSettings, Settings, descriptions_sha256, flatten, settings_hash
from tmal_core.errors import EpisodeError, RunError, SettingsError
from tmal_core.runtime.files import PARTIAL, atomic_path, full_disk_is_clear, is_occupied
from tmal_core.runtime.held_work import Process, read_work

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("run", "kind", "status", "created", "seconds", "preset", "seed", "settings_hash", "commit", "dirty", "error")

PROCESSES = "processes"
"""Folder in a run's that says who works in it beside the run's own process (`held_work`)."""

DISTRIBUTIONS = {"torch": "torch", "open_clip": "open_clip_torch", "numpy": "numpy", "tmal_core": "tmal-core"}


class Run:
    """One run folder. Use it as a context manager, so that its status tells the truth however the run ends.

    Another process may add to the same folder (notebooks write into the suite's run): every change re-reads
    `run.json`, changes its own keys and writes the file again in one step.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._made_folder = Path(path), False
        self._was_done = _read_record(self.path)["status"] == "done"

    @classmethod
    def create(
        cls, out: str | Path, settings: Settings, kind: str, set_by_user: Mapping[str, Any] = MappingProxyType({})
    ) -> Run:
        """Start a run in an empty or new folder, or go on with the run of the same settings that is there.

        Only the section `compute` may differ: a run that workers or threads brought down goes on with fewer. Its record
        then says what it goes on with. A run that ended before it left anything (a wrong setting is found at the start)
        makes room for the next one.

        Args:
            kind: what is run, one word ("train", "evaluate", "suite").
            set_by_user: dotted settings that are not the preset's, for the record.

        Raises:
            RunError: the folder holds something else, or a run of other settings.
        """
        path = Path(out)
        begun = {"status": "running", "error": None, "process": Process.this()._asdict()}
        begun |= {"settings_hash": settings_hash(settings), **commit()}
        begun |= {"settings": settings.model_dump(mode="json"), "set_by_user": dict(set_by_user)}
        begun |= {"environment": environment(settings.compute)}
        if content := descriptions_sha256(settings.model):
            begun["descriptions_sha256"] = content
        there = (path / "run.json").exists()
        if there and not _left_nothing(path):
            run = cls(path)
            found = run.record["kind"]
            fresh = "; --fresh empties this one first" if kind == found == "suite" else ""
            run._require_same(settings, f"Choose another folder, or the same settings{fresh}.")
            if found != kind:
                raise RunError(f"a run of kind {kind!r}", f"{path}, a run of kind {found!r}", "Choose another folder.")
            run._change(**begun)
            return run
        if is_occupied(path) and not there:
            got = f"{path}, which holds something else"
            raise RunError("an empty or new folder, or a run of the same settings", got, "Choose another folder.")
        had_folder = path.exists()
        _write_record(
            path, {"kind": kind, "created": _now(), "updated": _now(), "seconds": 0.0, **begun, "summary": {}}
        )
        (path / "checkpoints").mkdir(exist_ok=True)
        run = cls(path)
        run._made_folder = not had_folder
        return run

    @classmethod
    def join(cls, out: str | Path, settings: Settings, set_by_user: Mapping[str, Any] = MappingProxyType({})) -> Run:
        """The run of these settings that lies in `out`, whatever its kind; a new one of kind "notebooks" if none does.

        Notebooks call this: in the suite they add to its run, by hand they share one folder. Such a folder has no
        process of its own to wait for, so its status is "done" from the start.

        Raises:
            RunError: the folder holds something else, or a run of other settings.
        """
        if (Path(out) / "run.json").exists():
            run = cls(Path(out))
            run._require_same(settings, "Choose another run_dir, or the same settings.")
        else:
            run = cls.create(out, settings, "notebooks", set_by_user)
            run._change(status="done")
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run that lies in `path`; RunError if there is none or its `run.json` is broken."""
        return cls(Path(path))

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` says now."""
        return _read_record(self.path)

    @property
    def settings(self) -> Settings:
        """The settings the run was started with."""
        try:
            return Settings.model_validate(self.record["settings"])
        except ValueError as error:  # pydantic's ValidationError is one
            got = f"{self.path}, written by another version"
            raise RunError("settings of this version of the package", got, "Run again in a new folder.") from error

    @property
    def set_by_user(self) -> dict[str, Any]:
        """Dotted settings of the run that a user set."""
        return self.record.get("set_by_user", {})

    @property
    def settings_hash(self) -> str:
        return self.record["settings_hash"]

    @property
    def status(self) -> str:
        """running, done, failed or interrupted, which a run is too whose process is gone without a word."""
        return _status(self.path, self.record)

    @property
    def summary(self) -> dict[str, Any]:
        return self.record["summary"]

    def log_metrics(self, **values: Any) -> None:
        """Append one line to `metrics.jsonl`; numpy and torch scalars are welcome."""
        line = json.dumps({"time": _now(), **values}, default=_plain) + "\n"
        path = self.path / "metrics.jsonl"
        with full_disk_is_clear(path), path.open("ab+") as file:
            # What a killed process left after the last line end would be glued to the line.
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, oldest first.

        A last line without its end is what a killed process leaves: it is left out, with a warning. A broken line
        elsewhere is a RunError.
        """
        path = self.path / "metrics.jsonl"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        *whole, partial = text.split("\n")
        if partial:
            warnings.warn(f"{path}: the last line is cut off (a killed run) and left out", stacklevel=2)
        records = []
        for number, line in enumerate(whole, start=1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise RunError("one JSON object per line", f"{path}, line {number}", "Remove that line.") from error
        return records

    def update_summary(self, **values: Any) -> None:
        """Set keys of the summary, which becomes the run's row in `runs()`; nested dicts are flattened there."""
        if taken := set(values) & set(COLUMNS):
            got = ", ".join(sorted(taken))
            raise RunError("keys that are no columns of every run", got, "Rename these keys of the summary.")
        self._change(summary={**self.summary, **values})

    def __enter__(self) -> Run:
        self._started = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        took = time.monotonic() - self._started
        refused = kind is not None and issubclass(kind, SettingsError | EpisodeError)
        values: dict[str, Any] = {"status": "done", "error": None}
        if kind is not None and not (refused and self._was_done):  # what it has is as whole as before
            values["status"] = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
            values["error"] = f"{kind.__name__}: {error}".rstrip(": ")
        # On a full disk, or where somebody removed the record, the status cannot be written; the first error is shown.
        with suppress(*((OSError, RunError) if kind else ())):
            self._change(**values, seconds=round(self.record["seconds"] + took, 1))
            if refused:
                self._remove_if_refused()

    def _remove_if_refused(self) -> None:
        """A command that was refused for its settings leaves no run behind, where there was none before."""
        if self._made_folder and _left_nothing(self.path):
            shutil.rmtree(self.path)

    def _require_same(self, settings: Settings, remedy: str) -> None:
        """Refuse settings that lead to other results than the run's."""
        if _decisive(self.settings) != _decisive(settings):
            had, asked = self.settings.to_flat(), settings.to_flat()
            differing = [key for key in {**had, **asked} if had.get(key) != asked.get(key) and _counts(key)]
            key = next((key for key in differing if key != "preset"), "preset")
            got = f"{self.path} with {key} {had.get(key)} (settings {self.settings_hash})"
            raise RunError(f"a run with {key} {asked.get(key)} (settings {settings_hash(settings)})", got, remedy)
        texts = self.record.get("descriptions_sha256"), descriptions_sha256(settings.model)
        if texts[0] != texts[1]:  # the file of that name has changed
            was, now = (str(text)[:12] for text in texts)
            raise RunError(f"a run with descriptions of classes {now}", f"{self.path} with {was}", remedy)

    def _change(self, **values: Any) -> None:
        _write_record(self.path, {**self.record, **values, "updated": _now()})


def runs(root: str | Path) -> pd.DataFrame:
    """All runs below a folder, one row each, oldest first.

    Columns: `COLUMNS`, then the summary's keys (nested ones dotted). A run whose `run.json` cannot be read is a row
    with status "unreadable" and the reason under `error`.
    """
    import pandas as pd  # half a second that writers of files need not spend

    root = Path(root)
    if not root.is_dir():
        raise RunError("a folder of runs", str(root), "Correct the path, or start a run first.")
    rows = []
    for path in sorted(root.rglob("run.json")):
        name = path.parent.relative_to(root)
        if any(part.startswith(PARTIAL) for part in name.parts):
            continue
        try:
            record = _read_record(path.parent)
        except RunError as error:
            rows.append({"run": str(name), "status": "unreadable", "error": error.got})
            continue
        of_settings = {key: record["settings"].get(key) for key in ("preset", "seed")}
        known = {key: record[key] for key in COLUMNS if key in record} | {"status": _status(path.parent, record)}
        rows.append({"run": str(name), **known, **of_settings, **flatten(record["summary"])})
    table = pd.DataFrame(rows, columns=[*COLUMNS, *sorted({key for row in rows for key in row} - set(COLUMNS))])
    return table.sort_values(["created", "run"], ignore_index=True)


def last_trained(root: str | Path, settings: Settings) -> Path | None:
    """The folder in `root` where suite or notebooks have trained with these settings, the last one; None without."""
    found = []
    for file in Path(root).glob("*/run.json"):
        with suppress(RunError):  # of another version, or broken
            run = Run.open(file.parent)
            trained = run.record["kind"] in ("suite", "notebooks") and any(run.path.glob("checkpoints/*/best.*"))
            if trained and _decisive(run.settings) == _decisive(settings):
                found.append((run.record["updated"], run.path))
    return max(found)[1] if found else None


def environment(compute: ComputeSettings) -> dict[str, Any]:
    """Versions, machine, threads and device: what a result depends on beside settings and code."""
    import torch  # a second that `tmal runs` need not spend

    device = compute.device
    return {
        "python": platform.python_version(),
        **{name: _version(distribution) for name, distribution in DISTRIBUTIONS.items()},
        "platform": platform.platform(),
        "num_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device,
    }


def _version(distribution: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(distribution)
    return None


def commit() -> dict[str, Any]:
    """Commit and state of the checkout the package runs from; both null outside one."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    with suppress(OSError, subprocess.SubprocessError):
        # A package installed below somebody else's checkout must not borrow its commit.
        if Path(git("rev-parse", "--show-toplevel")).resolve() == root:
            return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    return {"commit": None, "dirty": None}


def _decisive(settings: Settings) -> str:
    """Names what decides the result: all but the devices, threads and workers that compute it."""
    return settings_hash(settings, *(set(Settings.model_fields) - {"compute"}))


def _counts(key: str) -> bool:
    """Whether a dotted setting is one of those that decide."""
    section, _, name = key.partition(".")
    return section != "compute" and name not in CHANGES_NO_NUMBER.get(section, ())


def _read_record(path: Path) -> dict[str, Any]:
    file, again = path / "run.json", "Remove the run folder and run again."
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError("a run folder with run.json", str(path), "Correct the path, or start the run.") from error
    except (OSError, ValueError) as error:
        raise RunError("a readable run.json", f"{file}: {' '.join(str(error).split())}", again) from error
    needed = {"kind", "status", "settings", "settings_hash", "summary"}
    if missing := needed - set(record if isinstance(record, dict) else ()):
        raise RunError("a run.json of this package", f"{file} without {', '.join(sorted(missing))}", again)
    return record


def _status(path: Path, record: Mapping[str, Any]) -> str:
    """The record's, put right by which processes are there; notebooks run as long as something is trained in them."""
    status = record["status"]
    if status == "running" and "process" in record:  # not before it was written down
        return "interrupted" if Process(**record["process"]).is_gone else status
    if record["kind"] == "notebooks":
        with suppress(RunError):  # of another version
            found = {work.status for file in path.glob(f"{PROCESSES}/*.json") if (work := read_work(file))}
            return next((one for one in ("running", "interrupted", "failed") if one in found), status)
    return status


def _left_nothing(path: Path) -> bool:
    """Whether a run has failed or was interrupted and its folder holds no file but its record and who worked in it."""
    files = [file for file in path.rglob("*") if file.is_file()]
    beside = [file for file in files if file.parent.name != PROCESSES and file.name != "run.json"]
    return not beside and _status(path, _read_record(path)) in ("failed", "interrupted")


def _write_record(path: Path, record: dict[str, Any]) -> None:
    with atomic_path(path / "run.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a value for JSON")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
