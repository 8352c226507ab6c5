"""Clips that belong to no data set: examined, with flow where it is read, as a catalogue that readers take.

A clip's id is its hash, so that flow that is kept serves it under any name.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from tmal_core.config import ComputeSettings, FlowSettings, Settings
from tmal_core.data.sets.catalog import FILE_NAME, Catalog, load_catalog
from tmal_core.data.video.examination import examine_all
from tmal_core.errors import DataError
from tmal_core.flow.extraction import extract
from tmal_core.flow.store import FlowStore, flow_store
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.progress_bar import tqdm

_WORKERS_PAY_FROM = 64  # clips: starting processes takes longer than decoding fewer


@contextmanager
def flow_place(reads_flow: bool, folder: Path | None, flow: FlowSettings) -> Iterator[FlowStore | None]:
    """A store for the flow of these clips; None where the model reads none."""
    if not reads_flow:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tmal-") as name:
        yield flow_store((folder or Path(name)).resolve(), flow)


def readable(
    root: Path, paths: Sequence[str], settings: Settings, store: FlowStore | None, progress: bool = True
) -> tuple[Catalog, dict[str, str]]:
    """A catalogue of the clips that can be read, and path -> reason of the others.

    Args:
        root: folder that the paths start from.
        store: what `flow_place` gave; the clips' flow is in it afterwards.
    """
    num_workers, least = few_workers(settings.compute, len(paths)).num_workers, settings.prepare.min_frames
    done = examine_all(root, paths, settings.data.decoder, num_workers)
    found = {one.path: one for one in tqdm(done, total=len(paths), desc="examining", disable=not progress)}
    lost = {path: found[path].reason for path in paths if found[path].reason}
    short = {path: found[path].num_frames for path in paths if path not in lost and found[path].num_frames < least}
    lost |= {path: f"{number} frames, fewer than {least} (prepare.min_frames)" for path, number in short.items()}
    columns = ("path", "num_frames", "lost_frames", "fps", "height", "width", "sha256")
    rows = [[getattr(found[path], name) for name in columns] for path in paths if path not in lost]
    table = pd.DataFrame(rows, columns=columns)
    table["video"] = table["sha256"]
    if store is not None and len(table):
        _borrow(set(table["sha256"]), settings, store)
        once, compute = table.drop_duplicates("video"), few_workers(settings.compute, len(table))
        how = settings.flow.estimator, settings.sampling.grid, compute.num_workers
        more: dict[str, Any] = {"device": compute.device, "decoder": settings.data.decoder, "progress": progress}
        without = {one.video: one.reason for one in extract(once, root, store, *how, **more).broken}
        lost |= {path: without[sha] for path, sha in zip(table["path"], table["sha256"], strict=True) if sha in without}
        table = table[~table["sha256"].isin(without)].reset_index(drop=True)
    return Catalog(root, table), lost


def few_workers(compute: ComputeSettings, num_clips: int) -> ComputeSettings:
    """No processes beside this one where clips are few."""
    return compute if num_clips >= _WORKERS_PAY_FROM else compute.model_copy(update={"num_workers": 0})


def _borrow(digests: set[str], settings: Settings, store: FlowStore) -> None:
    """Copy what `tmal flow` has stored of the same files; extraction makes anew what does not fit."""
    folder = settings.data.folder
    if not (folder / FILE_NAME).is_file():
        return
    with suppress(DataError):  # a data set that has moved away: its flow is computed again
        known, own = load_catalog(folder).table, flow_store(folder, settings.flow)
        ids = dict(zip(known["sha256"], known["video"], strict=True))
        for digest in digests & set(ids):
            source, target = own.path(ids[digest]), store.path(digest)
            if source.is_file() and not target.exists():
                with atomic_path(target) as temporary:
                    shutil.copyfile(source, temporary)
