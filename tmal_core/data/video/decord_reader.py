"""Frames with decord, for those who ask for it; what it says is checked against the exact survey.

decord (0.6, the last release, 2021) counts right and still gives wrong frames where key frames are not closed (MPEG-4
with B-frames in AVI or mp4, open GOPs, gradual refresh), gives duplicates for a cut mp4, leaks memory and hangs when an
open reader meets a fork. So it is used only for mp4, webm and mkv files of which every frame decodes, whose key frames
are closed and whose number of frames it gets right; a reader lives for one call, with one thread, in a process that may
go down (`decord_process`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tmal_core.data.video import pyav_reader
from tmal_core.data.video.decord_process import Failed, read_batch
from tmal_core.data.video.survey import Survey
from tmal_core.errors import DataError

_ALIKE = 8.0  # grey levels, mean over a frame: two ways to turn the same colours into RGB


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
    try:
        images = read_batch(path, list(positions), info.num_frames)
    except Failed as error:
        raise _refusal(path, re.sub(r"^decord: \[[\d:]+\] \S+: ", "decord: ", str(error))) from None
    size = (info.height, info.width, 3)
    if any(image.shape != size for image in images):
        raise _refusal(path, f"decord gives {images[0].shape}, the file has {size}")
    for position, image in pyav_reader.read_positions(path, survey, positions[:1]).items():
        if np.abs(images[0].astype(int) - image).mean() > _ALIKE:  # mirrored, from another stream, grey
            raise _refusal(path, f"decord gives another picture at position {position}")
    return dict(zip(positions, images, strict=True))


def _refusal(path: Path, reason: str) -> DataError:
    return DataError("a file that decord reads exactly", f"{path} ({reason})", "Use decoder 'auto' or 'pyav' for it.")
