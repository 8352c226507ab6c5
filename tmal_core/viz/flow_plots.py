"""Flow estimators as pictures: their fields side by side, and error against time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from tmal_core.errors import DataError
from tmal_core.viz.clip_plots import show_wheel
from tmal_core.viz.flow_colours import flow_to_rgb
from tmal_core.viz.style import ACCENT, INK, picture_axes, styled, title_of

_CELL = 1.35  # inches of one picture


class FlowRow(NamedTuple):
    """One frame and the fields that belong to it."""

    frame: np.ndarray  # (H, W, 3) uint8
    flows: Mapping[str, np.ndarray]  # name (an estimator's, "truth") -> (2, h, w) in pixels; alike in all rows
    errors_px: Mapping[str, float] = {}  # name -> end-point error, written beside the name where it is known


@styled
def flow_comparison(rows: Mapping[str, FlowRow]) -> Figure:
    """A row per clip, by title: its frame, each field in Middlebury colours, and the wheel with the scale of that row.

    Raises:
        DataError: no rows, or rows that do not hold the same fields.
    """
    if not rows:
        raise DataError("at least one row of flow", "none", "Pass a title, its frame and its fields.")
    names = [list(row.flows) for row in rows.values()]
    if any(each != names[0] for each in names):
        raise DataError(f"the fields {', '.join(names[0])} in each row", str(names), "Pass the same in all rows.")
    columns = ["frame", *names[0]]
    height, width = next(iter(rows.values())).frame.shape[:2]
    size = (_CELL * (len(columns) + 0.7), (_CELL * height / width + 0.3) * len(rows) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    ratios = [*[1.0] * len(columns), 0.6]
    for line, (title, row) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        title_of(line, title, 8.5)
        *cells, key = line.subplots(1, len(columns) + 1, squeeze=False, width_ratios=ratios)[0]
        # An outlier must not pale the rest, and a little too fast must not look like a mistake.
        scale = [row.flows["truth"]] if "truth" in row.flows else row.flows.values()
        max_px = 1.2 * max(*(float(np.hypot(*flow).max()) for flow in scale), 0.1)
        pictures = [row.frame, *(flow_to_rgb(flow, max_px) for flow in row.flows.values())]
        for cell, picture, name in zip(cells, pictures, columns, strict=True):
            picture_axes(cell).imshow(picture)
            error = f": {row.errors_px[name]:.2f} px" if name in row.errors_px else ""
            cell.set_xlabel(name + error, fontsize=7.5, labelpad=2)
        show_wheel(key, 96, f"rim: {max_px:.1f} px", 7)
    return figure


@styled
def error_against_time(errors: pd.DataFrame, speed: pd.DataFrame) -> Figure:
    """End-point error over milliseconds a pair: a small dot per clip, a large one for their mean, per estimator.

    Args:
        errors: with estimator, clip and epe_px.
        speed: with estimator and `ms_<size>` columns; the last of them is shown.

    Raises:
        DataError: an estimator has errors and no time.
    """
    column = [name for name in speed.columns if name.startswith("ms_")][-1]
    times = dict(zip(speed["estimator"], speed[column], strict=True))
    missing = sorted(set(errors["estimator"]) - set(times))
    if missing:
        raise DataError("a time for each estimator", f"none for {', '.join(missing)}", "Measure them as well.")
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    groups = dict(list(errors.groupby("estimator")["epe_px"]))
    for number, name in enumerate(sorted(groups, key=lambda name: times[name])):
        axes.scatter([times[name]] * len(groups[name]), groups[name], s=12, color=ACCENT, alpha=0.35, linewidths=0)
        mean = times[name], groups[name].mean()
        axes.scatter(*mean, s=52, color=ACCENT, linewidths=0, zorder=3)
        # Above and below in turn, so that names of neighbours do not meet.
        offset = 7, -10 if number % 2 else 4
        axes.annotate(name, mean, offset, textcoords="offset points", fontsize=8.5, color=INK, zorder=4)
    axes.set(xscale="log", yscale="log", ylabel="end-point error, px")
    axes.set_xlabel(f"ms a pair of {column.removeprefix('ms_')} frames, this machine")
    low, high = min(times.values()), max(times.values())
    axes.set_xlim(low / 1.6, high * 3.2)  # room for the names
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.grid(axis="y")
    return figure
