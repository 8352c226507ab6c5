"""Flow on disk: one small file per video that is either whole and of the right origin, or made again.

A file holds the flow of a video at some of its native positions (motion p leads from frame p to frame p + 1), for the
whole frame as it was decoded and reduced to a short side of at most 256 pixels (`flow_file`).

Letters: N stored positions, H, W pixels of the reduced frame, h, w samples (half of H and W, rounded up).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

import numpy as np
from torch import Tensor

from tmal_core.config import FlowSettings
from tmal_core.errors import DataError
from tmal_core.flow.flow_file import BadFlow, Damage, FlowFile, OtherFormat, encode, open_flow, quantise
from tmal_core.runtime.files import atomic_path

State = Literal["ok", "missing", "stale", "damaged"]
Array = np.ndarray | Tensor


@dataclass(frozen=True)
class FlowMeta:
    """Where stored flow comes from; a file of another origin, which is one that differs, is stale."""

    estimator: str
    weights_hash: str
    grid: str  # the temporal grid, "32" or "all"
    source_hash: str  # sha256 of the video file
    scale: float = field(default=1.0, compare=False)  # short side of the reduced frame over that of the decoded one


class StoredFlow(NamedTuple):
    """What a file gives back."""

    flow_px: np.ndarray  # (N, 2, h, w) float32, pixels of the reduced frame
    positions: np.ndarray  # (N,) int64, native
    meta: FlowMeta
    frame_size: tuple[int, int]  # (H, W) of the reduced frame
    clipped_pct: float  # share of components that were cut at +-20 px


class FlowStore:
    """A folder of flow files, spread over 256 subfolders.

    Args:
        root: the folder; made when the first file is written.
        compact: whether new files hold PNGs. Files of both kinds are read.

    >>> store = FlowStore(getfixture("tmp_path"))
    >>> _ = store.write("clip", np.ones((1, 2, 4, 6)), np.array([3]), FlowMeta("dis", "none", "all", "sha256"))
    >>> stored = store.read("clip")
    >>> stored.positions, stored.flow_px.shape, stored.flow_px.mean().round(2)  # at half the resolution
    (array([3]), (1, 2, 2, 3), np.float32(0.94))
    """

    def __init__(self, root: str | Path, compact: bool = False) -> None:
        self.root = Path(root)
        self.compact = compact

    def path(self, video_id: str) -> Path:
        """Where the flow of a video lies, whether or not it is there."""
        digest = hashlib.sha256(video_id.encode()).hexdigest()
        name = quote(video_id, safe=" ()[]+,=@!")
        # File systems take names of up to 255 bytes; a suffix and a dot at the start must not matter either.
        if len(name) > 200 or name.startswith("."):
            name = f"{name[:100].lstrip('.')}-{digest[:16]}"
        return self.root / digest[:2] / f"{name}.safetensors"

    def write(self, video_id: str, flow_px: Array | Iterable[Array], positions: np.ndarray, meta: FlowMeta) -> Path:
        """Store the flow of a video, atomically.

        Args:
            flow_px: (N, 2, H, W), pixels, of the whole reduced frame; or batches of it one after the other, of which
                only one is held at a time.
            positions: (N,) ascending native positions, each once.

        Raises:
            DataError: shapes or positions do not fit, or the flow is not finite.
        """
        positions = np.asarray(positions, dtype=np.int64)
        batches = [flow_px] if isinstance(flow_px, Array) else flow_px
        try:
            flow = quantise(np.asarray(batch, dtype=np.float32) for batch in batches)
        except BadFlow as error:
            remedy = "Use another precision or estimator, or leave the video out."
            raise DataError("finite flow of shape (N, 2, H, W)", f"{error} for video {video_id}", remedy) from error
        ascending = positions.ndim == 1 and len(positions) > 0 and bool((np.diff(positions) > 0).all())
        if not ascending or len(positions) != len(flow.steps):
            got = f"{len(flow.steps)} fields at {positions.tolist()} for video {video_id}"
            raise DataError("a field for each of the ascending positions", got, "Pass each position once.")
        path = self.path(video_id)
        content = encode(flow, positions, asdict(meta), self.compact)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    def read(self, video_id: str, positions: np.ndarray | None = None) -> StoredFlow:
        """The stored flow, whole, or at some positions only; what is read is checked against its checksum.

        Args:
            positions: (M,) native positions in any order, repeats allowed; only these are read and decoded.

        Raises:
            DataError: the file is missing or damaged, or a position is not stored.
        """
        path = self.path(video_id)
        if not path.is_file():
            raise DataError(f"stored flow of video {video_id}", f"no file {path}", "Run `tmal flow` first.")
        try:
            with open_flow(path) as file:
                positions = file.positions if positions is None else np.asarray(positions, dtype=np.int64)
                flow_px, (height, width) = file.fields(_rows(file, positions, path)), file.record["frame_size"]
                return StoredFlow(flow_px, positions, _meta(file), (height, width), file.record["clipped_pct"])
        except Damage as error:
            remedy = "Run `tmal flow` to make it again."
            raise DataError(f"stored flow of video {video_id}", f"{path} ({error})", remedy) from error

    def state(self, video_id: str, expected: FlowMeta) -> State:
        """Whether the file is there, whole (by its checksums) and of the expected origin."""
        path = self.path(video_id)
        if not path.is_file():
            return "missing"
        try:
            with open_flow(path) as file:
                if _meta(file) != expected:
                    return "stale"
                file.verify()
                return "ok"
        except OtherFormat:
            return "stale"
        except Damage:
            return "damaged"


def flow_store(data_folder: Path, flow: FlowSettings) -> FlowStore:
    """The store of a data set and an estimator."""
    return FlowStore(data_folder / "flow" / flow.estimator, compact=flow.compact)


def _meta(file: FlowFile) -> FlowMeta:
    return FlowMeta(**{name: file.record[name] for name in FlowMeta.__dataclass_fields__})


def _rows(file: FlowFile, wanted: np.ndarray, path: Path) -> np.ndarray:
    """The rows of the file that hold the wanted positions."""
    stored = file.positions
    rows = np.searchsorted(stored, wanted).clip(max=len(stored) - 1)
    if (stored[rows] != wanted).any():
        got, remedy = str(np.setdiff1d(wanted, stored).tolist()), "Run `tmal flow` with the same sampling.grid."
        raise DataError(f"positions among the {len(stored)} stored in {path}", got, remedy)
    return rows
