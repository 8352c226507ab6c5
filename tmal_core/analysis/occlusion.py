"""What each patch and each frame costs: the class's probability falls when it is covered.

Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2. It knows no
architecture, and is the yardstick.

Frames are covered with CLIP's mean colour, flow with rest; each apart, or both together.

Letters: T frames, C crop in pixels, R rows and K columns of patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from tmal_core.analysis.target import Target
from tmal_core.data.clips import Clip, stacked

What = Literal["frames", "flow", "both"]


def patch_cost(target: Target, clip: Clip, what: What = "both", size: int = 1) -> Tensor:
    """(T, R, K), what is lost of the probability, in -1..1, where a window around a patch is covered in one frame.

    Args:
        clip: of the query: (T, 3, C, C), and (T, 2, C, C) flow where it is read.
        size: side of the window in patches, odd.

    Raises:
        ValueError: flow is to be covered and there is none, or the window has no middle.
    """
    _require(clip, what, size)
    rows, columns = target.grid
    whole = target.probability(stacked([clip]))
    found = [target.probability(part) for part in _batches(_covered_patches(clip, what, size, (rows, columns)))]
    return (whole - torch.cat(found)).unflatten(0, (len(clip.frames), rows, columns))


def frame_cost(target: Target, clip: Clip, what: What = "both") -> Tensor:
    """(T,), what is lost of the probability where a whole frame is covered."""
    _require(clip, what, 1)
    whole = target.probability(stacked([clip]))
    variants = stacked([covered(clip, what, t) for t in range(len(clip.frames))])
    return whole - target.probability(variants)


def covered(clip: Clip, what: What, frame: int, rows: slice = slice(None), columns: slice = slice(None)) -> Clip:
    """The clip with a rectangle of pixels covered in one frame."""
    frames, flow_px = clip
    if what != "flow":
        frames = frames.clone()
        frames[frame, :, rows, columns] = 0
    if what != "frames" and flow_px is not None:
        flow_px = flow_px.clone()
        flow_px[frame, :, rows, columns] = 0
    return Clip(frames, flow_px)


def _covered_patches(clip: Clip, what: What, size: int, grid: tuple[int, int]) -> Iterator[Clip]:
    side, reach = clip.frames.shape[-1] // grid[1], size // 2
    for t in range(len(clip.frames)):
        for r in range(grid[0]):
            for k in range(grid[1]):
                window = (slice(max(0, x - reach) * side, (x + reach + 1) * side) for x in (r, k))
                yield covered(clip, what, t, *window)


def _batches(clips: Iterator[Clip], at_once: int = 64) -> Iterator[Clip]:
    """Some at a time: all variants of a clip of ViT-B/16 would take gigabytes."""
    part: list[Clip] = []
    for clip in clips:
        part.append(clip)
        if len(part) == at_once:
            yield stacked(part)
            part = []
    if part:
        yield stacked(part)


def _require(clip: Clip, what: What, size: int) -> None:
    if what == "flow" and clip.flow_px is None:
        raise ValueError("expected a clip with flow where flow is to be covered, got none")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"expected an odd window of patches, got {size}")
