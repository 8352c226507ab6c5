"""Flow on disk: one small file per video that is either whole and of the right origin, or made again.

A file holds the flow of a video at some of its native positions (motion p leads from frame p to frame p + 1), for the
whole frame as it was decoded and reduced to a short side of at most 256 pixels. Samples are means over 2 x 2 pixels
(half resolution), so a file can be cropped, resized and flipped with the frames later. Vectors are measured in pixels
of the reduced frame (`frame_size`), not of the half-resolution samples: int8 steps of 20 / 127 px, so a component is
off by 0.08 px at most and a vector by 0.06 px on average. Components beyond +-20 px are cut; their share is kept in the
metadata. `compact` keeps each field as a PNG (exact, several times smaller, slower).

The container is safetensors: int8 `flow` (N, 2, h, w), or uint8 `png` and int64 `offsets` (N + 1,), beside int64
`positions` (N,). Metadata is one JSON text behind a CRC-32 of everything: one entry, because safetensors writes several
in random order and the same flow is to give the same bytes.

Letters: N stored positions, H, W pixels of the reduced frame, h, w samples (half of H and W, rounded up).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from tmal_core.config import Settings, in_project
from tmal_core.errors import DataError
from tmal_core.files import atomic_path

FORMAT = 1
BOUND_PX = 20.0
STEP_PX = BOUND_PX / 127
META_KEY = "tmal_flow"
State = Literal["ok", "missing", "stale", "damaged"]


@dataclass(frozen=True)
class FlowMeta:
    """Where stored flow comes from; a file of another origin is stale."""

    estimator: str
    weights_hash: str
    grid: str
    """The temporal grid, "32" or "all"."""
    source_hash: str
    """sha256 of the video file."""
    scale: float = 1.0
    """Short side of the reduced frame over that of the decoded one; follows from the video, so it is not compared."""

    def same_origin(self, other: FlowMeta) -> bool:
        """Whether both describe the same flow of the same video."""
        mine, theirs = asdict(self), asdict(other)
        return all(mine[name] == theirs[name] for name in mine if name != "scale")


@dataclass(frozen=True)
class StoredFlow:
    """What a file gives back."""

    flow_px: np.ndarray
    """(N, 2, h, w) float32, pixels of the reduced frame."""
    positions: np.ndarray
    """(N,) int64, ascending native positions."""
    meta: FlowMeta
    frame_size: tuple[int, int]
    """(H, W) of the reduced frame: what `ClipTransform.apply` calls flow_frame."""
    clipped_pct: float
    """Share of components that were cut at +-20 px, per cent."""


class FlowStore:
    """A folder of flow files, spread over 256 subfolders.

    Args:
        root: the folder; made when the first file is written.
        compact: whether new files hold PNGs. Files of both kinds are read.
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

    def write(self, video_id: str, flow_px: np.ndarray | Tensor, positions: np.ndarray, meta: FlowMeta) -> Path:
        """Store the flow of a video, atomically.

        Args:
            flow_px: (N, 2, H, W), pixels, of the whole reduced frame.
            positions: (N,) ascending native positions, each once.

        Raises:
            DataError: shapes or positions do not fit, or the flow is not finite.
        """
        flow_px, positions = np.asarray(flow_px, dtype=np.float32), np.asarray(positions, dtype=np.int64)
        _check(video_id, flow_px, positions)
        steps, clipped_pct = _quantise(flow_px)
        tensors = {"positions": positions, **(_to_png(steps) if self.compact else {"flow": steps})}
        record = {"format": FORMAT, **asdict(meta), "frame_size": flow_px.shape[2:], "clipped_pct": clipped_pct}
        text = json.dumps(record, sort_keys=True)
        path = self.path(video_id)
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(tensors, {META_KEY: f"{_checksum(text, tensors)} {text}"}))
        return path

    def read(self, video_id: str, positions: np.ndarray | None = None) -> StoredFlow:
        """The stored flow, whole, or at some positions only.

        Args:
            positions: (M,) native positions in any order, repeats allowed; only these are read and decoded, and the
                checksum, which would need the whole file, is left to `state`.

        Raises:
            DataError: the file is missing or damaged, or a position is not stored.
        """
        path = self.path(video_id)
        if not path.is_file():
            raise DataError(f"stored flow of video {video_id}", f"no file {path}", "Run `tmal flow` first.")
        try:
            return _read(path, positions)
        except _Damage as error:
            raise DataError(
                f"stored flow of video {video_id}", f"{path} ({error})", "Run `tmal flow` to make it again."
            ) from error

    def state(self, video_id: str, expected: FlowMeta) -> State:
        """Whether the file is there, whole (by its checksum) and of the expected origin."""
        path = self.path(video_id)
        if not path.is_file():
            return "missing"
        try:
            with _open(path) as file:
                record = _verify(file)
            return "ok" if _meta(record).same_origin(expected) else "stale"
        except _OtherFormat:
            return "stale"
        except _Damage:
            return "damaged"


def flow_store(settings: Settings) -> FlowStore:
    """The store of the settings' data set and estimator: `<data.root>/flow/<estimator>`."""
    root = in_project(settings.data.root) / "flow" / settings.flow.estimator
    return FlowStore(root, compact=settings.flow.compact)


class _Damage(Exception):
    """A file that cannot be trusted; the text says why."""


class _OtherFormat(_Damage):
    """A whole file of another format version."""


class _open:
    """safe_open that reports whatever goes wrong while the file is open as _Damage."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self):
        try:
            self._file = safe_open(self._path, framework="np")
            return self._file.__enter__()
        except (SafetensorError, OSError) as error:
            raise _Damage(str(error)) from error

    def __exit__(self, kind, error, trace) -> None:
        self._file.__exit__(kind, error, trace)
        if isinstance(error, SafetensorError | OSError | KeyError | TypeError):
            raise _Damage(str(error)) from error


def _check(video_id: str, flow_px: np.ndarray, positions: np.ndarray) -> None:
    ascending = positions.ndim == 1 and len(positions) > 0 and bool((np.diff(positions) > 0).all())
    if flow_px.ndim != 4 or flow_px.shape[1] != 2 or not ascending or len(positions) != len(flow_px):
        raise DataError(
            "flow of shape (N, 2, H, W) at N ascending positions",
            f"{flow_px.shape} at {positions.tolist()} for video {video_id}",
            "Pass each position once.",
        )
    if not np.isfinite(flow_px.sum()):
        raise DataError("finite flow", f"nan or inf for video {video_id}", "Use another precision or estimator.")


def _quantise(flow_px: np.ndarray) -> tuple[np.ndarray, float]:
    """(N, 2, H, W) pixels to (N, 2, h, w) int8 steps, and the share of components beyond the bound in per cent."""
    num, _, height, width = flow_px.shape
    half = np.empty((num, 2, -(-height // 2), -(-width // 2)), dtype=np.float32)
    for source, target in zip(flow_px.reshape(-1, height, width), half.reshape(-1, *half.shape[2:]), strict=True):
        # Exact means over areas: OpenCV's is several times faster than a pooling layer, and takes odd sides.
        cv2.resize(source, (half.shape[3], half.shape[2]), dst=target, interpolation=cv2.INTER_AREA)
    half *= 1 / STEP_PX
    np.rint(half, out=half)
    clipped = np.count_nonzero(np.abs(half) > 127)
    np.clip(half, -127, 127, out=half)
    return half.astype(np.int8), round(100 * clipped / half.size, 4)


def _to_png(steps: np.ndarray) -> dict[str, np.ndarray]:
    """Each field as one grey picture, dx above dy."""
    # Run lengths suit smooth fields: on DIS flow the smallest of the strategies, and the fastest.
    options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    pictures = (steps.reshape(len(steps), -1, steps.shape[-1]).astype(np.int16) + 128).astype(np.uint8)
    blobs = [cv2.imencode(".png", picture, options)[1].ravel() for picture in pictures]
    offsets = np.cumsum([0, *(len(blob) for blob in blobs)], dtype=np.int64)
    return {"png": np.concatenate(blobs), "offsets": offsets}


def _from_png(blob: np.ndarray) -> np.ndarray:
    picture = cv2.imdecode(blob, cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 2 or picture.shape[0] % 2:
        raise _Damage("a picture in it cannot be decoded")
    return (picture.astype(np.int16) - 128).astype(np.int8).reshape(2, -1, picture.shape[1])


def _checksum(text: str, tensors: dict[str, np.ndarray]) -> str:
    value = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).data, value)
    return f"{value:08x}"


def _header(file) -> tuple[str, str]:
    """Checksum and JSON text of an open file."""
    checksum, _, text = ((file.metadata() or {}).get(META_KEY) or "").partition(" ")
    return checksum, text


def _record(text: str) -> dict:
    try:
        record = json.loads(text)
        version = record["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise _Damage("no metadata") from error
    if version != FORMAT:
        raise _OtherFormat(f"format {version}, this version reads {FORMAT}")
    return record


def _verify(file) -> dict:
    """The metadata of an open file whose checksum is right."""
    checksum, text = _header(file)
    record = _record(text)
    if _checksum(text, {name: file.get_tensor(name) for name in file.keys()}) != checksum:  # noqa: SIM118
        raise _Damage("checksum does not match")
    return record


def _meta(record: dict) -> FlowMeta:
    try:
        return FlowMeta(**{name: record[name] for name in FlowMeta.__dataclass_fields__})
    except KeyError as error:
        raise _Damage(f"metadata without {error}") from error


def _read(path: Path, wanted: np.ndarray | None) -> StoredFlow:
    with _open(path) as file:
        record = _verify(file) if wanted is None else _record(_header(file)[1])
        stored = positions = file.get_tensor("positions")
        rows = range(len(stored))
        if wanted is not None:
            positions = np.asarray(wanted, dtype=np.int64)
            rows = np.searchsorted(stored, positions).clip(max=len(stored) - 1)
            if (stored[rows] != positions).any():
                raise DataError(
                    f"positions among the {len(stored)} stored in {path}",
                    str(sorted(set(positions.tolist()) - set(stored.tolist()))),
                    "Run `tmal flow` with the same sampling.grid.",
                )
        return StoredFlow(
            _fields(file, rows), positions, _meta(record), tuple(record["frame_size"]), record["clipped_pct"]
        )


def _fields(file, rows) -> np.ndarray:
    """(len(rows), 2, h, w) float32 pixels."""
    if "png" in file.keys():  # noqa: SIM118
        png, offsets = file.get_slice("png"), file.get_tensor("offsets")
        steps = [_from_png(png[offsets[row] : offsets[row + 1]]) for row in rows]
    else:
        flow = file.get_slice("flow")
        steps = [flow[int(row)] for row in rows]
    return np.stack(steps).astype(np.float32) * np.float32(STEP_PX)
