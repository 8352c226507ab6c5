"""Closed paths and how they are walked along: what `order`, `speed` and `camera` are made of.

A clip of these families ends where it began, and its law read backwards is that of the other class of its pair. So no
first and last frame and no set of frames tells the two classes apart; where a clip begins is drawn anew for each,
evenly over its path, so no single frame does either. Before frame `REST` and behind its mirror nothing moves: these
are the first and the last frame that evaluation samples. Letter: F frames.
"""

from __future__ import annotations

import numpy as np

REST = 2
_JUMP = 3  # frames between two stays
_SHORTEST = (3, 6, 6, 3)  # frames of a stay; one of 8, the widest gap between two samples, would never be missed
_FAST_SHARE = 0.8  # of the way, in half of the time


def one_turn(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """(F,) from 0 to 3 by way of 1 and 2: four stays of random length, jumps between them."""
    spare = num_frames - 3 * _JUMP - sum(_SHORTEST)
    longer = np.diff([0, *np.sort(rng.integers(0, spare + 1, 3)), spare])
    ends = np.cumsum(np.array(_SHORTEST) + longer + _JUMP)
    known = np.stack([ends[:3] - _JUMP - 1, ends[:3]], 1).ravel()  # last frame of a stay, first one of the next
    return np.interp(np.arange(num_frames), known, [0, 1, 1, 2, 2, 3])


def rhythm(rng: np.random.Generator, num_frames: int, num_parts: int) -> np.ndarray:
    """(F,) from 0 to 1 in 2 or 4 parts of about the same length, fast and slow by turns."""
    first, last = REST, num_frames - 1 - REST
    inner = np.linspace(first, last, num_parts + 1)[1:-1] + rng.uniform(-1.5, 1.5, num_parts - 1)
    ways = np.tile([_FAST_SHARE, 1 - _FAST_SHARE], num_parts // 2) * 2 / num_parts
    return np.interp(np.arange(num_frames), [first, *inner, last], np.cumsum([0, *ways]))


def two_rounds(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """(F,) from 0 to 2, past 1 near the middle."""
    first, last = REST, num_frames - 1 - REST
    return np.interp(np.arange(num_frames), [first, (first + last) / 2 + rng.uniform(-1.5, 1.5), last], [0, 1, 2])


def along(corners: np.ndarray, progress: np.ndarray) -> np.ndarray:
    """Points (F, n) of a polygon with corners (k, n) at progress (F,) in corners, modulo k."""
    closed = np.concatenate([corners, corners[:1]])
    at = progress % len(corners)
    return np.stack([np.interp(at, np.arange(len(closed)), axis) for axis in closed.T], 1)


def along_by_length(corners: np.ndarray, progress: np.ndarray) -> np.ndarray:
    """As `along`, at progress (F,) in rounds of constant speed."""
    lengths = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    passed = np.cumsum([0, *lengths]) / lengths.sum()
    return along(corners, np.interp(progress % 1, passed, np.arange(len(passed))))
