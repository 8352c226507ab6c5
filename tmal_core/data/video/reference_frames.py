"""Which frames CLIP-FSAR looks at (its `datasets/base/base_dataset.py`, lines 505-528), to the frame.

Two rules, chosen there by the data set's sampling rate: `reference_segments` for HMDB51, UCF101 and both SSv2,
`reference_stride` for Kinetics-100. Both are kept with what nobody would ask for: the first never sees the last L mod T
frames, the second never the last 35, and below 40 frames it runs backwards.

Letters: L native frames of the video, T frames of the clip.
"""

from __future__ import annotations

import numpy as np
import torch

from tmal_core.errors import DataError

RATE, RATED_FPS = 35, 12
"""Kinetics-100's: frames are 35 apart in a video of 12 frames a second."""


def reference_segments(num_frames: int, clip_frames: int, generator: np.random.Generator) -> np.ndarray:
    """One random frame in each of T segments of floor(L / T) frames, in training and at test alike.

    Returns:
        (T,) int64 native positions, ascending.

    Raises:
        DataError: fewer than T frames.

    >>> reference_segments(60, 8, np.random.default_rng(0))
    array([ 5, 11, 17, 22, 30, 35, 42, 49])
    """
    size = num_frames // clip_frames
    if size == 0:
        remedy = "Set prepare.min_frames to as many, or sampling.scheme to segments."
        raise DataError(f"{clip_frames} frames for sampling.scheme reference_segments", str(num_frames), remedy)
    first = np.arange(clip_frames) * size
    return generator.integers(first, first + size)


def reference_stride(
    num_frames: int, clip_frames: int, fps: float, generator: np.random.Generator | None = None
) -> np.ndarray:
    """T frames at equal distances from a random start, or the middle one at test (no generator).

    Returns:
        (T,) int64 native positions in 0..L-1; ascending from 40 frames on (for T = 8).

    Raises:
        DataError: the video's frame rate is not known.

    >>> reference_stride(300, 8, fps=30.0)
    array([  2,  39,  77, 114, 151, 188, 226, 263])
    """
    if not fps > 0:
        remedy = "Leave the video out, or set sampling.scheme to segments."
        raise DataError("a frame rate over 0 for sampling.scheme reference_stride", f"{fps:g}", remedy)
    length = clip_frames * RATE * fps / RATED_FPS
    if length > num_frames:
        length = num_frames // clip_frames * clip_frames
    latest = max(num_frames - length + 1, 0)
    start = latest / 2 if generator is None else generator.uniform(0, latest)
    # In float32, as there: what is cut down to whole numbers depends on it.
    positions = torch.linspace(start, start + length - RATE, clip_frames)
    return positions.clamp(0, num_frames - 1).long().numpy()
