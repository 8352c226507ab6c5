"""What is in each video file: frames, rate, size, hash. In parallel, and remembered.

A file is read for its hash and decoded once from end to end (`video.probe`); what was found is written at once to a
journal in the data folder, one JSON line per file. A pass that was killed goes on from there, and a file whose size or
time of change differs from the journal's is read again. Failures are tried again.

A decoder that crashes takes its process with it. The files it may have been reading are then examined each in a process
of its own, so that one of them is named and the rest go on.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from pathlib import Path

from tmal_core.data.video.decoding import probe
from tmal_core.errors import DataError
from tmal_core.runtime.files import atomic_path, file_sha256, full_disk_is_clear
from tmal_core.runtime.processes import Pool

JOURNAL = "prepare_journal.jsonl"
_FORMAT = 2  # raise it whenever the same file would be examined otherwise
_BATCH = 4  # files per call of a worker
_AHEAD = 3  # calls per worker that wait


@dataclass(frozen=True)
class Examined:
    """One video file. With a `reason` it is of no use, and the figures are zero."""

    path: str
    size: int = 0  # bytes
    mtime_ns: int = 0
    num_frames: int = 0  # that decode
    lost_frames: int = 0  # that the file announces or holds and that do not decode
    fps: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""
    sha256: str = ""
    reason: str = ""


class Journal:
    """The journal of a data folder; use it as a context manager.

    Args:
        decoder: `data.decoder`; what another one found does not count.
    """

    def __init__(self, root: Path, decoder: str) -> None:
        self.path = root / JOURNAL
        self._head = json.dumps({"format": _FORMAT, "decoder": decoder})
        self._known = self._load()

    def __enter__(self) -> Journal:
        # Written anew: a line that a killed process left half does not swallow the next one.
        self.compact()
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def recall(self, videos: Path, path: str) -> Examined | None:
        """What is known of a file, if it has not changed since."""
        known = self._known.get(path)
        try:
            stat = (videos / path).stat()
        except OSError:
            return None
        return known if known and (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns) else None

    def add(self, examined: Examined) -> None:
        """Remember a file, on disk at once."""
        if not examined.reason:
            self._known[examined.path] = examined
            with full_disk_is_clear(self.path):
                self._file.write(_line(examined))
                self._file.flush()

    def compact(self) -> None:
        """Write all that is known, sorted, one line per file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(self._head + "\n")
            file.writelines(_line(self._known[path]) for path in sorted(self._known))

    def _load(self) -> dict[str, Examined]:
        try:
            head, *lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return {}
        found = map(_parsed, lines) if head == self._head else ()
        return {examined.path: examined for examined in found if examined is not None}


def examine(videos: Path, path: str, decoder: str = "auto") -> Examined:
    """Hash and decode one file; never raises for what the file is."""
    file = videos / path
    try:
        before = file.stat()
        sha256 = file_sha256(file)
        info = probe(file, decoder)
        after = file.stat()
    except DataError as error:
        reason = error.got.removeprefix(str(file)).strip()
        return Examined(path, reason=reason[1:-1] if reason.startswith("(") and reason.endswith(")") else reason)
    except OSError as error:
        return Examined(path, reason=error.strerror or str(error))
    size, mtime_ns = before.st_size, before.st_mtime_ns
    if (size, mtime_ns) != (after.st_size, after.st_mtime_ns):
        return Examined(path, reason="it changed while it was read")
    names = ("num_frames", "lost_frames", "fps", "height", "width", "codec")
    return Examined(path, size, mtime_ns, sha256=sha256, **{name: getattr(info, name) for name in names})


def examine_all(videos: Path, paths: Sequence[str], decoder: str, num_workers: int) -> Iterator[Examined]:
    """Examine files; in their order, unless a worker dies.

    Args:
        num_workers: processes beside this one; 0 does everything here. Results do not depend on it.
    """
    if num_workers == 0:
        yield from (examine(videos, path, decoder) for path in paths)
        return
    batches = deque(paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH))
    while batches:
        # A pool that broke is replaced; what it left unanswered is examined apart, one file to a process.
        suspects = yield from _until_it_breaks(videos, batches, decoder, num_workers)
        for path in suspects:
            with Pool(1) as pool:
                try:
                    yield pool.submit(examine, videos, path, decoder).result()
                except BrokenProcessPool:
                    reason = "the process that decoded it crashed, or was killed for want of memory"
                    yield Examined(path, reason=reason)


def _until_it_breaks(
    videos: Path, batches: deque[Sequence[str]], decoder: str, num_workers: int
) -> Generator[Examined, None, list[str]]:
    """Results, their files taken off `batches`; returns the files without one when a worker died."""
    waiting: deque[tuple[Sequence[str], Future[list[Examined]]]] = deque()
    with Pool(min(num_workers, len(batches))) as pool:
        try:
            while batches or waiting:
                while batches and len(waiting) < num_workers * _AHEAD:
                    waiting.append((batches[0], pool.submit(_examine_batch, videos, batches[0], decoder)))
                    batches.popleft()
                yield from waiting[0][1].result()
                waiting.popleft()
        except BrokenProcessPool:
            answered = [future for _, future in waiting if future.done() and not future.exception()]
            left = [path for batch, future in waiting if future not in answered for path in batch]
            yield from (examined for future in answered for examined in future.result())
            return left
        except BaseException:
            pool.abandon()  # a batch of long videos takes minutes, and nothing is written by who decodes it
            raise
    return []


def _examine_batch(videos: Path, paths: Sequence[str], decoder: str) -> list[Examined]:
    return [examine(videos, path, decoder) for path in paths]


def _line(examined: Examined) -> str:
    return json.dumps(vars(examined), ensure_ascii=False) + "\n"


def _parsed(line: str) -> Examined | None:
    """A line of the journal; None for one that a killed process left half, or that somebody spoilt."""
    try:
        found = Examined(**json.loads(line))
    except (ValueError, TypeError):
        return None
    right = all(type(getattr(found, f.name)).__name__ == f.type for f in fields(Examined))
    return found if right and not found.reason else None
