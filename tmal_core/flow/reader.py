"""Stored flow as models read it: by row of the catalogue, at the positions of its frames, cropped as they are.

    reader = FlowReader(catalog, flow_store(folder, settings.flow), settings.flow.estimator)
    stored = reader.read(row, positions)
    flow = transform.apply_flow(stored.flow_px, plan, stored.frame_size)

A file that does not belong to the row (flow of another estimator, or of the video as it was before it was replaced) is
an error here, as a missing one is: extraction makes it again, reading never does.
"""

from __future__ import annotations

import numpy as np

from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError
from tmal_core.flow.store import FlowStore, StoredFlow


class FlowReader:
    """Reads one estimator's flow of a catalogue's videos from a store. Holds no open file: any worker may use it."""

    def __init__(self, catalog: Catalog, store: FlowStore, estimator: str) -> None:
        self.store, self.estimator = store, estimator
        self._videos = catalog.table["video"].to_numpy(str)
        self._hashes = catalog.table["sha256"].to_numpy(str)

    @property
    def num_videos(self) -> int:
        """Rows of the catalogue."""
        return len(self._videos)

    def read(self, row: int, positions: np.ndarray | None = None) -> StoredFlow:
        """Flow of the row's video at T positions, (T, 2, h, w), as stored.

        Args:
            positions: (T,) native positions in any order, repeats allowed; all that are stored by default.

        Raises:
            DataError: there is no flow of this video by this estimator, it is damaged, or a position is not stored.
        """
        video = str(self._videos[row])
        stored = self.store.read(video, positions)
        found = ""
        if stored.meta.estimator != self.estimator:
            found = f"flow by {stored.meta.estimator}"
        elif stored.meta.source_hash != self._hashes[row]:
            found = "flow of another file of that name"
        if found:
            remedy = f"Run `tmal flow --estimator {self.estimator}`: it makes stale flow again."
            got = f"{found} in {self.store.path(video)}"
            raise DataError(f"flow of video {video} by {self.estimator}", got, remedy)
        return stored
