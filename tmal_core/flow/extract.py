"""Flow for all videos of a catalogue: resumable, in parallel, in shards.

One video is one unit: its stored file is checked, and where it is missing, of another origin or damaged, the video is
decoded, reduced, its flow estimated at the grid's positions (each pair of frames once) and stored. Nothing is kept
between videos, so an extraction that was killed anywhere goes on where it stopped and ends with the same bytes.

Workers decode; they also estimate and write where the estimator is cheap (DIS), else the main process does, in batches
on its device. Shards divide the table among processes by RANK and WORLD_SIZE, as torchrun and Slurm set them, and never
talk to each other: there is no process group that a killed rank could hang.

Letters: F native frames, N unique positions, H, W pixels of the reduced frame.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from tmal_core.data.sampling import Grid, grid_positions
from tmal_core.data.video import read_frames
from tmal_core.errors import DataError, RunError, SettingsError, TmalError
from tmal_core.files import atomic_path
from tmal_core.flow.estimator import FlowEstimator, build_estimator, flow_of_pairs
from tmal_core.flow.store import FlowMeta, FlowStore, State

SHORT_SIDE = 256
"""Larger frames are reduced to this short side before flow is estimated."""
REPORT_NAME = "flow_report.csv"
REASONS = {"stale": "stale: of another estimator, grid, format or video file", "damaged": "damaged: checksum or header"}


@dataclass(frozen=True)
class Outcome:
    """What became of one video."""

    video: str
    status: str
    """"kept" (was there), "made" (was missing), "remade" (was stale or damaged) or "broken" (no flow)."""
    reason: str = ""


@dataclass(frozen=True)
class ExtractReport:
    """What became of all videos of this shard, in the order of the table."""

    outcomes: list[Outcome]
    path: Path
    """The CSV file with one row per broken or remade video; only its header when all is well."""
    counts: Counter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", Counter(outcome.status for outcome in self.outcomes))

    @property
    def broken(self) -> list[Outcome]:
        """Videos without flow."""
        return [outcome for outcome in self.outcomes if outcome.status == "broken"]

    def __str__(self) -> str:
        counts = ", ".join(f"{self.counts[status]} {status}" for status in ("made", "kept", "remade", "broken"))
        return f"flow of {len(self.outcomes)} videos: {counts}" + (f"; see {self.path}" if self.broken else "")


def extract(
    catalog_table: pd.DataFrame,
    root: str | Path,
    store: FlowStore,
    estimator_name: str = "dis",
    grid: Grid = 32,
    num_workers: int = 0,
    *,
    weights_dir: str | Path | None = None,
    device: str | torch.device = "cpu",
    decoder: str = "auto",
    batch_pairs: int = 32,
    rank: int | None = None,
    world_size: int | None = None,
    progress: bool = True,
) -> ExtractReport:
    """Bring the store up to date for every video of the table (or of this process's shard of it).

    Args:
        catalog_table: with columns video, path, num_frames and sha256, one row per file.
        root: folder that the paths start from.
        store: where flow goes; `flow_report.csv` is written to its root.
        grid: positions per video, see `tmal_core.data.sampling`.
        num_workers: processes beside this one; 0 does everything here. Results do not depend on it.
        batch_pairs: pairs per call of a network.
        rank, world_size: which shard; by default RANK and WORLD_SIZE of the environment, else all of the table.

    Returns:
        The report. A video that cannot be read is broken: listed and counted, and the rest goes on.

    Raises:
        SettingsError, WeightsError: the estimator or the shard is wrong; raised before anything is read.
        RunError: the disk is full, or a worker died.
    """
    rank, world_size = _shard(rank, world_size)
    estimator = build_estimator(estimator_name, weights_dir, device)
    table = catalog_table.iloc[rank::world_size]
    videos = _Videos(table, Path(root), store, estimator, grid, decoder)
    outcomes = []
    with tqdm(total=len(table), desc=f"flow ({estimator.name})", unit="video", disable=not progress) as bar:
        for item in _items(videos, num_workers):
            outcomes.append(_finish(item, estimator, store, batch_pairs))
            bar.update()
            broken = sum(outcome.status == "broken" for outcome in outcomes)
            if broken:
                bar.set_postfix(broken=broken, refresh=False)
    name = REPORT_NAME if world_size == 1 else f"flow_report.{rank}of{world_size}.csv"
    report = ExtractReport(outcomes, store.root / name)
    write_report(report)
    return report


def write_report(report: ExtractReport) -> None:
    """Write the CSV file of a report: one row per broken or remade video."""
    with atomic_path(report.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "status", "reason"])
        for outcome in report.outcomes:
            if outcome.status in ("broken", "remade"):
                writer.writerow([outcome.video, outcome.status, outcome.reason])


def reduce_frames(frames: np.ndarray, short_side: int = SHORT_SIDE) -> np.ndarray:
    """(N, H, W, 3) uint8 to the given short side by area means; smaller frames stay as they are."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    if short <= short_side:
        return frames
    size = (round(width * short_side / short), round(height * short_side / short))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


@dataclass(frozen=True)
class _Decoded:
    """A video whose flow is still to be estimated, in the main process."""

    video: str
    state: State
    frames: torch.Tensor  # a tensor travels between processes through shared memory
    pairs: np.ndarray
    positions: np.ndarray
    meta: FlowMeta


class _Videos(Dataset):
    """Item i is what a worker can do for row i: an Outcome, a _Decoded, or the error that ends the extraction."""

    def __init__(
        self, table: pd.DataFrame, root: Path, store: FlowStore, estimator: FlowEstimator, grid: Grid, decoder: str
    ) -> None:
        self.rows = [
            (str(row.video), root / row.path, int(row.num_frames), str(row.sha256))
            for row in table[["video", "path", "num_frames", "sha256"]].itertuples()
        ]
        self.store, self.grid, self.decoder = store, grid, decoder
        self.origin = FlowMeta(estimator.name, estimator.weights_hash, str(grid), source_hash="")
        # A network stays in the main process.
        self.estimator = estimator if estimator.runs_in_workers else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Outcome | _Decoded | TmalError:
        video, path, num_frames, source_hash = self.rows[index]
        meta = replace(self.origin, source_hash=source_hash)
        state = self.store.state(video, meta)
        if state == "ok":
            return Outcome(video, "kept")
        try:
            decoded = self._decode(video, path, num_frames, state, meta)
        except DataError as error:
            # Flow of another origin must not pass for this video's.
            self.store.path(video).unlink(missing_ok=True)
            return Outcome(video, "broken", str(error))
        if self.estimator is None:
            return decoded
        try:
            return _finish(decoded, self.estimator, self.store, batch_pairs=32)
        except TmalError as error:
            # The DataLoader rebuilds exceptions from one text; ours carry three parts, so it travels as a value.
            return error

    def _decode(self, video: str, path: Path, num_frames: int, state: State, meta: FlowMeta) -> _Decoded:
        found = _sha256(path)
        if found != meta.source_hash:
            remedy = "The file was replaced: build the catalogue anew."
            raise DataError(f"{path} with sha256 {meta.source_hash[:12]}...", f"{found[:12]}...", remedy)
        positions = np.unique(grid_positions(num_frames, self.grid))
        wanted = np.unique(np.concatenate([positions, np.minimum(positions + 1, num_frames - 1)]))
        frames = read_frames(path, wanted, self.decoder)
        reduced = reduce_frames(frames)
        first = np.searchsorted(wanted, positions)
        # A one-frame video has no second frame and no pair: zero flow.
        pairs = np.stack([first, first + 1], axis=1) if num_frames > 1 else np.empty((0, 2), dtype=np.int64)
        scale = min(reduced.shape[1:3]) / min(frames.shape[1:3])
        return _Decoded(video, state, torch.from_numpy(reduced), pairs, positions, replace(meta, scale=scale))


def _finish(
    item: Outcome | _Decoded | TmalError, estimator: FlowEstimator, store: FlowStore, batch_pairs: int
) -> Outcome:
    """Estimate and store what is still to be estimated."""
    if isinstance(item, TmalError):
        raise item
    if isinstance(item, Outcome):
        return item
    frames = item.frames.numpy()
    flow_px = flow_of_pairs(estimator, frames, item.pairs, batch_pairs)
    if not len(flow_px):
        flow_px = np.zeros((len(item.positions), 2, *frames.shape[1:3]), dtype=np.float32)
    store.write(item.video, flow_px, item.positions, item.meta)
    if item.state == "missing":
        return Outcome(item.video, "made")
    return Outcome(item.video, "remade", REASONS[item.state])


def _items(videos: _Videos, num_workers: int) -> Iterator[Outcome | _Decoded | TmalError]:
    if num_workers == 0:
        yield from (videos[index] for index in range(len(videos)))
        return
    loader = DataLoader(
        videos,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_quiet_worker,
        # Forked workers inherit locks of decoders and of CUDA in whatever state they are.
        multiprocessing_context="spawn",
        # Flow of one video after the other takes unequal time; two waiting per worker keep all of them busy.
        prefetch_factor=2,
        # Its own, so that the caller's random numbers stay as they were.
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        remedy = "Run the same command again: it goes on where it stopped. If memory ran out, use fewer workers."
        raise RunError("workers that live", str(error).splitlines()[0], remedy) from error


def _as_it_is(item):
    return item


def _quiet_worker(index: int) -> None:
    """One thread per worker: the workers are the parallelism."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _shard(rank: int | None, world_size: int | None) -> tuple[int, int]:
    try:
        rank = int(os.environ.get("RANK", 0)) if rank is None else rank
        world_size = int(os.environ.get("WORLD_SIZE", 1)) if world_size is None else world_size
    except ValueError as error:
        raise SettingsError("whole numbers in RANK and WORLD_SIZE", str(error), "Correct the environment.") from None
    if not 0 <= rank < world_size:
        raise SettingsError("0 <= RANK < WORLD_SIZE", f"{rank} of {world_size}", "Start one process per rank.")
    return rank, world_size


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        remedy = "Restore it, or build the catalogue anew."
        raise DataError(f"the video {path}", error.strerror or str(error), remedy) from error
    return digest.hexdigest()
