"""Which explanations may be trusted, as figures of the tables of `analysis.faithfulness` and its bars."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tmal_core.analysis.faithfulness import (
    ANEW,
    BELOW_RANDOM,
    CENTRE,
    DELETION,
    INSERTION,
    RANDOM,
    TIMES_AREA,
    curve_points,
)
from tmal_core.analysis.faithfulness_bars import BARS, HIGHEST_CORRELATION, LEAST_TIMES_AREA
from tmal_core.errors import DataError
from tmal_core.viz.style import ACCENT, CLASS_COLOURS, FAINT, INK, SOFT, styled, title_of

_LINES = {TIMES_AREA: LEAST_TIMES_AREA, BELOW_RANDOM: 0.0, **dict.fromkeys(ANEW.values(), HIGHEST_CORRELATION)}
_HEADS = {
    TIMES_AREA: ("share on the object", "times its area; bar: right of 2"),
    BELOW_RANDOM: ("deletion less random", "points; bar: all left of 0"),
    ANEW["trained"]: ("ranks, trained parts anew", "correlation; bar: left of 0.3"),
    ANEW["all"]: ("ranks, all weights anew", "correlation; bar: left of 0.3"),
}
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "p")
_COLOURS = (*CLASS_COLOURS, SOFT)


@styled
def measured_against_bars(table: pd.DataFrame, judged: pd.DataFrame, what: str) -> Figure:
    """All measures of one input against each bar: a filled dot where it is reached, a ring where not, with intervals.

    Args:
        table: of `summed_up`.
        judged: of `verdicts` of it; gives the order, those that fail below.
        what: "frames" or "flow".

    Raises:
        DataError: no measure of this input was judged.
    """
    judged = judged[judged["input"] == what]
    if judged.empty:
        raise DataError(f"measures of {what}", "none", "Measure the family that they are judged on.")
    family, names = judged["family"].iat[0], judged["measure"].tolist()
    of = table[(table["input"] == what) & (table["family"] == family)].set_index(["measure", "quantity"])
    figure = Figure(figsize=(10.6, 0.34 * len(names) + 1.5), layout="constrained")
    panels = figure.subplots(1, len(BARS), sharey=True)
    for panel, (quantity, bar) in zip(panels, BARS.items(), strict=True):
        panel.axvline(_LINES[quantity], color=INK, linestyle=(0, (4, 3)), linewidth=1.0)
        for height, name in enumerate(names):
            if (name, quantity) in of.index:
                _interval(panel, height, of.loc[(name, quantity)], bar.reached(of.loc[(name, quantity)]))
        panel.set_title(_HEADS[quantity][0], fontsize=9)
        panel.set_xlabel(_HEADS[quantity][1], fontsize=8)
        panel.grid(axis="x")
        panel.spines["left"].set_visible(False)
    labels = [name if passes else f"{name}: fails" for name, passes in zip(names, judged["passes"], strict=True)]
    panels[0].set_yticks(range(len(names)), labels)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    title_of(figure, f"{what} on {family}, {judged['clips'].max()} clips", 10)
    return figure


def _interval(panel: Axes, height: int, row: pd.Series, reached: bool) -> None:
    colour = ACCENT if reached else SOFT
    panel.plot([row["low"], row["high"]], [height] * 2, color=colour, linewidth=6, alpha=0.3, solid_capstyle="butt")
    panel.scatter([row["mean"]], [height], s=30, facecolors=colour if reached else "white", edgecolors=colour, zorder=3)


@styled
def deletion_and_insertion(table: pd.DataFrame, judged: pd.DataFrame, what: str) -> Figure:
    """Mean curves of one input: measures that pass in colour, those that fail in grey, random and centre in black.

    The table and verdicts are as of `measured_against_bars`.
    """
    judged = judged[judged["input"] == what]
    if judged.empty:
        raise DataError(f"measures of {what}", "none", "Measure the family that they are judged on.")
    family = judged["family"].iat[0]
    of = table[(table["input"] == what) & (table["family"] == family)].set_index(["quantity", "measure"])
    figure = Figure(figsize=(10.6, 3.1), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    styles = _styles(judged)
    for panel, (quantity, words) in zip(panels, {DELETION: "taken away", INSERTION: "brought in"}.items(), strict=True):
        for name, style in styles.items():
            (curve,) = curve_points([of.loc[(quantity, name), "curve_pct"]])
            panel.plot(100 * np.linspace(0, 1, len(curve)), curve, label=name, **style)
        panel.set(title=quantity, xlabel=f"patches {words}, most relevant first, %", ylim=(0, 102))
        panel.grid(axis="y")
    panels[0].set_ylabel("probability of the class, %")
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    title_of(figure, f"{what} on {family}, {judged['clips'].max()} clips", 10)
    return figure


def _styles(judged: pd.DataFrame) -> dict[str, dict[str, Any]]:
    colours = iter(_COLOURS)
    styles: dict[str, dict[str, Any]] = {}
    for mark, (_, row) in zip(_MARKS, judged.iterrows(), strict=False):
        passes = {"color": next(colours), "linewidth": 1.8, "zorder": 4}
        fails = {"color": FAINT, "linewidth": 1.0}
        styles[row["measure"]] = {"marker": mark, "markersize": 4.5, **(passes if row["passes"] else fails)}
    styles[RANDOM] = {"color": INK, "linestyle": (0, (4, 3)), "linewidth": 1.4}
    styles[CENTRE] = {"color": INK, "linestyle": (0, (1, 2)), "linewidth": 1.4}
    return styles


def verdicts_in_words(judged: pd.DataFrame, what: str) -> str:
    """Which measures of an input pass, and at what the others fail."""
    judged = judged[judged["input"] == what]
    passed = judged.loc[judged["passes"], "measure"].tolist()
    failed = [f"{row['measure']} ({row['fails_at']})" for _, row in judged[~judged["passes"]].iterrows()]
    return f"Maps of {what}. Pass: {', '.join(passed) or 'none'}. Fail: {'; '.join(failed) or 'none'}."
