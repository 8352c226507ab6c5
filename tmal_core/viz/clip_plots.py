"""Pictures of clips, as the readers give them: film strips, the temporal grid, hidden motion, episodes, flow.

Letters: T frames, H, W pixels of a frame, h, w samples of a flow field, N way, K shot, Q queries per class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from tmal_core.data.video.transforms import ClipTransform
from tmal_core.errors import DataError
from tmal_core.viz.flow_colours import color_wheel, flow_to_rgb
from tmal_core.viz.style import ACCENT, FAINT, INK, LINE, SOFT, WARN, colour_bar, picture_axes, styled, title_of

_CELL = 1.15  # inches of one frame of a strip


def as_pictures(frames: Tensor, transform: ClipTransform = ClipTransform()) -> np.ndarray:
    """Frames (..., 3, H, W), as `transform` normalised them for a model, back to (..., H, W, 3) uint8."""
    normalised = frames.detach().cpu().movedim(-3, -1).numpy()
    return np.clip(np.rint((normalised * transform.std + transform.mean) * 255), 0, 255).astype(np.uint8)


@styled
def film_strips(clips: Mapping[str, np.ndarray], positions: Mapping[str, Sequence[int]] | None = None) -> Figure:
    """One row of frames per clip, its title above.

    Args:
        clips: title -> (T, H, W, 3) uint8; clips may differ in T.
        positions: title -> (T,) native frame numbers, written below the frames.
    """
    if not clips:
        raise DataError("at least one clip to show", "none", "Pass a title and its frames.")
    columns = max(len(frames) for frames in clips.values())
    figure = Figure(figsize=(_CELL * columns, (_CELL + 0.45) * len(clips)), layout="constrained")
    rows = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for row, (title, frames) in zip(rows, clips.items(), strict=True):
        cells = _strips(row, title, [frames], columns)[0]
        for cell, position in zip(cells, positions[title] if positions is not None else (), strict=False):
            cell.set_xlabel(f"frame {int(position)}", fontsize=7.5, labelpad=2)
    return figure


def _strips(row: SubFigure, title: str, lines: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """A title, and below it lines of pictures; their axes (lines, columns)."""
    title_of(row, title)
    cells = row.subplots(len(lines), columns, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for pictures, line in zip(lines, cells, strict=True):
        for picture, axes in zip(pictures, line, strict=False):
            axes.set_axis_on()
            picture_axes(axes).imshow(picture)
    return cells


@styled
def temporal_grid(num_frames: int, grid: np.ndarray, test: np.ndarray, train: Sequence[np.ndarray]) -> Figure:
    """Which native frames are looked at: all, the grid's (G,), a test's (T,), those of training draws (T,) each."""
    lines = [
        ("native frames", np.arange(num_frames), FAINT, 14),
        ("grid", np.unique(grid), SOFT, 14),
        ("test", test, ACCENT, 42),
        *((f"training, draw {i + 1}", draw, WARN, 26) for i, draw in enumerate(train)),
    ]
    figure = Figure(figsize=(9.2, 0.36 * len(lines) + 0.75), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, num_frames - 1, len(test) + 1) - 0.5
    axes.vlines(edges, -0.6, len(lines) - 0.4, color=LINE, linewidth=1)
    for height, (_, places, colour, size) in enumerate(lines):
        axes.scatter(places, np.full(len(places), height), s=size, color=colour, linewidths=0, zorder=3)
    axes.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axes.set(ylim=(len(lines) - 0.4, -0.6), xlim=(-1.5, num_frames + 0.5), xlabel="native frame")
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
    middle, changes = sampled[len(sampled) // 2], (mean_change(frames[sampled]), mean_change(frames))
    top = max(np.percentile(change, 99.5) for change in changes)
    titles = (f"frame {middle}", "change between sampled frames", "change between neighbouring frames")
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    cells = figure.subplots(1, 3)
    for cell, title, panel in zip(cells, titles, (frames[middle], *changes), strict=True):
        image = picture_axes(cell).imshow(panel, cmap="magma", vmin=0, vmax=top)
        cell.set_title(title, fontsize=9)
    colour_bar(figure, image, "mean, grey levels", ax=cells[1:], shrink=0.85, pad=0.02)
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
    kinds += [("query", query[:, q], WARN) for q in range(query.shape[1])]
    side = 10.4 / len(kinds)
    figure = Figure(figsize=(10.4, way * (side / num_frames * 1.15 + 0.3) + 0.35), layout="constrained")
    cells = figure.subplots(way, len(kinds), squeeze=False)
    for column, (kind, clips, colour) in zip(cells.T, kinds, strict=True):
        for cell, clip in zip(column, clips, strict=True):
            picture_axes(cell, colour).imshow(np.concatenate(list(clip), axis=1))  # the frames side by side
        column[-1].set_xlabel(kind, color=colour, fontweight="bold")
    for cell, name in zip(cells[:, 0], classes, strict=True):
        cell.set_title(name, fontsize=9)
    return figure


@styled
def flow_strips(clips: Mapping[str, tuple[np.ndarray, np.ndarray]], max_px: float | None = None) -> Figure:
    """Frames with their flow below, in Middlebury colours, and the colour wheel.

    Args:
        clips: title -> (frames (T, H, W, 3) uint8, flow (T, 2, h, w) in pixels).
        max_px: speed of full colour; the 99th percentile of all flow shown by default.
    """
    if not clips:
        raise DataError("at least one clip to show", "none", "Pass a title, its frames and its flow.")
    if max_px is None:
        speeds = np.concatenate([np.hypot(flow[:, 0], flow[:, 1]).ravel() for _, flow in clips.values()])
        max_px = max(float(np.percentile(speeds, 99)), 0.1)
    columns = max(len(frames) for frames, _ in clips.values())
    figure = Figure(figsize=(_CELL * (columns + 1), (2 * _CELL + 0.4) * len(clips)), layout="constrained")
    strips, key = figure.subfigures(1, 2, squeeze=False, width_ratios=(columns, 1.2))[0]
    rows = strips.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for row, (title, (frames, flow)) in zip(rows, clips.items(), strict=True):
        _strips(row, title, (frames, flow_to_rgb(flow, max_px)), columns)
    show_wheel(key.subplots(), 160, f"rim: {max_px:.1f} px per frame", 7.5)
    return figure


def show_wheel(axes: Axes, size: int, title: str, fontsize: float) -> None:
    """The key to the colours of flow; the title says how fast its rim is."""
    axes.imshow(color_wheel(size))
    axes.set_axis_off()
    axes.set_title(title, fontsize=fontsize, fontweight="normal", color=SOFT, loc="center", pad=2)


@styled
def direction_cloud(wanted: np.ndarray, measured_px: np.ndarray) -> Figure:
    """Measured motion (n, 2) of clips as points, in pixels per frame, coloured by their class's direction (n, 2)."""
    reach = 1.15 * max(float(np.hypot(*measured_px.T).max(initial=0.0)), 0.1)
    colours = flow_to_rgb(wanted.T[:, :, None], max_px=1.0)[:, 0] / 255
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    for dx, dy in np.unique(np.round(wanted, 4), axis=0):
        axes.plot([0, dx * reach], [0, dy * reach], color=LINE, linewidth=1, zorder=1)
    dx, dy = measured_px.T
    axes.scatter(dx, dy, s=34, c=colours, edgecolors=INK, linewidths=0.4, zorder=3)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="dx, px per frame", ylabel="dy, px per frame (down)")
    axes.set_aspect("equal")
    return figure
