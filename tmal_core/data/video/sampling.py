"""Which native frames of a video are looked at: the temporal grid and the draws of episodes from it.

A video of F frames has F - 1 motions, motion p being the one from frame p to frame p + 1. The grid chooses G of
them once and for all (flow is computed and stored there only); training and test choose T of the G, one in each of T
equal segments. RGB is read at the same positions, so frames and flow always speak of the same instant.

Mirror symmetry. Played backwards, motion p is motion F - 2 - p, so positions are kept symmetric about (F - 2) / 2: the
set chosen at test in a video and in its reversal is the same set of motions. Exact symmetry needs an even number of
positions: with an odd number the middle one falls between two motions whenever F is odd, and the earlier is taken.

Letters: F native frames, G grid positions, T segments (sampled frames).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tmal_core.errors import SettingsError

Grid = int | Literal["all"]


def grid_positions(num_frames: int, grid: Grid) -> np.ndarray:
    """Positions at which flow is computed, ascending; a short video repeats some.

    Position i of G is `round((i + 0.5) * (F - 1) / G - 0.5)`; an exact half goes towards the middle of the video, which
    keeps `p[i] + p[G - 1 - i] == F - 2` for every F >= 2 and even G.

    Args:
        num_frames: native frames of the video, at least 1.
        grid: number of positions, or "all" for every motion (F - 1 positions; one in a one-frame video).

    Returns:
        (G,) int64 in 0..F-2; zeros for a one-frame video, which has no motion.

    >>> grid_positions(48, 8)
    array([ 2,  8, 14, 20, 26, 32, 38, 44])
    >>> grid_positions(5, "all")
    array([0, 1, 2, 3])
    """
    if num_frames < 1:
        raise SettingsError("num_frames of at least 1", str(num_frames), "Leave videos without frames out of the list.")
    if grid != "all" and (isinstance(grid, bool) or not isinstance(grid, int | np.integer) or grid < 1):
        raise SettingsError('a grid of at least 1 position, or "all"', repr(grid), "Change sampling.grid.")
    if num_frames == 1:
        return np.zeros(1 if grid == "all" else grid, dtype=np.int64)
    size = num_frames - 1 if grid == "all" else int(grid)
    return _cell_centres(size, num_frames - 1, half="later")


def test_positions(num_frames: int, num_segments: int, grid: Grid) -> np.ndarray:
    """The middle grid position of each segment; the same every time.

    Of two middles the earlier is taken in the first half of the video and the later in the second, so the choice is
    mirror-symmetric for an even number of segments.

    Returns:
        (T,) int64 native positions, ascending.

    >>> test_positions(48, 4, grid=8)
    array([ 2, 14, 32, 44])
    """
    positions = grid_positions(num_frames, grid)
    _check_segments(num_segments, grid)
    return positions[_cell_centres(num_segments, len(positions), half="earlier")]


def train_positions(
    num_frames: int, num_segments: int, grid: Grid, generator: np.random.Generator, min_gap: int = 0
) -> np.ndarray:
    """One random grid position in each segment, uniform among the draws that keep a distance.

    The admissible draws are counted from the last segment backwards, then one is drawn from the first segment forwards
    in proportion to the counts: exactly uniform, without rejection. A video too short to keep `min_gap` keeps the
    largest distance that it allows instead (down to 0, where positions may repeat).

    Args:
        min_gap: smallest distance of neighbouring samples, in native frames.

    Returns:
        (T,) int64 native positions, ascending.

    >>> train_positions(48, 4, 8, np.random.default_rng(0))
    array([ 8, 14, 26, 38])
    """
    if min_gap < 0:
        raise SettingsError("sampling.min_gap of at least 0", str(min_gap), "Change sampling.min_gap.")
    positions = grid_positions(num_frames, grid)
    _check_segments(num_segments, grid)
    segments = _segments(positions, num_segments)
    for gap in range(min_gap, -1, -1):
        completions = _count_completions(segments, gap)
        if completions[0].any():
            return _draw(segments, completions, gap, generator)
    raise AssertionError("positions ascend, so a distance of 0 is always kept")


def _cell_centres(num_cells: int, length: int, half: Literal["earlier", "later"]) -> np.ndarray:
    """Index nearest to the centre of each of `num_cells` equal cells of 0..length-1, mirror-symmetric.

    In whole numbers: the centre of cell i is ((2 i + 1) length - num_cells) / (2 num_cells). `half` says where an
    exact half goes in the first half of the cells; the second half mirrors the first.
    """
    first = np.arange((num_cells + 1) // 2, dtype=np.int64)
    numerator, step = (2 * first + 1) * length - num_cells, 2 * num_cells
    nearest = (numerator + num_cells) // step if half == "later" else -((num_cells - numerator) // step)
    if num_cells % 2 and length % 2 == 0:
        nearest[-1] = length // 2 - 1  # between two: the earlier
    return np.concatenate([nearest, length - 1 - nearest[: num_cells // 2][::-1]])


def _segments(positions: np.ndarray, num_segments: int) -> list[np.ndarray]:
    """The grid positions of each segment; where the grid has fewer than one a segment, the nearest one."""
    size = len(positions)
    centres = _cell_centres(num_segments, size, half="earlier")
    # Bound j is the nearest whole number to j * size / T, mirrored like the centres are.
    first = (2 * np.arange(num_segments // 2 + 1) * size + num_segments) // (2 * num_segments)
    bounds = np.concatenate([first, size - first[: (num_segments + 1) // 2][::-1]])
    return [
        positions[start:stop] if stop > start else positions[centre : centre + 1]
        for start, stop, centre in zip(bounds[:-1], bounds[1:], centres, strict=True)
    ]


def _count_completions(segments: list[np.ndarray], gap: int) -> list[np.ndarray]:
    """Per segment and position, in how many ways the later segments can be drawn (relative: only ratios matter)."""
    completions = [np.ones(len(segments[-1]))]
    for here, after in zip(segments[-2::-1], segments[:0:-1], strict=True):
        counts = (after[None, :] - here[:, None] >= gap) @ completions[0]
        completions.insert(0, counts / max(counts.max(), 1.0))
    return completions


def _draw(
    segments: list[np.ndarray], completions: list[np.ndarray], gap: int, generator: np.random.Generator
) -> np.ndarray:
    drawn = np.empty(len(segments), dtype=np.int64)
    uniform = generator.random(len(segments))
    for j, (positions, counts) in enumerate(zip(segments, completions, strict=True)):
        weights = counts if j == 0 else counts * (positions - drawn[j - 1] >= gap)
        cumulative = np.cumsum(weights)
        drawn[j] = positions[np.searchsorted(cumulative, uniform[j] * cumulative[-1], side="right")]
    return drawn


def _check_segments(num_segments: int, grid: Grid) -> None:
    if num_segments < 1:
        raise SettingsError("at least 1 frame per clip", str(num_segments), "Change sampling.num_frames.")
    if grid != "all" and grid % num_segments:
        remedy = f'Set sampling.grid to a multiple of sampling.num_frames ({num_segments}) or to "all".'
        raise SettingsError(f"a grid that {num_segments} frames divide evenly", f"grid {grid}", remedy)
