"""Pictures of attention over the frames of a clip, and of the alignment of two clips.

Letters: T query frames, U support frames, H, W pixels, R, C rows and columns of patches, L blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from tmal_core.errors import DataError
from tmal_core.matching import best_path, cosine_distance, otam, otam_alignment
from tmal_core.viz.style import ACCENT, INK, SOFT, WARN, colour_bar, method_marks, picture_axes, styled, title_of

_CELL = 1.15  # inches of one frame of a strip
_STRIP = 0.16  # width of a film strip beside an alignment, as a share of the map
_QUERY, _SUPPORT = WARN, ACCENT
_LUMA = np.array([0.299, 0.587, 0.114])


@styled
def attention_strip(frames: np.ndarray, maps: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """A clip over time, and below it the same frames under each attention map.

    Attention is shown as a multiple of what a patch would get if all got the same; one colour scale for all rows.

    Args:
        frames: (T, H, W, 3) uint8, what the model read.
        maps: title of a row -> (T, R, C) shares of the patches, summing to one per frame.
        title: above everything.

    Raises:
        DataError: no maps, or one for another number of frames.
    """
    if not maps or any(len(picture) != len(frames) for picture in maps.values()):
        got = ", ".join(f"{len(picture)} of '{name}'" for name, picture in maps.items()) or "none"
        raise DataError(f"maps of {len(frames)} frames", got, "Pass one map per frame and row.")
    relative = {name: np.asarray(picture) * picture[0].size for name, picture in maps.items()}
    top = max(float(picture.max()) for picture in relative.values())
    size = (_CELL * len(frames) + 1.9, (_CELL + 0.06) * (1 + len(maps)) + 0.4)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.02, hspace=0.02))
    cells = figure.subplots(1 + len(maps), len(frames), squeeze=False)
    for t, frame in enumerate(frames):
        picture_axes(cells[0, t]).imshow(frame)
    height, width = frames.shape[1:3]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for row, picture in zip(cells[1:], relative.values(), strict=True):
        for t, cell in enumerate(row):
            grey = frames[t] @ _LUMA  # so that the map alone has colour
            picture_axes(cell).imshow(grey, cmap="gray", vmin=0, vmax=255)
            # Patches as they are, not smoothed: the map knows no more than one number per patch. What is not looked
            # at stays visible.
            alpha = 0.25 + 0.5 * np.clip(picture[t] / top, 0, 1)
            cell.imshow(picture[t], cmap="inferno", vmin=0, vmax=top, alpha=alpha, extent=extent)
    for cell, name in zip(cells[:, 0], ["frames", *relative], strict=True):
        cell.set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center", color=INK, fontsize=8.5)
    colours = ScalarMappable(Normalize(0, top), "inferno")
    colour_bar(figure, colours, "attention, × uniform", ax=cells[:, -1].tolist(), aspect=30, pad=0.03)
    title_of(figure, title, 10)
    return figure


@styled
def attention_shifts(shifts: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """How far attention moved, by block: a panel per model, a line per clip or family.

    Shifts are model -> name -> (L,) shares in 0..1, with the same names for every model.
    """
    if not shifts:
        raise DataError("at least one model", "none", "Pass a model and its shifts.")
    figure = Figure(figsize=(3.3 * len(shifts) + 1.5, 2.9), layout="constrained")
    panels = figure.subplots(1, len(shifts), sharey=True, squeeze=False)[0]
    for panel, (model, lines) in zip(panels, shifts.items(), strict=True):
        for (name, values), (colour, shape) in zip(lines.items(), method_marks(lines).values(), strict=True):
            blocks = np.arange(1, len(values) + 1)
            percent = 100 * np.asarray(values)
            panel.plot(blocks, percent, marker=shape, markersize=4.6, linewidth=1.6, color=colour, label=name)
        panel.set(xticks=blocks, xlabel="block", title=model)
        panel.grid(axis="y")
    panels[0].set(ylabel="attention that lies elsewhere, %", ylim=(0, None))  # of all panels, once all lines are there
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@dataclass(frozen=True)
class AlignedPair:
    """A query beside a support clip."""

    title: str  # above the panel
    query: np.ndarray  # (T, H, W, 3) uint8
    support: np.ndarray  # (U, H, W, 3) uint8
    distances: np.ndarray  # (T, U) between frames
    alignment: np.ndarray  # (T, U) of `otam_alignment`
    distance: float  # of the two clips

    @classmethod
    def of(
        cls,
        title: str,
        pictures: tuple[np.ndarray, np.ndarray],
        features: tuple[Tensor, Tensor],
        smoothing: float = 0.5,
    ) -> AlignedPair:
        """Align two clips by OTAM, in both directions: their pictures (T, H, W, 3), their frames' features (T, d)."""
        query, support = (part[None].detach().cpu() for part in features)
        distances = cosine_distance(query, support)
        alignment = otam_alignment(distances, smoothing)[0, 0].numpy()
        return cls(title, *pictures, distances[0, 0].numpy(), alignment, otam(distances, smoothing).item())


@styled
def alignments(pairs: Sequence[Sequence[AlignedPair]], row_titles: Sequence[str] = ()) -> Figure:
    """Alignments as heat maps with the two film strips at their axes: rows of panels, one colour scale.

    Colour is the soft alignment; the solid line is the best path that takes every support frame, the dashed one the
    best path that takes every query frame (the two directions of the distance).
    """
    if not pairs or not pairs[0]:
        raise DataError("at least one pair of clips", "none", "Pass rows of aligned pairs.")
    rows, columns = len(pairs), len(pairs[0])
    top = max(float(pair.alignment.max()) for row in pairs for pair in row)
    width, height = 4.1 * columns + 0.9, 4.45 * rows + 0.2
    figure = Figure(figsize=(width, height))
    # Margins in inches: row titles, the colour bar, panel titles of two lines, the support's label.
    edges = {"left": 0.7 / width, "right": 1 - 0.95 / width, "top": 1 - 0.8 / height, "bottom": 0.45 / height}
    grid = figure.add_gridspec(rows, columns, hspace=0.36, wspace=0.22, **edges)
    for i, row in enumerate(pairs):
        panels = [_alignment_panel(figure, grid[i, j], pair, top) for j, pair in enumerate(row)]
        if i < len(row_titles):
            place: dict[str, Any] = {"transform": panels[0].transAxes, "rotation": 90, "ha": "right", "va": "center"}
            panels[0].text(-0.36, 0.5, row_titles[i], fontsize=10, fontweight="bold", **place)
    colours = figure.add_axes((1 - 0.65 / width, 0.35, 0.13 / width, 0.3))
    colour_bar(figure, panels[0].images[0], "expected matches", cax=colours)
    return figure


def _alignment_panel(figure: Figure, place: SubplotSpec, pair: AlignedPair, top: float) -> Axes:
    """The map with the query's frames down its left side and the support's along its bottom."""
    num_query, num_support = pair.alignment.shape
    inner = place.subgridspec(2, 2, width_ratios=(_STRIP, 1), height_ratios=(1, _STRIP), wspace=0.02, hspace=0.02)
    heat = figure.add_subplot(inner[0, 1])
    heat.imshow(pair.alignment, cmap="BuPu", vmin=0, vmax=top, aspect="auto")
    for path, style in ((best_path(pair.distances), "-"), (best_path(pair.distances.T)[:, ::-1], (0, (2, 2)))):
        heat.plot(path[:, 1], path[:, 0], color="white", linewidth=3.2, alpha=0.8, solid_capstyle="round")
        heat.plot(path[:, 1], path[:, 0], color=INK, linewidth=1.3, linestyle=style, marker="o", markersize=2.6)
    heat.set(xticks=[], yticks=[], xlim=(-0.5, num_support - 0.5), ylim=(num_query - 0.5, -0.5))
    heat.set_title(fill(pair.title, 38) + "\n", fontsize=9)
    heat.text(0, 1.025, f"distance {pair.distance:.3f}", transform=heat.transAxes, fontsize=8.5, color=SOFT)
    left = picture_axes(figure.add_subplot(inner[0, 0]), _QUERY)
    left.imshow(np.concatenate(list(pair.query), axis=0), aspect="auto")
    left.set_ylabel("query, first frame on top", color=_QUERY, fontsize=8)
    below = picture_axes(figure.add_subplot(inner[1, 1]), _SUPPORT)
    below.imshow(np.concatenate(list(pair.support), axis=1), aspect="auto")
    below.set_xlabel("support, first frame at the left", color=_SUPPORT, fontsize=8)
    return heat
