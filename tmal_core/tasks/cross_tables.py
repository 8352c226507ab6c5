"""Tables of `tmal cross`: accuracies, paired differences, and which tested classes are not new to the weights."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tmal_core.data.sets.overlap import Pair
from tmal_core.errors import DataError
from tmal_core.evaluation.ledger import TEST, looks
from tmal_core.evaluation.statistics import Interval
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.run_folders import commit, environment
from tmal_core.tasks.cross import ALL, CrossResults
from tmal_core.tasks.evaluate import difference_table, result_table, save_table
from tmal_core.tasks.trained_classes import overlap_of

_FACTS, _TABLES = "cross.json", ("accuracy", "differences", "overlap")


class CrossTables(NamedTuple):
    """What `tmal cross` leaves."""

    accuracy: pd.DataFrame
    differences: pd.DataFrame
    overlap: pd.DataFrame
    notes: list[str]


def accuracy_table(results: CrossResults) -> pd.DataFrame:
    """One row per tested preset, classes asked, source and episode type, as `tasks.evaluate.result_table` has them."""
    tables = []
    for part in results.parts:
        for source in results.sources:
            one, found = part.experiments[source.label], part.outcomes[source.label]
            table = result_table({source.method: one}, {source.method: found}, results.split)
            tables.append(_led_by(table, tested=part.tested, asked=part.asked, run=source.run))
    return pd.concat(tables, ignore_index=True)


def cross_difference_table(results: CrossResults) -> tuple[pd.DataFrame, list[str]]:
    """Every two sources on each preset, paired on the same episodes, in points, corrected within each preset and choice
    of classes; and which are not compared, since they read other frames of the videos."""
    tables, notes = [], []
    for part in results.parts:
        read = {label: next(iter(found.values())).positions for label, found in part.outcomes.items()}
        pairs = list(combinations(part.outcomes, 2))
        alike = [(one, other) for one, other in pairs if read[one] == read[other]]
        if part.asked == ALL:
            apart = [pair for pair in pairs if pair not in alike]
            notes += [f"{part.tested}: {a} and {b} read other frames, so they are not compared" for a, b in apart]
        if alike:
            table = difference_table(part.experiments, dict(part.outcomes), results.split, alike)
            tables.append(_led_by(table, tested=part.tested, asked=part.asked))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_OF_DIFFERENCES), notes


def overlap_table(results: CrossResults) -> tuple[pd.DataFrame, list[str]]:
    """Every pair of a tested class and one that a source was trained on (train) or chosen on (val) elsewhere; and of
    which sources nobody knows."""
    tables, notes = [], []
    for part in results.parts:
        for source in results.sources if part.asked == ALL else ():
            try:
                found = overlap_of(part.experiments[source.label], results.split)
            except DataError as error:
                notes.append(f"{part.tested}: overlap with {source.label} unknown: {error.in_one_line}")
                continue
            if found:
                tables.append(_led_by(found.table, tested_on=part.tested, run=source.run, method=source.method))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_OF_OVERLAP), notes


def save_cross(results: CrossResults, out: Path) -> CrossTables:
    """Make the tables and write them to `out/tables` as CSV, every digit kept, with `cross.json` on where from."""
    differences, unpaired = cross_difference_table(results)
    overlap, unknown = overlap_table(results)
    tables = CrossTables(accuracy_table(results), differences, overlap, [*results.notes, *unpaired, *unknown])
    for name in _TABLES:
        save_table(getattr(tables, name), out, f"cross_{name}")
    asked = {part.tested: next(iter(part.experiments.values())).settings for part in results.parts}
    if results.split == TEST:
        seen = [looks(settings.data.folder).assign(tested=tested) for tested, settings in asked.items()]
        save_table(pd.concat(seen, ignore_index=True), out, "looks")
    machine = environment(next(iter(asked.values())).compute)
    facts = {"split": results.split, "notes": tables.notes, **commit(), **machine}
    with atomic_path(out / "tables" / _FACTS) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, default=str), encoding="utf-8")
    return tables


def shown(tables: CrossTables) -> str:
    """The table for people: a row per source, a column per preset and episode type, each a mean with its interval;
    below it how many tested classes are not new, and what could not be asked or compared."""
    table, lines = tables.accuracy, list[str]()
    figures = zip(table["accuracy_pct"], table["low_pct"], table["high_pct"], strict=True)
    cells = table.assign(cell=[str(Interval(*found)) for found in figures])
    for asked, rows in cells.groupby("asked", sort=False):
        wide = rows.pivot(index=["run", "method"], columns=["tested", "episode_type"], values="cell")
        index, columns = (list(dict.fromkeys(rows[names].itertuples(index=False, name=None)))
                          for names in (wide.index.names, wide.columns.names))  # fmt: skip
        lines += [f"{asked}, percent with interval", wide.loc[index, columns].to_string(), ""]
    crossed = table[(table["overlap"] != "") & (table["asked"] == ALL)].drop_duplicates(["tested", "run", "method"])
    for row in crossed.itertuples():
        whose = f"{row.run} {row.method} ({row.trained_on or 'adopted'})"
        lines.append(f"{row.tested}: of its classes {whose} was trained on {row.overlap}")
    return "\n".join([*lines, *tables.notes])


_OF_DIFFERENCES = [
    "tested",
    "asked",
    "first",
    "second",
    "episode_type",
    "points",
    "low",
    "high",
    "p",
    "p_holm",
    "clear",
]
_OF_OVERLAP = ["tested_on", "run", "method", "trained_split", *Pair._fields]
"""Columns of tables without a row."""


def _led_by(table: pd.DataFrame, **first: str) -> pd.DataFrame:
    """A table with columns of one value each in front of its own."""
    return table.assign(**first)[[*first, *table]]
