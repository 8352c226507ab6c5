"""Flow for all videos of a catalogue: resumable, in parallel, in shards.

One video is one unit: its stored file is checked, and where it is missing, of another origin or damaged, the video is
decoded, reduced, its flow estimated at the grid's positions (each pair of frames once) and stored. Nothing is kept
between videos, so an extraction that was killed anywhere goes on where it stopped and ends with the same bytes.

Workers decode; they also estimate and write where the estimator is cheap (DIS), else the main process does, in batches
on its device. Shards divide the table among processes by RANK and WORLD_SIZE, as torchrun sets them, and never
talk to each other: there is no process group that a killed rank could hang. LOCAL_RANK chooses among the GPUs of a
machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from tmal_core.data.video import read_frames
from tmal_core.data.video.sampling import Grid, grid_positions
from tmal_core.errors import DataError, SettingsError
from tmal_core.flow.estimator import FlowEstimator, build_estimator, flow_batches
from tmal_core.flow.extraction_report import ExtractReport, Outcome, join_reports, shard_path, write_report
from tmal_core.flow.store import FlowMeta, FlowStore, State
from tmal_core.runtime.devices import Loader
from tmal_core.runtime.files import file_sha256
from tmal_core.runtime.progress_bar import tqdm

SHORT_SIDE = 256  # larger frames are reduced to it before flow is estimated
DECODED_BYTES = 1 << 29  # of frames decoded at one time, before they are reduced: 64 of 1080p fit, 8K comes in parts
REASONS = {"stale": "stale: of another estimator, grid, format or video file", "damaged": "damaged: checksum or header"}


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
        catalog_table: with columns video, path, num_frames and sha256, one row per file; height and width, where they
            are there, bound the memory that large frames take.
        root: folder that the paths start from.
        store: where flow goes; `flow_report.csv` is written to its root.
        grid: positions per video, see `tmal_core.data.video.sampling`.
        num_workers: processes beside this one; 0 does everything here. Results do not depend on it.
        batch_pairs: pairs per call of a network; fewer where a GPU's memory does not take them.
        device: of a network; "cuda" is the GPU of LOCAL_RANK.
        rank, world_size: which shard; by default RANK and WORLD_SIZE of the environment, else all of the table.

    Returns:
        The report. A video that cannot be read, or whose flow is not finite, is listed and counted as broken.

    Raises:
        SettingsError, WeightsError: the estimator or the shard is wrong; raised before anything is read.
        RunError: the disk or a GPU is full, or a worker died.
    """
    rank, world_size = _shard(rank, world_size)
    estimator = build_estimator(estimator_name, weights_dir, _own_device(device))
    table = catalog_table.iloc[rank::world_size]
    videos = _Videos(table, Path(root), store, estimator, grid, decoder)
    report = ExtractReport([], shard_path(store.root, rank, world_size))
    if world_size > 1:
        report.path.unlink(missing_ok=True)  # or the last run's would be joined with this one's
    # With random numbers of its own, so that the caller's stay as they were.
    items = Loader(videos, num_workers, batch_size=None, generator=torch.Generator())
    with tqdm(total=len(table), desc=f"flow ({estimator.name})", unit="video", disable=not progress) as bar:
        for item in items:
            report.outcomes.append(_finish(item, estimator, store, batch_pairs))
            if report.outcomes[-1].status == "broken":
                bar.set_postfix(broken=len(report.broken), refresh=False)
            bar.update()
    write_report(report)
    join_reports(store.root, world_size)
    return report


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
    """A video whose flow is still to be estimated."""

    video: str
    state: State
    frames: torch.Tensor  # a tensor travels between processes through shared memory
    pairs: np.ndarray
    positions: np.ndarray
    meta: FlowMeta


class _Videos(Dataset):
    """Item i is what a worker can do for row i."""

    def __init__(
        self, table: pd.DataFrame, root: Path, store: FlowStore, estimator: FlowEstimator, grid: Grid, decoder: str
    ) -> None:
        self.rows: list[dict[str, Any]] = table.to_dict("records")
        self.root, self.store, self.grid, self.decoder = root, store, grid, decoder
        self.origin = FlowMeta(estimator.name, estimator.weights_hash, str(grid), source_hash="")
        # A network stays in the main process.
        self.estimator = estimator if estimator.runs_in_workers else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Outcome | _Decoded:
        row = self.rows[index]
        meta = replace(self.origin, source_hash=row["sha256"])
        state = self.store.state(row["video"], meta)
        if state == "ok":
            return Outcome(row["video"], "kept")
        try:
            item = self._decode(row, state, meta)
        except DataError as error:
            return _broken(row["video"], self.store, error)
        return item if self.estimator is None else _finish(item, self.estimator, self.store, batch_pairs=32)

    def _decode(self, row: dict[str, Any], state: State, meta: FlowMeta) -> _Decoded:
        path, num_frames = self.root / row["path"], row["num_frames"]
        try:
            found = file_sha256(path)
        except OSError as error:
            remedy = "Restore it, or build the catalogue anew."
            raise DataError(f"the video {path}", error.strerror or str(error), remedy) from error
        if found != meta.source_hash:
            remedy = "The file was replaced: build the catalogue anew."
            raise DataError(f"{path} with sha256 {meta.source_hash[:12]}...", f"{found[:12]}...", remedy)
        if num_frames < 1:
            raise DataError(f"frames of {path}", f"{num_frames} in the catalogue", "Build it anew.")
        positions = np.unique(grid_positions(num_frames, self.grid))
        wanted = np.unique(np.concatenate([positions, np.minimum(positions + 1, num_frames - 1)]))
        # Large frames are read in parts, so that no more than DECODED_BYTES of them are held at one time.
        step, parts = max(1, DECODED_BYTES // max(1, 3 * row.get("height", 0) * row.get("width", 0))), []
        for start in range(0, len(wanted), step):
            frames = read_frames(path, wanted[start : start + step], self.decoder)
            parts.append(reduce_frames(frames))
        meta = replace(meta, scale=min(parts[0].shape[1:3]) / min(frames.shape[1:3]))
        reduced = torch.from_numpy(np.concatenate(parts) if len(parts) > 1 else parts[0])
        first = np.searchsorted(wanted, positions)
        # A one-frame video has no second frame and no pair: zero flow.
        pairs = np.stack([first, first + 1], axis=1) if num_frames > 1 else np.empty((0, 2), dtype=np.int64)
        return _Decoded(row["video"], state, reduced, pairs, positions, meta)


def _finish(item: Outcome | _Decoded, estimator: FlowEstimator, store: FlowStore, batch_pairs: int) -> Outcome:
    """Estimate and store what is still to be estimated."""
    if isinstance(item, Outcome):
        return item
    frames = item.frames.numpy()
    none = np.zeros((len(item.positions), 2, *frames.shape[1:3]), dtype=np.float32)
    flow = flow_batches(estimator, frames, item.pairs, batch_pairs) if len(item.pairs) else none
    try:
        store.write(item.video, flow, item.positions, item.meta)
    except DataError as error:
        return _broken(item.video, store, error)
    if item.state == "missing":
        return Outcome(item.video, "made")
    return Outcome(item.video, "remade", REASONS[item.state])


def _broken(video: str, store: FlowStore, error: DataError) -> Outcome:
    # Flow of another origin must not pass for this video's.
    store.path(video).unlink(missing_ok=True)
    return Outcome(video, "broken", str(error))


def _shard(rank: int | None, world_size: int | None) -> tuple[int, int]:
    rank = _whole("RANK", 0) if rank is None else rank
    world_size = _whole("WORLD_SIZE", 1) if world_size is None else world_size
    if not 0 <= rank < world_size:
        raise SettingsError("0 <= RANK < WORLD_SIZE", f"{rank} of {world_size}", "Start one process per rank.")
    return rank, world_size


def _own_device(device: str | torch.device) -> torch.device:
    """The device; of several GPUs in a machine that of LOCAL_RANK, as torchrun sets it."""
    device = torch.device(device)
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    # Where each process sees one GPU only, all of them are number 0.
    return torch.device("cuda", _whole("LOCAL_RANK", 0) % max(torch.cuda.device_count(), 1))


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"a whole number in {name}", repr(text), "Correct the environment.") from None
