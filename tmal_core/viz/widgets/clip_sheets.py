"""Clips for a page: all frames of one in a single picture, so that a page can play, stop and step through it.

Not the video files themselves: browsers do not play AVI or MPEG-4 part 2, and none of them steps by frames.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tmal_core.data.clips import ClipReader, FlowSource
from tmal_core.errors import TmalError
from tmal_core.viz.flow_colours import color_wheel, flow_to_rgb

MOST_FRAMES, SIDE, LARGE = 240, 144, 480
"""Of a sheet, and the longer side of a frame in pixels: on the sheet, and alone."""


@dataclass(frozen=True)
class ClipSheet:
    """One clip, ready for a page."""

    facts: dict[str, Any]
    """fps, and of frames and flow alike `columns`, tile `size` (width, height), the native `numbers` of the tiles; of
    flow too the speed `max_px` of its strongest colour."""
    pictures: dict[str, bytes]
    """WebP by what is on it: frames, and flow where there is such."""


def clip_sheet(
    reader: ClipReader, row: int, flow: FlowSource | None = None, most_frames: int | None = None, side: int = SIDE
) -> ClipSheet:
    """A clip's frames in order, as decoded, and its stored flow.

    Args:
        flow: where it is stored; a clip without any has no such sheet, and `facts` say why.
        most_frames: of a longer clip that many, evenly spread; `MOST_FRAMES` by default.
        side: longer side of a frame in pixels at most.

    Raises:
        DataError: the video cannot be read, or is another one than when the data set was prepared.
    """
    table = reader.catalog.table
    count, fps = int(table["num_frames"].iat[row]), float(table["fps"].iat[row])
    numbers = np.unique(np.linspace(0, count - 1, min(count, most_frames or MOST_FRAMES)).round().astype(int))
    facts: dict[str, Any] = {"row": int(row), "fps": fps, "num_frames": count}
    facts["sampled"] = reader.test_positions(row).tolist()
    facts["frames"], frames = _sheet(reader.frames(row, numbers), numbers, side)
    pictures = {"frames": frames}
    if flow is not None:
        try:
            stored = flow.read(row)
        except TmalError as error:
            facts["no_flow"] = error.in_one_line
        else:
            flow_px = stored.flow_px.astype(np.float32)
            fastest = float(np.hypot(*np.moveaxis(flow_px, 1, 0)).max(initial=1e-3))
            facts["flow"], pictures["flow"] = _sheet(flow_to_rgb(flow_px, fastest), np.asarray(stored.positions), side)
            facts["flow"]["max_px"] = round(fastest, 2)
    return ClipSheet(facts, pictures)


def large_frame(reader: ClipReader, row: int, number: int) -> bytes:
    """One native frame as WebP."""
    image = Image.fromarray(reader.frames(row, np.array([number]))[0])
    shrink = min(1.0, LARGE / max(image.size))
    width, height = (max(1, round(side * shrink)) for side in image.size)
    return _webp(image.resize((width, height), Image.Resampling.BOX))


def flow_key() -> bytes:
    """The wheel of colours: where motion goes to."""
    return _webp(Image.fromarray(color_wheel(64)))


def _sheet(frames: np.ndarray, numbers: np.ndarray, side: int) -> tuple[dict[str, Any], bytes]:
    """Tiles row by row, about as wide as high in all."""
    count, height, width = frames.shape[:3]
    shrink = min(1.0, side / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    columns = math.ceil(math.sqrt(count * size[1] / size[0]))
    sheet = Image.new("RGB", (columns * size[0], math.ceil(count / columns) * size[1]))
    for number, frame in enumerate(frames):
        tile = Image.fromarray(frame)
        tile = tile.resize(size, Image.Resampling.BOX) if shrink < 1 else tile
        sheet.paste(tile, (number % columns * size[0], number // columns * size[1]))
    return {"columns": columns, "size": list(size), "numbers": numbers.tolist()}, _webp(sheet)


def _webp(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=85, method=0)
    return file.getvalue()
