"""Which explanations may be trusted: bars on what `faithfulness` measured.

A map of frames is judged where single frames decide (`appearance`), one of flow where nothing else does (`motion`). It
passes if it reaches all bars: twice the object's share of the area on the object, ranks that do not survive other
weights, and an answer that falls sooner than in a random order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from tmal_core.analysis.faithfulness import ANEW, BELOW_RANDOM, CENTRE, MOST_TIMES_AREA, RANDOM, TIMES_AREA

JUDGED_ON = {"frames": "appearance", "flow": "motion"}
"""Input -> the family on which its maps are judged."""
LEAST_TIMES_AREA, HIGHEST_CORRELATION = 2.0, 0.3


class Bar(NamedTuple):
    """One thing that a map has to reach."""

    words: str
    reached: Callable[[pd.Series], bool]
    """Of a row of the table."""


BARS: dict[str, Bar] = {
    TIMES_AREA: Bar(f"at least {LEAST_TIMES_AREA:g} times", lambda row: row["mean"] >= LEAST_TIMES_AREA),
    **{
        name: Bar(f"below {HIGHEST_CORRELATION:g}", lambda row: row["mean"] < HIGHEST_CORRELATION)
        for name in ANEW.values()
    },
    BELOW_RANDOM: Bar("below 0, and its interval too", lambda row: row["mean"] < 0 and row["high"] < 0),
}
"""Quantity -> its bar."""


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Which measures pass, of a table of `summed_up`; those that fail come last, and say at what.

    Returns:
        One row per input and measure: `family` it was judged on, `clips`, a column for each bar with what was measured,
        `passes` (bool), and `fails_at` in words. A measure that lacks a number fails at that.
    """
    rows = []
    for what, family in JUDGED_ON.items():
        of = table[(table["input"] == what) & (table["family"] == family)]
        for measure in of["measure"].unique():
            if measure not in (RANDOM, CENTRE):
                rows.append({"input": what, "measure": measure, "family": family, **_judged(of, measure)})
    columns = ["input", "measure", "family", "clips", *BARS, "passes", "fails_at"]
    return pd.DataFrame(rows, columns=columns).sort_values("passes", ascending=False, kind="stable", ignore_index=True)


def _judged(of: pd.DataFrame, measure: str) -> dict[str, object]:
    numbers = of[of["measure"] == measure].set_index("quantity")
    shown, failed = {}, []
    for quantity, bar in BARS.items():
        if quantity not in numbers.index:
            shown[quantity] = "not measured"
            failed.append(f"{quantity}: not measured")
            continue
        row = numbers.loc[quantity]
        shown[quantity] = f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        if not bar.reached(row):
            failed.append(f"{quantity}: {row['mean']:.2f}, not {bar.words}{_why(quantity, numbers)}")
    return {**shown, "clips": int(numbers["clips"].max()), "passes": not failed, "fails_at": "; ".join(failed)}


def _why(quantity: str, numbers: pd.DataFrame) -> str:
    """What no map could reach is no map's fault."""
    if quantity != TIMES_AREA or MOST_TIMES_AREA not in numbers.index:
        return ""
    most = numbers.loc[MOST_TIMES_AREA, "mean"]
    return f" (no map can have more than {most:.2f} here)" if most < LEAST_TIMES_AREA else ""
