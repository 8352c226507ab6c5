"""Frames with decord, for those who ask for it; what it says is checked against the exact survey.

decord (0.6, the last release, 2021) counts right and still gives wrong frames where key frames are not closed (MPEG-4
with B-frames in AVI or mp4, open GOPs, gradual refresh), gives duplicates for a cut mp4, leaks memory and hangs when an
open reader meets a fork. So it is used only for mp4, webm and mkv files of which every frame decodes, whose key frames
are closed and whose number of frames it gets right; a reader lives for one call, with one thread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import decord
import numpy as np

from tmal_core.data.video_survey import Survey
from tmal_core.errors import DataError

decord.logging.set_level(decord.logging.QUIET)


def read_positions(path: Path, survey: Survey, positions: Sequence[int]) -> dict[int, np.ndarray]:
    """Images (H, W, 3) uint8 RGB by position.

    Args:
        positions: sorted, each once, all below `survey.info.num_frames`.

    Raises:
        DataError: decord does not read this file, or not as many frames of the size that really decode.
    """
    info = survey.info
    if info.lost_frames:
        raise _refusal(path, f"{info.lost_frames} of its frames are lost")
    if not survey.ticks.size:
        raise _refusal(path, "decord is trusted with whole mp4, webm and mkv files only")
    if not survey.closed:
        raise _refusal(path, "decord gives wrong frames where key frames are not closed")
    reader = None
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        num_frames = len(reader)
        if num_frames != info.num_frames:
            raise _refusal(path, f"decord counts {num_frames} frames, {info.num_frames} decode")
        images = reader.get_batch(list(positions)).asnumpy() if positions else []
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        first_line = (str(error).strip() or "failed").splitlines()[0]
        raise _refusal(path, "decord: " + re.sub(r"^\[[\d:]+\] \S+: ", "", first_line)) from None
    finally:
        del reader
    size = (info.height, info.width, 3)
    if any(image.shape != size for image in images):
        raise _refusal(path, f"decord gives {images[0].shape}, the file has {size}")
    return dict(zip(positions, images, strict=True))


def _refusal(path: Path, reason: str) -> DataError:
    return DataError("a file that decord reads exactly", f"{path} ({reason})", "Use decoder 'auto' or 'pyav' for it.")
