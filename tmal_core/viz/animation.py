"""Clips as small moving pictures that any browser plays: animated WebP, made in memory from decoded frames.

Not the video files themselves: browsers do not play AVI or MPEG-4 part 2, and real files are far larger than a thumb.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from tmal_core.errors import DataError


def animated_webp(frames: np.ndarray, fps: float, max_side: int = 160) -> bytes:
    """An endlessly repeating picture of the frames.

    Args:
        frames: (T, H, W, 3) uint8.
        fps: frames per second, above 0.
        max_side: longer side in pixels at most; smaller frames keep their size.

    Raises:
        DataError: no frames, another shape or type, or fps that is not positive.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise DataError("uint8 frames (T, H, W, 3), T >= 1", f"{frames.dtype} {frames.shape}", "Pass decoded frames.")
    if not fps > 0:
        raise DataError("fps above 0", str(fps), "Correct the catalogue, or name a speed.")
    shrink = min(1.0, max_side / max(frames.shape[1:3]))
    size = tuple(max(1, round(side * shrink)) for side in (frames.shape[2], frames.shape[1]))
    images = [Image.fromarray(frame) for frame in frames]
    if shrink < 1:
        images = [image.resize(size, Image.Resampling.BOX) for image in images]
    file = io.BytesIO()
    options = {"duration": max(1, round(1000 / fps)), "loop": 0, "quality": 80, "method": 0}
    images[0].save(file, "WEBP", save_all=True, append_images=images[1:], **options)
    return file.getvalue()


def data_uri(picture: bytes) -> str:
    """A WebP picture as the address of an <img>.

    >>> data_uri(b"RIFF")
    'data:image/webp;base64,UklGRg=='
    """
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
