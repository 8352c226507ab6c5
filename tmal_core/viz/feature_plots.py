"""Clips as points by class, before and after training, beside what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tmal_core.errors import DataError
from tmal_core.viz.episode_plots import letter
from tmal_core.viz.style import INK, SOFT, Mark, class_marks, picture_axes, styled


class Cloud(NamedTuple):
    """Clips of one method."""

    places: np.ndarray  # (V, 2)
    shares: np.ndarray  # (2,) of the variance, 0..1
    note: str  # below the title


@styled
def feature_clouds(
    clouds: Mapping[str, Cloud], labels: np.ndarray, classes: Sequence[str], confusion: pd.DataFrame
) -> Figure:
    """A panel of points for each method, a colour and shape for each class; at the right what is taken for what.

    Args:
        clouds: title -> its points, the same clips in each.
        labels: (V,) places in `classes`.
        classes: C names.
        confusion: (C, C) of `confusion_table`, of the last method.

    Raises:
        DataError: no clouds, or not one place for each label.
    """
    if not clouds or any(len(cloud.places) != len(labels) for cloud in clouds.values()):
        got = ", ".join(f"{len(cloud.places)} of '{name}'" for name, cloud in clouds.items()) or "none"
        raise DataError(f"places of {len(labels)} clips for each method", got, "Pass the same clips.")
    marks, columns = class_marks(len(classes)), 2 if len(classes) <= 16 else 3
    rows = -(-len(classes) // columns)
    width = 3.7 * len(clouds) + 4.0
    figure = Figure(figsize=(width, 4.1 + 0.17 * rows), layout="constrained")
    *panels, heat = figure.subplots(1, len(clouds) + 1, squeeze=False)[0]
    for panel, (title, cloud) in zip(panels, clouds.items(), strict=True):
        _points(panel, cloud, labels, marks)
        panel.set_title(title, pad=19)
        panel.annotate(
            cloud.note, (0, 1), (0, 5.5), xycoords="axes fraction", textcoords="offset points", color=SOFT, fontsize=7.5
        )
    _confusion(heat, confusion)
    handles = [Line2D([], [], color=mark.colour, marker=mark.shape, linestyle="", markersize=5) for mark in marks]
    names = [f"{letter(n)}  {shorten(name, 180 // columns)}" for n, name in enumerate(classes)]
    figure.legend(handles, names, loc="outside lower left", ncols=columns, fontsize=7, handletextpad=0.3)
    return figure


def _points(axes: Axes, cloud: Cloud, labels: np.ndarray, marks: Sequence[Mark]) -> None:
    for label, mark in enumerate(marks):
        x, y = cloud.places[labels == label].T
        axes.scatter(x, y, s=20, marker=mark.shape, color=mark.colour, linewidths=0, alpha=0.85)
    picture_axes(axes)
    axes.set_aspect("equal", "datalim")
    first, second = 100 * cloud.shares
    axes.set_xlabel(f"first axis, {first:.0f} % of the variance", fontsize=8)
    axes.set_ylabel(f"second axis, {second:.0f} %", fontsize=8)


def _confusion(axes: Axes, confusion: pd.DataFrame) -> None:
    """Pale enough for its numbers, where there is room for such."""
    values, size = confusion.to_numpy(float), len(confusion)
    picture_axes(axes).imshow(values, cmap="BuPu", vmin=0, vmax=185)
    for (row, column), value in np.ndenumerate(values):
        if size <= 10 and not np.isnan(value):
            axes.text(column, row, f"{value:.0f}", color=INK, fontsize=7, ha="center", va="center")
    letters = [letter(n) for n in range(size)]
    axes.set_xticks(range(size), letters, fontsize=7 if size <= 16 else 4)
    axes.set_yticks(range(size), letters, fontsize=7 if size <= 16 else 4)
    axes.set(ylabel="class of the query", xlabel="answer, % of the episodes that offer both")
    axes.set_title("what is taken for what", pad=19)
