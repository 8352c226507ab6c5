"""Charts of the report as geometry: panels of bars or of lines, in units of the view box of `report_page/charts.html`.

Values come from the tables of the run folder as they are; here they are only placed. Every mark carries the sentence
that a reader hears of it, and sees when pointing at it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import pandas as pd

from tmal_core.viz.plots import NOTES
from tmal_core.viz.style import ACCENT, SOFT, method_marks

WIDTH, INSET = 300, 8
NAME, BAR, AXIS = 14, 19, 20
"""Heights of a line of a bar's name, of the bar itself with room around, and of the axis below all of them."""
QUARTERS = (0, 25, 50, 75, 100)
HEIGHT, LEFT = 150, 34
"""Of a panel of lines: its height, and the room for its axis."""
DASHES = {
    "tmal": "",
    "st_adapter": "9 3 2 3",
    "otam": "2 2.5",
    "protonet": "5 3",
    "zero_shot": "12 4",
    "clip_fsar": "3 5",
    "trx": "6 2 1 2 1 2",
}
"""A second mark beside colour; methods without one of their own take them in turn."""


@dataclass(frozen=True)
class Bar:
    """One value with its interval; places are x in the view box."""

    names: tuple[str, ...]
    """A line each."""
    text: str
    said: str
    colour: str
    start: float
    end: float
    low: float
    high: float
    y: float
    faint: bool = False

    @property
    def height(self) -> int:
        return NAME * len(self.names) + BAR

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class BarPanel:
    """Bars below each other, over one axis."""

    title: str
    note: str
    bars: list[Bar]
    ticks: list[tuple[float, str]]
    line: float
    line_text: str
    height: float
    is_bars: bool = True


@dataclass(frozen=True)
class Point:
    """One value of a line, with its interval where it has one."""

    x: float
    y: float
    said: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """The values of a method."""

    name: str
    colour: str
    dash: str
    points: list[Point]

    @property
    def path(self) -> str:
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class LinePanel:
    """Lines over one pair of axes."""

    title: str
    note: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    height: float = HEIGHT
    is_bars: bool = False


@dataclass(frozen=True)
class Chart:
    """Panels that are read together; a chart without panels is not shown."""

    title: str
    how: str
    panels: Sequence[BarPanel | LinePanel]
    legend: Sequence[Line] = ()


def results_chart(table: pd.DataFrame) -> Chart:
    """Accuracy of each method by episode type, of a table as `tasks.evaluate.result_table` makes it."""
    marks = method_marks(table["method"].unique().tolist())
    panels: list[BarPanel] = []
    for episode_type, rows in table.groupby("episode_type", sort=False):
        bars: list[Bar] = []
        first, y = rows.iloc[0], 0
        for row in rows.itertuples():
            span = interval(row.low_pct, row.high_pct)
            said = f"{row.title}, {episode_type}: {row.accuracy_pct:.1f} %, interval {span}, {row.episodes:,} episodes"
            start, end, low, high = _places([0.0, row.accuracy_pct, row.low_pct, row.high_pct], 0, 100)
            text, colour = f"{row.accuracy_pct:.1f}", marks[row.method].colour
            bars.append(Bar((row.title,), text, said, colour, start, end, low, high, y))
            y += bars[-1].height
        ticks = [(place, str(at)) for place, at in zip(_places(QUARTERS, 0, 100), QUARTERS, strict=True)]
        line, chance = _places([first.chance_pct], 0, 100)[0], f"chance {first.chance_pct:.0f} %"
        note = f"{first.way}-way {first.shot}-shot" + (f" · {NOTES[episode_type]}" if episode_type in NOTES else "")
        panels.append(BarPanel(str(episode_type), note, bars, ticks, line, chance, y + AXIS))
    how = "The thin line is the interval, the red mark is chance."
    return Chart("Accuracy by episode type, in percent", how, panels)


def differences_chart(table: pd.DataFrame, titles: Mapping[str, str]) -> Chart:
    """First method minus second in points by episode type, of a table as `tasks.evaluate.difference_table` makes it."""
    reach = max(1.0, table[["low", "points", "high"]].abs().max().max())
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 25, 50, 100) if reach / step <= 2.5 or step == 100)
    marks = [-2 * step, -step, 0, step, 2 * step]
    panels: list[BarPanel] = []
    for episode_type, rows in table.groupby("episode_type", sort=False):
        bars: list[Bar] = []
        y = 0
        for row in rows.itertuples():
            names = (titles.get(row.first, row.first), f"− {titles.get(row.second, row.second)}")
            said = f"{' '.join(names)}, {episode_type}: {signed(row.points)} points, "
            said += f"interval {signed_interval(row.low, row.high)}, {'clear' if row.clear else 'not clear'}"
            start, end, low, high = _places([0.0, row.points, row.low, row.high], -reach, reach)
            ends = (min(start, end), max(start, end), low, high)
            colour = ACCENT if row.clear else SOFT
            bars.append(Bar(names, signed(row.points), said, colour, *ends, y, not row.clear))
            y += bars[-1].height
        places = zip(_places(marks, -reach, reach), marks, strict=True)
        ticks = [(place, signed(at, 0 if step >= 1 else 1)) for place, at in places if abs(at) <= reach]
        panels.append(BarPanel(str(episode_type), "", bars, ticks, _places([0.0], -reach, reach)[0], "", y + AXIS))
    how = "First method minus second, in points, with the interval; pale where the difference is not clear."
    return Chart("Differences between methods", how, panels)


def training_chart(table: pd.DataFrame, titles: Mapping[str, str], val_episodes: int) -> Chart:
    """Loss and accuracies over training episodes, of a table as notebook 3 saves it."""
    columns = {"loss": "training loss", "train_pct": "training accuracy, %", "val_pct": "validation, mean, %"}
    columns |= {name: f"validation: {name[4:-4]}, %" for name in table if name.startswith("val_") and name != "val_pct"}
    methods = table["method"].unique().tolist()
    panels: list[LinePanel] = []
    for column, title in columns.items():
        if column not in table:
            continue
        last = float(table["episode"].max())
        top = 100.0 if column.endswith("_pct") else _rounded_up(float(table[column].max()))
        counted = f", {val_episodes:,} episodes of each type" if column.startswith("val_") else ""
        unit = " %" if column.endswith("_pct") else ""
        lines = []
        for line in _lines(methods):
            rows, name = table[table["method"] == line.name].dropna(subset=[column]), titles.get(line.name, line.name)
            points = [
                Point(
                    _x(episode / last),
                    _y(value / top),
                    f"{name}, {title.removesuffix(', %')}, after {episode:,} training episodes: "
                    f"{value:.{1 if unit else 2}f}{unit}{counted}",
                )
                for episode, value in zip(rows["episode"], rows[column], strict=True)
            ]
            lines.append(replace(line, name=name, points=points))
        x_ticks = [(_x(share), f"{share * last:,.0f}") for share in (0, 0.5, 1)]
        panels.append(LinePanel(title, "", lines, x_ticks, _y_ticks(top)))
    how = "Over training episodes; every dot is a validation."
    return Chart("Training curves", how, panels, panels[0].lines if panels else ())


def grid_chart(table: pd.DataFrame, axis: str, others: int) -> Chart:
    """Accuracy by the number of classes or of examples, of a table as `tasks.evaluate.way_shot_table` makes it.

    Args:
        axis: "way" or "shot".
        others: of the other number, which of its values is shown (the first one there is, where it is not).
    """
    kept = "shot" if axis == "way" else "way"
    titles = dict(zip(table["method"], table["title"], strict=True))
    panels: list[LinePanel] = []
    unit = {"way": "classes", "shot": "examples per class"}[axis]
    for episode_type, every in table.groupby("episode_type", sort=False):
        fixed = others if (every[kept] == others).any() else int(every[kept].iloc[0])
        rows = every[(every[kept] == fixed) & every["accuracy_pct"].notna()]
        steps = sorted(rows[axis].unique())
        if len(steps) < 2:
            continue
        lines = []
        at = [0.1 + 0.8 * place / (len(steps) - 1) for place in range(len(steps))]
        for number, line in enumerate(_lines(table["method"].unique().tolist())):
            points: list[Point] = []
            aside = 0.012 * (number - 2)  # so that intervals do not hide each other
            for row in rows[rows["method"] == line.name].sort_values(axis).itertuples():
                of = getattr(row, axis)
                said = f"{row.title}, {episode_type}, {row.way}-way {row.shot}-shot: {row.accuracy_pct:.1f} %, "
                said += f"interval {interval(row.low_pct, row.high_pct)}, {row.episodes:,.0f} episodes, "
                said += f"chance {row.chance_pct:.0f} %"
                y, low, high = (_y(value / 100) for value in (row.accuracy_pct, row.low_pct, row.high_pct))
                ends = (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)
                points.append(Point(_x(at[steps.index(of)] + aside), y, said, *ends))
            lines.append(replace(line, name=titles[line.name], points=points))
        x_ticks = [(_x(place), str(step)) for place, step in zip(at, steps, strict=True)]
        panels.append(LinePanel(str(episode_type), f"{fixed}-{kept}", lines, x_ticks, _y_ticks(100.0)))
    title = f"Accuracy by the number of {unit}, in percent"
    return Chart(title, "A thin line is the interval.", panels, panels[0].lines if panels else ())


def interval(low: float, high: float) -> str:
    """Both ends with one decimal.

    >>> interval(70.273, 96.09), interval(float("nan"), 1.0)
    ('70.3 to 96.1', 'unknown')
    """
    return f"{low:.1f} to {high:.1f}" if math.isfinite(low) and math.isfinite(high) else "unknown"


def signed(value: float, digits: int = 1) -> str:
    """With its sign, where it has one after rounding.

    >>> signed(-0.04), signed(-3.14), signed(20, 0)
    ('0.0', '−3.1', '+20')
    """
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if not float(text) else text.replace("-", "−")


def signed_interval(low: float, high: float) -> str:
    """Both ends with their signs."""
    return f"{signed(low)} to {signed(high)}" if math.isfinite(low) and math.isfinite(high) else "unknown"


def _lines(methods: Sequence[str]) -> list[Line]:
    """Lines of methods without points, each with its colour and its dashes."""
    marks, further = method_marks(list(methods)), cycle(DASHES.values())
    return [Line(name, marks[name].colour, DASHES[name] if name in DASHES else next(further), []) for name in methods]


def _places(values: Sequence[float], low: float, high: float) -> list[float]:
    scale = (WIDTH - 2 * INSET) / (high - low)
    return [round(INSET + (value - low) * scale, 2) for value in values]


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - 2 * INSET)


def _y(share: float) -> float:
    return INSET + (1 - share) * (HEIGHT - AXIS - INSET)


def _y_ticks(top: float) -> list[tuple[float, str]]:
    return [(_y(share), f"{share * top:.3g}") for share in (0, 0.25, 0.5, 0.75, 1)]


def _rounded_up(value: float) -> float:
    """To one or two digits that a reader can take quarters of.

    >>> _rounded_up(2.37), _rounded_up(0.9), _rounded_up(0.0)
    (4.0, 1.0, 1.0)
    """
    if not value > 0 or not math.isfinite(value):
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1.0, 2.0, 4.0, 8.0, 10.0) if value <= step * unit)
