"""A prepared data set at a glance: videos per class and what was lost of them, lengths, sizes and rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tmal_core.viz.plots import require_columns
from tmal_core.viz.style import INK, SOFT, SPLIT_COLOURS, WARN, styled

_SIZES = 6  # the commonest frame sizes get a bar each, the others one together


@styled
def preparation(report: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """What `tmal prepare` found: its report, and the table of the catalogue. DataError where a column is missing."""
    require_columns(report, "split", "class_name", "listed", "used")
    require_columns(table, "split", "num_frames", "fps", "height", "width")
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1))[:, 0]
    _classes(above.subplots(), report)
    lengths, rates, sizes = below.subplots(1, 3, width_ratios=(1.3, 1, 1.2))
    _histogram(lengths, table, "num_frames", "frames per video")
    _histogram(rates, table, "fps", "frames per second")
    _frame_sizes(sizes, table)
    return figure


def _classes(axes: Axes, report: pd.DataFrame) -> None:
    """A bar per class, most videos first in each split; what is lost stands on top of what is used."""
    start = 0
    for split in dict.fromkeys(report["split"]):
        rows = report[report["split"] == split].sort_values("listed", ascending=False, kind="stable")
        places = np.arange(start, start + len(rows))
        lost = rows["listed"] - rows["used"]
        axes.bar(places, rows["used"], width=0.82, color=SPLIT_COLOURS[split])
        axes.bar(places, lost, width=0.82, bottom=rows["used"], color=WARN, hatch="///", edgecolor="white", linewidth=0)
        text = f"{split}\n{len(rows)} classes, {rows['used'].sum():,} videos"
        text += f"\n{lost.sum():,} lost" if lost.sum() else ""
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        axes.text(places.mean(), 1.04, text, fontsize=8, **place)
        key: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "solid_capstyle": "butt"}
        axes.plot([places[0] - 0.41, places[-1] + 0.41], [1.02, 1.02], color=SPLIT_COLOURS[split], linewidth=4, **key)
        start += len(rows) + 2
    axes.set(xticks=[], ylabel="videos per class", xlim=(-1.5, start - 0.5))
    axes.grid(axis="y")


def _histogram(axes: Axes, table: pd.DataFrame, column: str, label: str) -> None:
    """Stacked by split; their shapes should be alike."""
    values = table[column].to_numpy(float)
    low, high = values.min(), values.max()
    edges = np.linspace(low, high, 25).tolist() if high > low else [low - 0.5, low + 0.5]
    groups = {str(split): rows.to_numpy(float) for split, rows in table.groupby("split", sort=False)[column]}
    axes.hist(list(groups.values()), edges, stacked=True, color=[SPLIT_COLOURS[split] for split in groups])
    axes.set(xlabel=label, ylabel="videos")
    axes.grid(axis="y")


def _frame_sizes(axes: Axes, table: pd.DataFrame) -> None:
    counts = (table["width"].astype(str) + " × " + table["height"].astype(str)).value_counts()
    shown = counts.head(_SIZES)
    if len(counts) > _SIZES:
        shown = pd.concat([shown, pd.Series({f"{len(counts) - _SIZES} others": counts.iloc[_SIZES:].sum()})])
    places = np.arange(len(shown))
    axes.barh(places, shown.to_numpy(), height=0.7, color=SOFT)
    axes.set_yticks(places, shown.index, color=INK, fontsize=8)
    axes.set(ylim=(_SIZES + 0.5, -0.5), xlabel="videos by width × height, px")
    axes.grid(axis="x")
