"""Files from disk beside a split: examined, with flow where it is read, as further rows of its catalogue."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tmal_core.config import Settings
from tmal_core.data.clips import FlowSource
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError
from tmal_core.flow.loose_clips import readable
from tmal_core.flow.reader import FlowReader
from tmal_core.flow.store import FlowStore, flow_store


class LooseFiles:
    """The files that were taken in; their flow is computed, and gone with this object.

    Args:
        settings: how files are examined, and flow is computed.
        reads_flow: whether a method needs flow of them.
    """

    def __init__(self, settings: Settings, reads_flow: bool) -> None:
        self._settings, self._tables = settings, list[pd.DataFrame]()
        self._store: FlowStore | None = None
        if reads_flow:
            folder = tempfile.mkdtemp(prefix="tmal-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._store = flow_store(Path(folder), settings.flow)

    def add(self, path: Path, catalog: Catalog) -> Catalog:
        """The catalogue with one row more.

        Raises:
            DataError: the file is not there, or no video that can be read.
        """
        if not path.is_file():
            raise DataError("a video file", f"{path}, which is not there", "Correct the path.")
        found, lost = readable(path.resolve().parent, [path.name], self._settings, self._store, progress=False)
        if lost:
            got = f"{path} ({lost[path.name]})"
            raise DataError("a video that can be read", got, "Choose another file, or convert it.")
        self._tables.append(found.table)
        row = found.table.assign(path=str(path.resolve()), video=path.name, class_name="", family="", split="")
        row = row.assign(role="both", group="", base=row["sha256"])
        table = pd.concat([catalog.table, row.reindex(columns=catalog.table.columns)], ignore_index=True)
        return Catalog(catalog.root, table)

    def with_their_flow(self, flow: FlowSource) -> FlowSource:
        """A source of flow of a split's rows, and behind them of the files'."""
        if self._store is None or not self._tables:
            return flow
        files = Catalog(Path(), pd.concat(self._tables, ignore_index=True))
        return _Both(flow, FlowReader(files, self._store, self._settings.flow.estimator))


class _Both:
    """Two sources of flow, the rows of one behind those of the other."""

    def __init__(self, first: FlowSource, second: FlowReader) -> None:
        self._first, self._second, self.estimator = first, second, first.estimator
        self.num_videos = first.num_videos + second.num_videos

    def read(self, row: int, positions: np.ndarray | None = None) -> Any:
        """Flow of a row of either."""
        behind = row - self._first.num_videos
        return self._first.read(row, positions) if behind < 0 else self._second.read(behind, positions)
