"""Pictures of clips: film strips, the temporal grid, hidden motion, episodes, flow.

All functions take arrays as the readers give them and return a matplotlib Figure; nothing is saved or shown here.

Letters: T frames, H, W pixels of a frame, h, w samples of a flow field, N way, K shot, Q queries per class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD
from tmal_core.errors import DataError
from tmal_core.viz.flow_colours import color_wheel, flow_to_rgb
from tmal_core.viz.style import ACCENT, INK, LINE, SOFT, picture_axes, styled

_CELL = 1.15  # inches of one frame of a strip


def as_pictures(frames: Tensor) -> np.ndarray:
    """Normalised frames (..., 3, H, W), as models read them, back to (..., H, W, 3) uint8."""
    frames = frames.detach().cpu().movedim(-3, -1).numpy()
    return np.clip(np.rint((frames * CLIP_STD + CLIP_MEAN) * 255), 0, 255).astype(np.uint8)


@styled
def film_strips(clips: Mapping[str, np.ndarray], positions: Mapping[str, Sequence[int]] | None = None) -> Figure:
    """One row of frames per clip, its title above.

    Args:
        clips: title -> (T, H, W, 3) uint8; clips may differ in T.
        positions: title -> (T,) native frame numbers, written below the frames.

    Raises:
        DataError: no clips.
    """
    if not clips:
        raise DataError("at least one clip to show", "none", "Pass a title and its frames.")
    columns = max(len(frames) for frames in clips.values())
    figure = Figure(figsize=(_CELL * columns, (_CELL + 0.45) * len(clips)), layout="constrained")
    rows = np.atleast_1d(figure.subfigures(len(clips), 1))
    for row, (title, frames) in zip(rows, clips.items(), strict=True):
        cells = row.subplots(1, columns, squeeze=False)[0]
        row.suptitle(title, x=0.005, ha="left", fontsize=9.5, fontweight="bold", color=INK)
        for t, cell in enumerate(cells):
            if t >= len(frames):
                cell.set_axis_off()
                continue
            picture_axes(cell).imshow(frames[t])
            if positions is not None:
                cell.set_xlabel(f"frame {int(positions[title][t])}", fontsize=7.5, labelpad=2)
    return figure


@styled
def temporal_grid(num_frames: int, grid: np.ndarray, test: np.ndarray, train: Sequence[np.ndarray]) -> Figure:
    """Which native frames are looked at: all, the grid's, those of a test, those of some training draws.

    Args:
        num_frames: F of the video.
        grid: (G,) grid positions.
        test: (T,) positions at test.
        train: draws of (T,) positions each.
    """
    lines = [
        ("native frames", np.arange(num_frames), "#b8c0c9", 14),
        ("grid", np.unique(grid), SOFT, 14),
        ("test", test, ACCENT, 42),
        *((f"training, draw {i + 1}", draw, "#c8553d", 26) for i, draw in enumerate(train)),
    ]
    figure = Figure(figsize=(9.2, 0.36 * len(lines) + 0.75), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, num_frames - 1, len(test) + 1) - 0.5
    axes.vlines(edges, -0.6, len(lines) - 0.4, color=LINE, linewidth=1)
    for height, (_, places, colour, size) in enumerate(lines):
        axes.scatter(places, np.full(len(places), height), s=size, color=colour, linewidths=0, zorder=3)
    axes.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axes.set(ylim=(len(lines) - 0.4, -0.6), xlim=(-1.5, num_frames + 0.5), xlabel="native frame")
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


@styled
def hidden_motion(frames: np.ndarray, sampled: np.ndarray) -> Figure:
    """What single frames, sampled frames and neighbouring frames show of a clip.

    Args:
        frames: (F, H, W, 3) uint8, every native frame.
        sampled: (T,) positions that a model samples. Only these go into the middle panel: an average over all frames
            that far apart would follow the dots through the frames between, and show the disc after all.
    """
    panels = [
        (f"frame {sampled[len(sampled) // 2]}", frames[sampled[len(sampled) // 2]]),
        ("change between sampled frames", mean_change(frames[sampled])),
        ("change between neighbouring frames", mean_change(frames)),
    ]
    top = max(np.percentile(panel, 99.5) for _, panel in panels[1:])
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    cells = figure.subplots(1, 3)
    for cell, (title, panel) in zip(cells, panels, strict=True):
        image = picture_axes(cell).imshow(panel, cmap="magma", vmin=0, vmax=top)
        cell.set_title(title, fontsize=9)
    bar = figure.colorbar(image, ax=cells[1:], shrink=0.85, pad=0.02)
    bar.set_label("mean, grey levels")
    bar.outline.set_visible(False)
    return figure


def mean_change(frames: np.ndarray) -> np.ndarray:
    """(H, W) mean absolute difference of consecutive frames (T, H, W, 3) uint8, in grey levels."""
    return np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((0, 3))


@styled
def episode(support: np.ndarray, query: np.ndarray, classes: Sequence[str]) -> Figure:
    """The clips of one episode: a row per class, its support clips at the left, its queries at the right.

    Args:
        support: (N, K, T, H, W, 3) uint8.
        query: (N, Q, T, H, W, 3) uint8.
        classes: N names.
    """
    way, num_frames = len(classes), support.shape[2]
    kinds = [("support", support[:, k], ACCENT) for k in range(support.shape[1])]
    kinds += [("query", query[:, q], "#c8553d") for q in range(query.shape[1])]
    side = 10.4 / len(kinds)
    figure = Figure(figsize=(10.4, way * (side / num_frames * 1.15 + 0.3) + 0.35), layout="constrained")
    cells = figure.subplots(way, len(kinds), squeeze=False)
    for row, name in enumerate(classes):
        for column, (kind, clips, colour) in enumerate(kinds):
            cell = picture_axes(cells[row, column], colour)
            cell.imshow(np.concatenate(list(clips[row]), axis=1))  # the frames side by side
            if row == way - 1:
                cell.set_xlabel(kind, color=colour, fontweight="bold")
        cells[row, 0].set_title(name, fontsize=9)
    return figure


@styled
def flow_strips(clips: Mapping[str, tuple[np.ndarray, np.ndarray]], max_px: float | None = None) -> Figure:
    """Frames with their flow below, in Middlebury colours, and the colour wheel.

    Args:
        clips: title -> (frames (T, H, W, 3) uint8, flow (T, 2, h, w) in pixels).
        max_px: speed of full colour; the 99th percentile of all flow shown by default.

    Raises:
        DataError: no clips.
    """
    if not clips:
        raise DataError("at least one clip to show", "none", "Pass a title, its frames and its flow.")
    if max_px is None:
        speeds = np.concatenate([np.hypot(flow[:, 0], flow[:, 1]).ravel() for _, flow in clips.values()])
        max_px = max(float(np.percentile(speeds, 99)), 0.1)
    columns = max(len(frames) for frames, _ in clips.values())
    figure = Figure(figsize=(_CELL * (columns + 1), (2 * _CELL + 0.4) * len(clips)), layout="constrained")
    strips, key = figure.subfigures(1, 2, width_ratios=(columns, 1.2))
    for row, (title, (frames, flow)) in zip(
        np.atleast_1d(strips.subfigures(len(clips), 1)), clips.items(), strict=True
    ):
        row.suptitle(title, x=0.005, ha="left", fontsize=9.5, fontweight="bold", color=INK)
        cells = row.subplots(2, columns, squeeze=False)
        for pictures, line in zip((frames, flow_to_rgb(flow, max_px)), cells, strict=True):
            for t, cell in enumerate(line):
                if t < len(pictures):
                    picture_axes(cell).imshow(pictures[t])
                else:
                    cell.set_axis_off()
    wheel = key.subplots()
    wheel.imshow(color_wheel(160))
    wheel.set_axis_off()
    wheel.set_title(f"rim: {max_px:.1f} px per frame", fontsize=7.5, fontweight="normal", color=SOFT, loc="center")
    return figure


@styled
def direction_cloud(wanted: np.ndarray, measured_px: np.ndarray) -> Figure:
    """Measured motion of many clips as points, coloured by the direction that their class names.

    Args:
        wanted: (n, 2) unit vectors of the true direction, y down.
        measured_px: (n, 2) measured motion in pixels per frame, y down.
    """
    reach = 1.15 * max(float(np.hypot(*measured_px.T).max(initial=0.0)), 0.1)
    colours = flow_to_rgb(wanted.T[:, :, None], max_px=1.0)[:, 0] / 255
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    for dx, dy in np.unique(np.round(wanted, 4), axis=0):
        axes.plot([0, dx * reach], [0, dy * reach], color=LINE, linewidth=1, zorder=1)
    axes.scatter(*measured_px.T, s=34, c=colours, edgecolors=INK, linewidths=0.4, zorder=3)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="dx, px per frame", ylabel="dy, px per frame (down)")
    axes.set_aspect("equal")
    return figure
