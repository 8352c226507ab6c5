"""The picture of `tmal baselines`: what frozen encoders reach under every matcher."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
from matplotlib.figure import Figure

from tmal_core.viz.plots import require_columns, results
from tmal_core.viz.style import LINE, MATCHER_MARKS, SOFT, styled

HOW_TO_READ = (
    "A mark is the accuracy of one frozen encoder under one matcher, its pale bar the interval over classes with their "
    "clips. What lies right of the triangle is what comparing frames in time adds; at the dashed line are guesses."
)


@styled
def baselines(table: pd.DataFrame) -> Figure:
    """Frozen encoders, each under every matcher: one panel per episode type, a row per encoder and matcher.

    Args:
        table: of `baseline_table`; encoders that were left out have no rows in it.

    Raises:
        DataError: a column that is needed is missing, or no encoder has answered.
    """
    require_columns(table, "left_out")
    answered = table[table["left_out"] == ""]
    require_columns(answered, "encoder", "weights", "matcher", "title")
    names = answered["encoder"] + ":" + answered["weights"]
    rows = answered.assign(name=names, method=names + " " + answered["matcher"], title=names + ", " + answered["title"])
    by_row = rows.drop_duplicates("method").set_index("method")
    figure = results(rows, marks={row: MATCHER_MARKS[matcher] for row, matcher in by_row["matcher"].items()})
    for height, (above, below) in enumerate(pairwise(by_row["name"])):
        for panel in figure.axes if above != below else ():
            panel.axhline(height + 0.42, color=LINE, linewidth=0.9, zorder=0)
    figure.supxlabel(HOW_TO_READ, x=0.005, ha="left", fontsize=7.5, color=SOFT)
    figure.set_label(f"Accuracy of frozen encoders under every matcher. {HOW_TO_READ}")
    return figure
