"""A study as a table for people: a row per variant of its last round, a column per episode type."""

from __future__ import annotations

import pandas as pd

from tmal_core.data.episodes import MIXED
from tmal_core.models.methods import METHODS
from tmal_core.tasks.study_variants import FULL, VARIANTS
from tmal_core.tasks.table_markup import Cell, Shown


def shown(accuracy: pd.DataFrame, confidence: float) -> Shown:
    """Rows without class names at test first, then those with them, each in the order of the study; of a column of
    each group the highest is bold, and TMAL stands last in its group.

    Args:
        accuracy: as `accuracy_table` makes it; of several splits the last.
        confidence: of its intervals.
    """
    last = accuracy[accuracy["split"] == accuracy["split"].iat[-1]].reset_index(drop=True)
    kinds = list(last["episode_type"].unique())
    ways = last.groupby("episode_type")["way"].first()
    silent = last["text_at_test"] == "none"
    groups = [group for group in (last[silent], last[~silent]) if len(group)]
    head = ["method", "names at test", "seeds", *(f"{kind} ({ways[kind]}-way)" for kind in kinds), "mean of families"]
    lines = [line for group in groups for line in _lines(group, kinds)]
    split, shot, episodes = (last[name].iat[0] for name in ("split", "shot", "episodes"))
    caption = [
        f"{split}, {shot}-shot: accuracy in %, {episodes:,} episodes a column.",
        f"In brackets the {100 * confidence:g} % interval over classes with their clips and seeds of training.",
        "Bold is the highest of a column, without class names at test and with them apart.",
    ]
    return Shown(f"study {split}", caption, head, lines)


def _lines(group: pd.DataFrame, kinds: list[str]) -> list[list[str | Cell]]:
    pct = group.pivot(index="method", columns="episode_type", values="accuracy_pct")
    pct = pct.assign(mean=pct[[kind for kind in kinds if kind != MIXED]].mean(axis=1)).round(1)
    best = pct.max()
    order = sorted(group["method"].unique(), key=lambda name: name == FULL)
    rows = group.set_index(["method", "episode_type"])
    lines: list[list[str | Cell]] = []
    for name in order:
        first = rows.loc[(name, kinds[0])]
        line: list[str | Cell] = [first["title"], first["text_at_test"], _seeds(name, first)]
        for kind in kinds:
            low, high = rows.loc[(name, kind), ["low_pct", "high_pct"]]
            figure = f"{pct.loc[name, kind]:.1f}"
            line.append(Cell(figure, f"[{low:.0f}, {high:.0f}]", bold=pct.loc[name, kind] == best[kind]))
        line.append(Cell(f"{pct.loc[name, 'mean']:.1f}", bold=pct.loc[name, "mean"] == best["mean"]))
        lines.append(line)
    return lines


def _seeds(name: str, row: pd.Series) -> str:
    """Of training; what learns nothing has none."""
    return str(row["seeds"]) if METHODS[VARIANTS[name].method].trained else "-"
