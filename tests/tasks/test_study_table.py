"""A study's table: each figure in its place, TMAL last in its group, the best of each group bold."""

from __future__ import annotations

import pandas as pd

from tmal_core.tasks.study_table import shown
from tmal_core.tasks.table_markup import Cell, markdown

FIGURES = {  # variant -> text at test, accuracy by episode type
    "tmal": ("both", 80.0, 90.0, 70.0), "ts_fsar": ("score", 90.0, 50.0, 99.0),
    "otam": ("none", 60.0, 75.0, 60.0), "visual": ("none", 65.0, 75.0, 55.0),
}  # fmt: skip
KINDS = ("appearance", "order", "mixed")


def accuracy(split: str = "test", less: float = 0.0) -> pd.DataFrame:
    rows = []
    for name, (text, *figures) in FIGURES.items():
        for kind, figure in zip(KINDS, figures, strict=True):
            row = {"method": name, "title": name.upper(), "split": split, "text_at_test": text, "episode_type": kind}
            row |= {"way": 2 if kind == "order" else 5, "shot": 1, "accuracy_pct": figure - less}
            row |= {"low_pct": figure - 10, "high_pct": figure + 1, "seed_spread": float("nan")}
            rows.append(row | {"seeds": 1 if name == "otam" else 5, "episodes": 2000})
    return pd.DataFrame(rows)


def test_figures_are_in_their_place_and_the_best_of_each_group_is_bold():
    table = shown(pd.concat([accuracy("val", less=1.0), accuracy()]), 0.95)
    lines = {line[0]: line for line in table.lines}
    assert list(lines) == ["OTAM", "VISUAL", "TS_FSAR", "TMAL"], "without names first, TMAL last"
    assert table.head[3:] == ["appearance (5-way)", "order (2-way)", "mixed (5-way)", "mean of families"]
    assert [line[2] for line in lines.values()] == ["-", "5", "5", "5"]
    assert lines["TMAL"][3:] == [
        Cell("80.0", "[70, 81]"), Cell("90.0", "[80, 91]", bold=True), Cell("70.0", "[60, 71]"),
        Cell("85.0", bold=True),
    ]  # fmt: skip
    bold = {name: [cell.bold for cell in line[3:]] for name, line in lines.items()}
    assert bold["TS_FSAR"] == [True, False, True, False] and bold["OTAM"] == [False, True, True, False]
    assert bold["VISUAL"] == [True, True, False, True], "what is equally high is bold in both"
    assert "test, 1-shot" in markdown(table) and "95 %" in markdown(table) and "2,000 episodes" in markdown(table)


def test_where_all_read_names_there_is_one_group():
    named = accuracy()
    named = named[named["text_at_test"] != "none"]
    assert [line[0] for line in shown(named, 0.9).lines] == ["TS_FSAR", "TMAL"]
