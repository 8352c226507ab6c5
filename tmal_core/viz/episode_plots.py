"""One answered episode as a figure: the clips, every distance between them, and the answers.

Letters: N way, K shot, Q queries per class, T frames, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_uppercase
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tmal_core.analysis.inspection import EpisodeResult
from tmal_core.data.clips import ClipReader
from tmal_core.errors import DataError
from tmal_core.viz.clip_plots import as_pictures
from tmal_core.viz.style import ACCENT, INK, SOFT, picture_axes, styled

RIGHT, WRONG = "#3a7d44", "#c8553d"
_FRAME = 0.5  # inches


def model_pictures(reader: ClipReader, rows: Iterable[int]) -> np.ndarray:
    """What models read of the clips in the given rows: (n, T, C, C, 3) uint8, cropped as in evaluation."""
    return np.stack([as_pictures(reader.evaluate(int(row)).frames) for row in rows])


@styled
def answered_episode(answer: EpisodeResult, support: np.ndarray, query: np.ndarray, title: str = "") -> Figure:
    """Support clips as columns, queries as rows, their distances where they cross, the answers at the right.

    Time runs downwards in support clips and to the right in queries. Colour is scaled within each row, since a query
    is answered by the nearest class of its row.

    Args:
        answer: of `evaluate_episode`.
        support: (N * K, T, H, W, 3) uint8, in the order of the labels.
        query: (N * Q, T, H, W, 3) uint8, in the order of the labels.
        title: above everything.

    Raises:
        DataError: other numbers of clips than the answer has.
    """
    num_query, num_support = answer.distances.shape
    if (len(query), len(support)) != (num_query, num_support):
        got = f"{len(query)} and {len(support)}"
        raise DataError(f"{num_query} query and {num_support} support clips", got, "Pass the episode's own clips.")
    num_frames, shot = query.shape[1], answer.episode.support.shape[1]
    letters = [_letter(i) for i in range(len(answer.episode.classes))]
    widths, heights = (num_frames, 1.5 * num_support, 3.2), (num_frames, num_query)
    figure = Figure(figsize=(_FRAME * sum(widths) + 0.5, _FRAME * sum(heights) + 0.7), layout="constrained")
    figure.get_layout_engine().set(wspace=0.02, hspace=0.02)
    grid = figure.add_gridspec(2, 3, width_ratios=widths, height_ratios=heights)

    legend = figure.add_subplot(grid[0, 0])
    legend.set_axis_off()
    names = "\n".join(f"{a}   {shorten(n, 64)}" for a, n in zip(letters, answer.episode.classes, strict=True))
    legend.text(0, 1, names, va="top", linespacing=1.7, fontsize=8.5, transform=legend.transAxes)
    key = "support: time runs down →\nqueries: time runs to the right ↓\ndistances: dark is near"
    legend.text(0, 0.03, key, color=SOFT, fontsize=8)

    _support_strips(figure.add_subplot(grid[0, 1]), support, [letters[i // shot] for i in range(num_support)])
    strips = picture_axes(figure.add_subplot(grid[1, 0]), WRONG)
    strips.imshow(np.concatenate([np.concatenate(list(clip), axis=1) for clip in query]), aspect="auto")
    places = (np.arange(num_query) + 0.5) * query.shape[2] - 0.5
    strips.set_yticks(places, [letters[label] for label in answer.labels], fontweight="bold", color=INK)
    strips.tick_params(length=0)
    for edge in places[1:] - query.shape[2] / 2:
        strips.axhline(edge, color="white", linewidth=3)

    heat = figure.add_subplot(grid[1, 1])
    _distances(heat, answer)
    column = figure.add_subplot(grid[1, 2], sharey=heat)
    column.set_axis_off()
    for row, (guess, correct) in enumerate(zip(answer.predicted, answer.correct, strict=True)):
        text = f"{'✓' if correct else '✗'} {letters[guess]}   p = {answer.probabilities[row, guess]:.2f}"
        column.text(0.06, row, text, va="center", color=RIGHT if correct else WRONG, fontweight="bold")
    figure.suptitle(title, x=0.005, ha="left", fontsize=10, fontweight="bold")
    return figure


def _support_strips(axes: Axes, support: np.ndarray, letters: list[str]) -> None:
    """Clips side by side, each from top to bottom, with room between them."""
    num_frames = support.shape[1]
    picture_axes(axes)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for column, clip in enumerate(support):
        extent = (column - 1 / 3, column + 1 / 3, num_frames, 0)
        axes.imshow(np.concatenate(list(clip), axis=0), extent=extent, aspect="auto")
    axes.set(xlim=(-0.5, len(support) - 0.5), ylim=(num_frames, 0))
    axes.set_xticks(range(len(support)), letters, fontweight="bold", color=ACCENT)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)


def _distances(axes: Axes, answer: EpisodeResult) -> None:
    """Numbers on colour: dark is near."""
    nearness = answer.nearness
    picture_axes(axes).imshow(nearness, cmap="BuPu", vmin=-0.1, vmax=1.4, aspect="auto")
    for (row, column), value in np.ndenumerate(answer.distances):
        dark = nearness[row, column] > 0.75
        place = {"ha": "center", "va": "center", "fontsize": 7.5 if abs(value) < 100 else 6.5}
        axes.text(column, row, f"{value:.3f}", color="white" if dark else INK, **place)


def _letter(label: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    return ascii_uppercase[label % 26] + (str(label // 26 + 1) if label >= 26 else "")
