"""The bytes of one flow file: int8 fields at half resolution, each with a checksum of its own.

Samples are means over 2 x 2 pixels. Vectors are measured in pixels of the frame that the flow was estimated on, not of
the samples, in int8 steps of 20 / 127 px: a component is off by 0.08 px at most and a vector by 0.06 px on average.
Components beyond +-20 px are cut, and their share is recorded.

The container is safetensors: int8 `flow` (N, 2, h, w), or uint8 `png` with int64 `offsets` (N + 1,) where fields are
PNGs (exact, several times smaller, slower); beside them int64 `positions` (N,) and `checks` (N,), the CRC-32 of each
field. Metadata is one JSON text behind a CRC-32 of that text and of all tensors but the fields: so a reader of a few
positions checks all that it reads, and no more. It is one entry: safetensors writes several in random order.

Letters: N stored positions, H, W pixels of the frame, h, w samples (half of H and W, rounded up).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tmal_core.errors import TmalError

FORMAT = 2
BOUND_PX = 20.0
STEP_PX = BOUND_PX / 127
META_KEY = "tmal_flow"


class Damage(Exception):
    """A file that cannot be trusted; the text says why."""


class BadFlow(Exception):
    """Flow that cannot be stored; the text says why."""


class OtherFormat(Damage):
    """A whole file of another format version."""


class Quantised(NamedTuple):
    """Flow as it is stored."""

    steps: np.ndarray  # (N, 2, h, w) int8, in steps of STEP_PX
    frame_size: tuple[int, int]  # (H, W)
    clipped_pct: float  # share of components beyond the bound


def quantise(batches: Iterable[np.ndarray]) -> Quantised:
    """Flow in batches (n, 2, H, W) float32 of one size, pixels, to int8; no more than one batch is held at a time.

    Raises:
        BadFlow: the batches differ in form, there is none, or a value is not finite.
    """
    parts, clipped = [], 0
    size: tuple[int, ...] | None = None
    for flow_px in batches:
        if flow_px.ndim != 4 or flow_px.shape[1] != 2 or (size or flow_px.shape[2:]) != flow_px.shape[2:]:
            raise BadFlow(f"{flow_px.shape}, where (n, 2, H, W) of one size is due")
        if not np.isfinite(flow_px.sum()):
            raise BadFlow("nan or inf")
        size = flow_px.shape[2:]
        half = np.empty((len(flow_px), 2, *half_size(*size)), dtype=np.float32)
        for source, target in zip(flow_px.reshape(-1, *size), half.reshape(-1, *half.shape[2:]), strict=True):
            # Exact means over areas: OpenCV's is several times faster than a pooling layer, and takes odd sides.
            cv2.resize(source, (half.shape[3], half.shape[2]), dst=target, interpolation=cv2.INTER_AREA)
        half *= 1 / STEP_PX
        np.rint(half, out=half)
        clipped += int(np.count_nonzero(np.abs(half) > 127))
        parts.append(np.clip(half, -127, 127, out=half).astype(np.int8))
    if size is None:
        raise BadFlow("no flow at all")
    steps = np.concatenate(parts)
    return Quantised(steps, (int(size[0]), int(size[1])), round(100 * clipped / max(steps.size, 1), 4))


def half_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) of the samples of a frame."""
    return -(-height // 2), -(-width // 2)


def encode(flow: Quantised, positions: np.ndarray, record: dict[str, Any], compact: bool) -> bytes:
    """The file of a video's flow at (N,) int64 positions, with what else is to be known; `compact` makes PNGs."""
    fields = [_to_png(field) for field in flow.steps] if compact else list(flow.steps)
    index = {"positions": positions, "checks": np.array([_crc(field) for field in fields], dtype=np.int64)}
    if compact:
        index["offsets"] = np.cumsum([0, *(len(field) for field in fields)], dtype=np.int64)
    own = {"format": FORMAT, "frame_size": flow.frame_size, "clipped_pct": flow.clipped_pct}
    text = json.dumps(record | own, sort_keys=True)
    tensors = index | ({"png": np.concatenate(fields)} if compact else {"flow": flow.steps})
    return save(tensors, {META_KEY: f"{_checksum(text, index)} {text}"})


@contextmanager
def open_flow(path: Path) -> Iterator[FlowFile]:
    """A flow file, its index checked.

    Whatever is wrong with the file, also while its fields are read, is raised as Damage. Errors of our own pass.
    """
    try:
        with safe_open(path, framework="np") as tensors:
            yield FlowFile(tensors)
    except TmalError:
        raise
    except (SafetensorError, OSError, LookupError, TypeError, ArithmeticError, ValueError) as error:
        raise Damage(str(error)) from error  # the last four are what a wrong header makes of a right reader


class FlowFile:
    """A flow file that is open, from safetensors' own."""

    def __init__(self, tensors: Any) -> None:
        checksum, _, text = ((tensors.metadata() or {}).get(META_KEY) or "").partition(" ")
        try:
            self.record = json.loads(text)  # what `encode` was given, and format, frame_size and clipped_pct
            version = self.record["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise Damage("no metadata") from error
        if version != FORMAT:
            raise OtherFormat(f"format {version}, this version reads {FORMAT}")
        self._compact = "png" in tensors.keys()  # noqa: SIM118 - not a dict
        names = ("checks", "offsets", "positions") if self._compact else ("checks", "positions")
        index = {name: tensors.get_tensor(name) for name in names}
        if _checksum(text, index) != checksum:
            raise Damage("checksum of its index does not match")
        self.positions: np.ndarray = index["positions"]  # (N,) int64
        self._checks, self._offsets = index["checks"], index.get("offsets", self.positions)
        self._shape = (2, *half_size(*self.record["frame_size"]))
        # Sliced, not read whole: most readers want a few fields.
        self._stored = tensors.get_slice("png" if self._compact else "flow")

    def verify(self) -> None:
        """Check every field."""
        for row in range(len(self.positions)):
            self._field(row)

    def fields(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(len(rows), 2, h, w) float32 pixels, checked."""
        steps = np.empty((len(rows), *self._shape), dtype=np.int8)
        for target, row in zip(steps, rows, strict=True):
            field = self._field(int(row))
            target[...] = _from_png(field) if self._compact else field
        return steps.astype(np.float32) * np.float32(STEP_PX)

    def _field(self, row: int) -> np.ndarray:
        """A field as it is stored."""
        field = self._stored[self._offsets[row] : self._offsets[row + 1]] if self._compact else self._stored[row]
        if _crc(field) != self._checks[row]:
            raise Damage(f"checksum of the flow at position {self.positions[row]} does not match")
        # Shapes stand in safetensors' own header, which has no checksum; those of PNGs stand in the PNGs.
        if not self._compact and field.shape != self._shape:
            raise Damage(f"a field of shape {field.shape} instead of {self._shape}")
        return field


def _to_png(field: np.ndarray) -> np.ndarray:
    """(2, h, w) int8 as one grey picture, dx above dy."""
    # Run lengths suit smooth fields: on DIS flow the smallest of the strategies, and the fastest.
    options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    picture = (field.reshape(-1, field.shape[-1]).astype(np.int16) + 128).astype(np.uint8)
    return cv2.imencode(".png", picture, options)[1].ravel()


def _from_png(blob: np.ndarray) -> np.ndarray:
    picture = np.asarray(cv2.imdecode(blob, cv2.IMREAD_UNCHANGED))
    return (picture.astype(np.int16) - 128).astype(np.int8).reshape(2, -1, picture.shape[1])


def _checksum(text: str, index: dict[str, np.ndarray]) -> str:
    value = zlib.crc32(text.encode())
    for name in sorted(index):
        value = zlib.crc32(np.ascontiguousarray(index[name]).data, value)
    return f"{value:08x}"


def _crc(field: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(field).data)
