"""From a decoded frame to upright RGB: one orientation for all frames of a clip.

A display matrix stands in the header of a file, or in the stream beside single pictures (H.264's and HEVC's message of
orientation, which holds until the next one). The matrix of the first frame that decodes is taken for the whole clip.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter


class Orientation(NamedTuple):
    """What makes stored frames upright, in this order; the eight combinations are all that a matrix can ask for."""

    transposed: bool = False
    mirrored: bool = False  # left and right exchanged
    flipped: bool = False  # top and bottom exchanged

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """By the frame's display matrix, rounded to quarter turns; as stored where it has none."""
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        # A stored pixel (x, y) is shown at (a x + c y, b x + d y), up to a shift.
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, mirrored=c < 0, flipped=b < 0)
        return cls(False, mirrored=a < 0, flipped=d < 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of what is shown from that of what is stored, and the other way round."""
        return (width, height) if self.transposed else (height, width)


class FrameConverter:
    """Frames as upright uint8 RGB (height, width, 3); frames of another size than the file's first are scaled to it.

    Colours go through FFmpeg's default conversion: the matrix and range the frame names, BT.601 limited where it names
    none. Non-square pixels are left as they are.

    Args:
        height, width: upright, in px.
    """

    def __init__(self, height: int, width: int, orientation: Orientation) -> None:
        self._height, self._width = orientation.size(height, width)
        self._orientation = orientation
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        image = self._reformatter.reformat(frame, self._width, self._height, "rgb24", threads=1).to_ndarray()
        transposed, mirrored, flipped = self._orientation
        if transposed:
            image = image.swapaxes(0, 1)
        return image[:: -1 if flipped else 1, :: -1 if mirrored else 1]
