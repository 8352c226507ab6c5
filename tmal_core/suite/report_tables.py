"""Tables of the report: the small one that it opens with, and any CSV of the run folder as cells that sort."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tmal_core.errors import RunError
from tmal_core.suite.report_charts import interval, signed

MAX_ROWS = 200
NOBODY = "none whose interval is above chance"


@dataclass(frozen=True)
class Cell:
    """What stands in it, and what it is sorted by."""

    text: str
    key: str


@dataclass(frozen=True)
class Table:
    """One CSV file, or the first rows of it."""

    name: str
    columns: list[tuple[str, bool]]
    """Titles, and whether all of their cells are numbers."""
    rows: list[list[Cell]]
    total: int
    alike: str = ""
    """Columns that say the same in every row, and what; they are not among the others."""

    @property
    def title(self) -> str:
        """For people: what notebook it is of, and what is in it."""
        number, _, rest = self.name.removesuffix(".csv").partition("_")
        return f"{number} · {_title(rest)}" if number.isdigit() else _title(self.name.removesuffix(".csv"))


@dataclass(frozen=True)
class Score:
    """An accuracy in the small table."""

    text: str
    interval: str
    highest: bool


@dataclass(frozen=True)
class SmallTable:
    """Method by episode type."""

    episode_types: list[tuple[str, int, str]]
    """Name, way, and chance in percent."""
    rows: list[tuple[str, list[Score | None]]]


def read_table(path: Path, as_text: bool = False) -> pd.DataFrame:
    """A CSV file of the run folder.

    Args:
        as_text: every cell as it stands there.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False) if as_text else pd.read_csv(path)
    except (OSError, ValueError) as error:
        got = f"{path}: {' '.join(str(error).split())}"
        raise RunError("a readable CSV table", got, "Remove the file, or run its notebook again.") from error


def sorting_table(path: Path) -> Table:
    """A CSV file with every column's numbers alike.

    Raises:
        RunError: it cannot be read.
    """
    table = read_table(path, as_text=True)
    same = [name for name in table if len(table) > 1 and table[name].nunique() == 1]
    alike = ", ".join(f"{_title(str(name))} {table[name].iloc[0] or 'none'}" for name in same)
    columns, cells = [], []
    for name in table.columns.drop(same):
        texts = table[name].tolist()
        numbers = pd.to_numeric(table[name], errors="coerce")
        numeric = (
            bool(len(table)) and bool((numbers.notna() | (table[name] == "")).all()) and bool(numbers.notna().any())
        )
        columns.append((_title(str(name)), numeric))
        shown = _alike(texts, str(name)) if numeric else texts
        cells.append([Cell(text, key) for text, key in zip(shown[:MAX_ROWS], texts, strict=False)])
    return Table(path.name, columns, [list(row) for row in zip(*cells, strict=True)], len(table), alike)


def small_table(table: pd.DataFrame) -> SmallTable:
    """Method by episode type, of a table as `tasks.evaluate.result_table` makes it."""
    types = table.drop_duplicates("episode_type")
    highest = table.groupby("episode_type")["accuracy_pct"].transform("max")
    table = table.assign(highest=table["accuracy_pct"] == highest)
    rows = []
    for (_, title), found in table.groupby(["method", "title"], sort=False):
        by_type = {row.episode_type: _score(row) for row in found.itertuples()}
        scores = [by_type.get(name) for name in types["episode_type"]]
        rows.append((str(title), scores))
    heads = [(row.episode_type, row.way, f"{row.chance_pct:.0f}") for row in types.itertuples()]
    return SmallTable(heads, rows)


def _score(row: Any) -> Score:
    ends = interval(row.low_pct, row.high_pct).replace(" to ", "–")
    return Score(f"{row.accuracy_pct:.1f}", ends, bool(row.highest))


def highest_by_method(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Each method that is highest somewhere: its title, and where, with values; most first.

    At last the types where the highest is not above chance: there is nothing to be proud of.
    """
    best = table.loc[table.groupby("episode_type", sort=False)["accuracy_pct"].idxmax()]
    above = best["low_pct"] > best["chance_pct"]
    found: dict[str, list[str]] = {}
    for row in best[above].itertuples():
        found.setdefault(str(row.title), []).append(f"{row.episode_type} {row.accuracy_pct:.1f} %")
    ordered = sorted(found.items(), key=lambda pair: -len(pair[1]))
    lost = [f"{row.episode_type} {row.accuracy_pct:.1f} %" for row in best[~above].itertuples()]
    return [(title, ", ".join(where)) for title, where in [*ordered, *([(NOBODY, lost)] if lost else [])]]


def clear_differences(table: pd.DataFrame, titles: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of methods with a clear difference: their titles, and where, with values."""
    found: dict[str, list[str]] = {}
    for row in table[table["clear"]].itertuples():
        pair = f"{titles.get(row.first, row.first)} − {titles.get(row.second, row.second)}"
        ends = f"[{signed(row.low)}, {signed(row.high)}]"
        found.setdefault(pair, []).append(f"{row.episode_type} {signed(row.points)} {ends}")
    return [(pair, ", ".join(where)) for pair, where in found.items()]


def _title(name: str) -> str:
    """A column's name for people.

    >>> _title("accuracy_pct"), _title("error_px")
    ('accuracy, %', 'error, px')
    """
    for ending, unit in (("_pct", ", %"), ("_px", ", px"), ("_ms", ", ms")):
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " ") + unit
    return name.replace("_", " ")


def _alike(texts: list[str], name: str) -> list[str]:
    """Numbers of a column with as many decimals each, one for percents and points; the CSV keeps every digit."""
    if all(text.lstrip("-").isdigit() or not text for text in texts):
        return [f"{int(text):,}" if text and abs(int(text)) >= 10_000 else text for text in texts]
    values = [float(text) for text in texts if text]
    largest = max(map(abs, values))
    digits = 1 if name.endswith("_pct") or name in ("points", "low", "high") else 2 if largest >= 10 else 3
    if largest < 0.001:
        return [f"{float(text):.2e}" if text else "" for text in texts]
    return [f"{float(text):.{digits}f}" if text else "" for text in texts]
