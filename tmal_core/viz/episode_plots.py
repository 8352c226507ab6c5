"""One episode as a figure: the clips, every distance between them, and what a method predicts.

Letters: N way, K shot, Q queries per class, T frames, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_uppercase
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tmal_core.analysis.inspection import EpisodeResult
from tmal_core.data.clips import ClipReader
from tmal_core.errors import DataError
from tmal_core.viz.clip_plots import as_pictures
from tmal_core.viz.style import ACCENT, INK, RIGHT, SOFT, WARN, picture_axes, styled, title_of

_FRAME = 0.5  # inches


def model_pictures(reader: ClipReader, rows: Iterable[int]) -> np.ndarray:
    """What models read of the clips in the given rows: (n, T, C, C, 3) uint8, cropped as in evaluation."""
    return np.stack([as_pictures(reader.evaluate(int(row)).frames, reader.transform) for row in rows])


@styled
def episode_result(result: EpisodeResult, support: np.ndarray, query: np.ndarray, title: str = "") -> Figure:
    """Support clips as columns, queries as rows, their distances where they cross, predictions at the right.

    Time runs downwards in support clips and to the right in queries. Colour is scaled within each row, since the
    nearest class of its row is predicted for a query.

    Args:
        result: of `evaluate_episode`.
        support, query: (N * K, T, H, W, 3) and (N * Q, T, H, W, 3) uint8, in the order of the labels.
        title: above everything.

    Raises:
        DataError: other numbers of clips than the result has.
    """
    num_query, num_support = result.distances.shape
    if (len(query), len(support)) != (num_query, num_support):
        got = f"{len(query)} and {len(support)}"
        raise DataError(f"{num_query} query and {num_support} support clips", got, "Pass the episode's own clips.")
    num_frames, shot = query.shape[1], result.question.support.shape[1]
    letters = [letter(i) for i in range(len(result.question.classes))]
    widths, heights = (num_frames, 1.5 * num_support, 3.2), (num_frames, num_query)
    size = (_FRAME * sum(widths) + 0.5, _FRAME * sum(heights) + 0.7)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.02, hspace=0.02))
    grid = figure.add_gridspec(2, 3, width_ratios=widths, height_ratios=heights)

    legend = figure.add_subplot(grid[0, 0])
    legend.set_axis_off()
    names = "\n".join(f"{a}   {shorten(n, 64)}" for a, n in zip(letters, result.question.classes, strict=True))
    legend.text(0, 1, names, va="top", linespacing=1.7, fontsize=8.5, transform=legend.transAxes)
    key = "support: time runs down →\nqueries: time runs to the right ↓\ndistances: dark is near"
    legend.text(0, 0.03, key, color=SOFT, fontsize=8)

    _support_strips(figure.add_subplot(grid[0, 1]), support, [letters[i // shot] for i in range(num_support)])
    strips = picture_axes(figure.add_subplot(grid[1, 0]), WARN)
    strips.imshow(np.concatenate([np.concatenate(list(clip), axis=1) for clip in query]), aspect="auto")
    places = (np.arange(num_query) + 0.5) * query.shape[2] - 0.5
    strips.set_yticks(places, [letters[label] for label in result.question.labels], fontweight="bold", color=INK)
    for edge in places[1:] - query.shape[2] / 2:
        strips.axhline(edge, color="white", linewidth=3)

    heat = figure.add_subplot(grid[1, 1])
    _distances(heat, result)
    column = figure.add_subplot(grid[1, 2], sharey=heat)
    column.set_axis_off()
    for row, (guess, correct) in enumerate(zip(result.predicted, result.correct, strict=True)):
        text = f"{'✓' if correct else '✗'} {letters[guess]}   p = {result.probabilities[row, guess]:.2f}"
        column.text(0.06, row, text, va="center", color=RIGHT if correct else WARN, fontweight="bold")
    title_of(figure, title, 10)
    return figure


def _support_strips(axes: Axes, support: np.ndarray, letters: list[str]) -> None:
    """Clips side by side, each from top to bottom, with room between them."""
    num_frames = support.shape[1]
    axes.spines[:].set_visible(False)
    for column, clip in enumerate(support):
        extent = (column - 1 / 3, column + 1 / 3, num_frames, 0)
        axes.imshow(np.concatenate(list(clip), axis=0), extent=extent, aspect="auto")
    axes.set(xlim=(-0.5, len(support) - 0.5), ylim=(num_frames, 0), yticks=[])
    axes.set_xticks(range(len(support)), letters, fontweight="bold", color=ACCENT)
    axes.tick_params(labeltop=True, labelbottom=False)


def _distances(axes: Axes, result: EpisodeResult) -> None:
    """Numbers on colour: dark is near, but for the numbers' sake never darker than half of the scale."""
    picture_axes(axes).imshow(result.nearness, cmap="BuPu", vmin=-0.1, vmax=1.95, aspect="auto")
    for (row, column), value in np.ndenumerate(result.distances):
        size = 7.5 if abs(value) < 100 else 6.5
        axes.text(column, row, f"{value:.3f}", color=INK, ha="center", va="center", fontsize=size)


def letter(label: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    return ascii_uppercase[label % 26] + (str(label // 26 + 1) if label >= 26 else "")
