"""Plots of numbers: results with their intervals, differences, training curves, confusions.

The tables are those of `tmal_core.tasks.evaluate`: accuracies in percent, differences in points. A table without a
column that is needed, or without rows, is a DataError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from tmal_core.errors import DataError
from tmal_core.viz.style import ACCENT, INK, SOFT, WARN, Mark, colour_bar, method_marks, styled

_CHANCE_LINE: dict[str, Any] = {"color": WARN, "linestyle": (0, (4, 3)), "linewidth": 1.1}
NOTES = {
    "appearance": "one frame is enough",
    "order": "who follows whom in a circle",
    "speed": "same way, another rhythm",
    "camera": "the object or the camera first",
    "motion": "no single frame shows it",
    "semantic": "only the class name tells",
    "mixed": "several families at once",
}
"""What an episode of the diagnostic data set asks for, in a few words."""


@styled
def results(table: pd.DataFrame, notes: Mapping[str, str] = NOTES, marks: Mapping[str, Mark] | None = None) -> Figure:
    """One panel per episode type: each method's accuracy as a point with its interval, chance as a dashed line.

    The table is one of `result_table`, or a study's, whose spread over seeds is a thin line; notes stand below titles.
    Marks are by method, those of `method_marks` where none are given.
    """
    require_columns(
        table, "method", "title", "episode_type", "way", "chance_pct", "accuracy_pct", "low_pct", "high_pct"
    )
    methods, episode_types = table["method"].unique().tolist(), table["episode_type"].unique().tolist()
    titles = table.drop_duplicates("method")["title"].tolist()
    marks = method_marks(methods) if marks is None else marks
    figure, panels = _panels(len(episode_types), len(methods))
    for panel, episode_type in zip(panels, episode_types, strict=True):
        rows = table[table["episode_type"] == episode_type].set_index("method")
        way, chance = int(rows["way"].iloc[0]), float(rows["chance_pct"].iloc[0])
        panel.axvline(chance, zorder=1, **_CHANCE_LINE)
        panel.text(chance + 2, -0.84, "chance", color=_CHANCE_LINE["color"], fontsize=6.8, ha="left", va="top")
        for height, name in enumerate(methods):
            if name in rows.index:
                row, pct = rows.loc[name], rows.loc[name, "accuracy_pct"]
                spread = row.get("seed_spread", math.nan)
                _point(panel, height, (row["low_pct"], pct, row["high_pct"]), spread, marks[name], f"{pct:.1f}")
        _head(panel, f"{episode_type} · {way}-way", notes.get(episode_type, ""))
    panels[0].set_yticks(range(len(methods)), titles)
    return figure


@styled
def differences(table: pd.DataFrame, titles: Mapping[str, str] | None = None) -> Figure:
    """One panel per episode type: first method minus second in points, with its interval.

    What is not clear is a grey ring. The table is one of `difference_table`, or a study's, whose spread over seeds is a
    thin line.
    """
    require_columns(table, "first", "second", "episode_type", "points", "low", "high", "clear")
    pairs = list(dict.fromkeys(zip(table["first"], table["second"], strict=True)))
    episode_types, titles = table["episode_type"].unique().tolist(), titles or {}
    low, high = min(table["low"].min(), -1.0), max(table["high"].max(), 1.0)
    margin = 0.12 * (high - low)
    figure, panels = _panels(len(episode_types), len(pairs), row=0.62)
    for panel, episode_type in zip(panels, episode_types, strict=True):
        rows = table[table["episode_type"] == episode_type].set_index(["first", "second"])
        panel.axvline(0, color=INK, linewidth=0.9, zorder=1)
        for height, pair in enumerate(pairs):
            if pair in rows.index:
                row, points = rows.loc[pair], rows.loc[pair, "points"]
                spread = row.get("seed_spread", math.nan)
                mark, filled = (Mark(ACCENT, "o"), True) if row["clear"] else (Mark(SOFT, "o"), False)
                text = "0.0" if abs(points) < 0.05 else f"{points:+.1f}".replace("-", "−")
                _point(panel, height, (row["low"], points, row["high"]), spread, mark, text, filled)
        panel.set_title(episode_type, pad=8)
        panel.set(xlim=(low - margin, high + margin), xlabel="points")
    labels = [f"{titles.get(first, first)}\nminus {titles.get(second, second)}" for first, second in pairs]
    panels[0].set_yticks(range(len(pairs)), labels)
    return figure


@styled
def cheat_accuracies(table: pd.DataFrame, notes: Mapping[str, str] = NOTES) -> Figure:
    """One panel per family: a red cross for each cheat, a blue dot for what is none, chance as a dashed line.

    The table is one of `cheats_by_family`; notes stand below titles.
    """
    require_columns(table, "family", "row", "cheat", "chance_pct", "accuracy_pct")
    kinds, families = table["row"].unique().tolist(), table["family"].unique().tolist()
    figure, panels = _panels(len(families), len(kinds), row=0.34)
    for panel, family in zip(panels, families, strict=True):
        rows = table[table["family"] == family].set_index("row")
        panel.axvline(float(rows["chance_pct"].iloc[0]), zorder=1, **_CHANCE_LINE)
        for height, kind in enumerate(kinds):
            pct, cheat = float(rows.loc[kind, "accuracy_pct"]), bool(rows.loc[kind, "cheat"])
            mark = Mark(WARN, "X") if cheat else Mark(ACCENT, "o")
            _point(panel, height, (pct, pct, pct), math.nan, mark, f"{pct:.1f}")
        _head(panel, family, notes.get(family, ""))
    panels[0].set_yticks(range(len(kinds)), kinds)
    return figure


@styled
def training_curves(
    history: pd.DataFrame, titles: Mapping[str, str], chance_pct: Mapping[str, float], clip_norm: float | None = None
) -> Figure:
    """Losses, their share in the gradient, its norm, training and validation accuracy over episodes, a line per method.

    A ring marks the validation that chose the checkpoint.

    Args:
        history: of `training_history`: method, episode, loss, grad_norm, train_pct, val_pct, val_<episode type>_pct,
            and text_loss and text_grad_pct where a method has them.
        titles: method -> its name in the legend.
        chance_pct: episode type -> chance level, drawn dashed.
        clip_norm: gradients longer than this were cut to it; drawn dotted.
    """
    require_columns(history, "method", "episode", "loss", "grad_norm", "train_pct", "val_pct")
    by_type = {c[4:-4]: c for c in history.columns if c.startswith("val_") and c != "val_pct"}
    panels = {"training loss": "loss", "of it video-text, unweighted": "text_loss"}
    panels |= {"gradient norm": "grad_norm", "share of video-text in it": "text_grad_pct"}
    panels["training accuracy"] = "train_pct"
    if len(by_type) > 1:
        panels["validation, mean"] = "val_pct"
    panels |= {f"validation: {episode_type}": column for episode_type, column in by_type.items()}
    panels = {title: column for title, column in panels.items() if column in history}
    methods = history["method"].unique().tolist()
    marks = method_marks(methods)
    rows = -(-len(panels) // 4)
    figure = Figure(figsize=(10.4, 2.1 * rows + 0.4), layout="constrained")
    cells = figure.subplots(rows, 4, sharex=True, squeeze=False)
    for cell, (title, column) in zip(cells.flat, panels.items(), strict=False):
        for name in methods:
            line = history[history["method"] == name]
            colour, shape = marks[name]
            cell.plot(line["episode"], line[column], color=colour, marker=shape, markersize=4.2, linewidth=1.6)
            if column.startswith("val_"):
                best = line.loc[line["val_pct"].idxmax()]
                cell.scatter([best["episode"]], [best[column]], s=72, facecolors="none", edgecolors=colour)
        episode_type = title.removeprefix("validation: ")
        if column.endswith("_pct"):
            cell.set(ylim=(0, 104), yticks=(0, 25, 50, 75, 100))
        if column == "grad_norm":
            cell.set_ylim(0, 1.1 * max(history["grad_norm"].max(), clip_norm or 0))
            if clip_norm is not None:
                cell.axhline(clip_norm, color=SOFT, linestyle=(0, (1, 2)), linewidth=1.1)
        if episode_type in chance_pct:
            cell.axhline(chance_pct[episode_type], **_CHANCE_LINE)
        cell.set_title(title, fontsize=9)
        unit = {"loss": "cross-entropy", "text_loss": "cross-entropy", "grad_norm": "before clipping"}
        unit["text_grad_pct"] = "% of both losses' norms"
        cell.set_ylabel(unit.get(column, "accuracy, %"), fontsize=8)
        cell.grid(axis="y")
    for cell in cells.flat[len(panels) :]:
        cell.set_axis_off()
    for cell in cells[-1]:
        cell.set_xlabel("training episodes")
    names = [titles.get(name, name) for name in methods]
    figure.legend(cells[0, 0].lines[: len(methods)], names, loc="outside upper left", ncols=len(methods))
    return figure


@styled
def ways_and_shots(table: pd.DataFrame, way: int, shot: int) -> Figure:
    """A column per episode type: above accuracy by the number of classes, below by the number of examples.

    The bar of a point is its interval; chance is dashed. A cell that the split could not give leaves a gap.

    Args:
        table: of `way_shot_table`.
        way: number of classes of the lower row (an episode type with a way of its own keeps that).
        shot: number of examples of the upper row.
    """
    figures = ("chance_pct", "accuracy_pct", "low_pct", "high_pct")
    require_columns(table, "method", "title", "episode_type", "way", "shot", *figures)
    methods, episode_types = table["method"].unique().tolist(), table["episode_type"].unique().tolist()
    marks = method_marks(methods)
    figure = Figure(figsize=(2.0 * len(episode_types) + 0.6, 4.9), layout="constrained")
    cells = figure.subplots(2, len(episode_types), sharey=True, squeeze=False)
    for column, episode_type in zip(cells.T, episode_types, strict=True):
        rows = table[table["episode_type"] == episode_type]
        own_way = way if (rows["way"] == way).any() else int(rows["way"].iloc[0])
        by_way, by_shot = rows[rows["shot"] == shot], rows[rows["way"] == own_way]
        parts = (("way", by_way, f"{shot}-shot"), ("shot", by_shot, f"{own_way}-way"))
        for cell, (axis, part, kept) in zip(column, parts, strict=True):
            steps = sorted(part[axis].unique())
            chance = part.drop_duplicates(axis).set_index(axis)["chance_pct"][steps].tolist()
            at = range(len(steps))
            cell.plot([*at], chance, **_CHANCE_LINE) if len(at) > 1 else cell.axhline(chance[0], **_CHANCE_LINE)
            for number, name in enumerate(methods):
                line = part[part["method"] == name].set_index(axis).reindex(steps)
                places = [x + 0.07 * (number - (len(methods) - 1) / 2) for x in at]
                colour, shape = marks[name]
                cell.vlines(places, line["low_pct"], line["high_pct"], color=colour, linewidth=3, alpha=0.35)
                cell.plot(places, line["accuracy_pct"], color=colour, marker=shape, markersize=4.6, linewidth=1.3)
            cell.set_xticks(at, steps)
            cell.set(xlim=(-0.45, len(steps) - 0.55), ylim=(0, 104), yticks=(0, 25, 50, 75, 100))
            cell.set_xlabel("classes" if axis == "way" else "examples per class", fontsize=8)
            cell.grid(axis="y")
            cell.set_title(f"{episode_type}, {kept}", fontsize=9)
    for row in cells:
        row[0].set_ylabel("accuracy, %", fontsize=8)
    handles = [Line2D([], [], color=marks[name].colour, marker=marks[name].shape, markersize=5) for name in methods]
    titles = table.drop_duplicates("method")["title"].tolist()
    figure.legend(handles, titles, loc="outside upper left", ncols=min(len(methods), 5), fontsize=8)
    return figure


@styled
def confusion(matrix: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """A confusion matrix as a heat map, with a line between groups of classes.

    Args:
        matrix: class of the query by predicted class, in percent; NaN where an episode never offered both.
        groups: the group of each class, in the order of the matrix; equal ones adjoin.
    """
    if matrix.shape != (len(groups),) * 2:
        raise DataError(f"a square matrix of {len(groups)} classes", str(matrix.shape), "Pass one group per class.")
    side = max(3.6, 0.17 * len(groups) + 2.6)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix.to_numpy(float), cmap="BuPu", vmin=0, vmax=100)
    bounds = [0, *(i for i in range(1, len(groups)) if groups[i] != groups[i - 1]), len(groups)]
    for edge in bounds[1:-1]:
        axes.axhline(edge - 0.5, color=INK, linewidth=0.8)
        axes.axvline(edge - 0.5, color=INK, linewidth=0.8)
    middles = [(a + b - 1) / 2 for a, b in pairwise(bounds)]
    axes.set_xticks(middles, [groups[a] for a in bounds[:-1]], fontweight="bold")
    axes.set_yticks(range(len(groups)), matrix.index, fontsize=6.5)
    axes.set(xlabel="predicted class, in the order of the rows", ylabel="class of the query")
    colour_bar(figure, image, "predicted, % of the episodes that offer both", ax=axes, shrink=0.6, pad=0.02)
    return figure


def _panels(number: int, num_rows: int, row: float = 0.46) -> tuple[Figure, list[Axes]]:
    """Panels side by side that share their rows."""
    size = (2.0 + 1.95 * number, row * num_rows + 1.3)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.06))
    panels = list(figure.subplots(1, number, sharey=True, squeeze=False)[0])
    for panel in panels:
        panel.set_ylim(num_rows - 0.5, -0.85)
        panel.grid(axis="x")
        panel.tick_params(axis="y", labelcolor=INK)
        panel.spines["left"].set_visible(False)
    return figure, panels


def _head(panel: Axes, title: str, note: str) -> None:
    """Title with a note below it, and an axis of accuracies."""
    panel.set_title(title, pad=19 if note else 8)
    above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    panel.annotate(note, (0, 1), (0, 5.5), fontsize=7.2, color=SOFT, **above)
    panel.set(xlim=(0, 106), xticks=(0, 25, 50, 75, 100), xlabel="accuracy, %")


def _point(
    panel: Axes,
    height: int,
    interval: tuple[float, float, float],
    spread: float,
    mark: Mark,
    text: str,
    filled: bool = True,
) -> None:
    """A mark in a pale bar that spans the interval, its value above; a thin line is a standard deviation over seeds."""
    low, middle, high = interval
    colour, shape = mark
    panel.plot([low, high], [height, height], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt", zorder=2)
    face = colour if filled else "white"
    panel.scatter([middle], [height], s=30, marker=shape, facecolors=face, edgecolors=colour, zorder=4)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    place: dict[str, Any] = {"ha": "center", "va": "bottom", "textcoords": "offset points", "zorder": 3}
    panel.annotate(text, (middle, height), (0, 5.5), fontsize=7.5, color=INK, bbox=box, **place)
    if pd.notna(spread):
        panel.plot([middle - spread, middle + spread], [height, height], color=INK, linewidth=1.3, zorder=5)


def require_columns(table: pd.DataFrame, *columns: str) -> None:
    """Raise DataError unless a table has these columns and a row."""
    missing = [column for column in columns if column not in table]
    if missing or table.empty:
        got = f"a table without {', '.join(missing)}" if missing else "a table without rows"
        raise DataError(f"a table with {', '.join(columns)}", got, "Pass the table as it was made.")
