"""What a figure shows, in words and with its numbers: read from its artists, for those who do not see it.

A figure is saved with these words inside (`style.save_figure`), so whoever shows the file has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter

LONGEST, FEW = 2400, 10
"""Characters in all, and up to how many values are named one by one."""


def in_words(figure: Figure) -> str:
    """What its drawing function says it is (its label), then panel by panel titles, values, and how many pictures.

    >>> figure = Figure(label="Two lines.")
    >>> _ = figure.subplots().plot([1, 2, 3], [0.5, 0.25, 0.125], label="loss")
    >>> in_words(figure)
    'Two lines. loss from 0.5 at 1 to 0.125 at 3.'
    """
    names = _legend(figure)
    parts = [str(figure.get_label() or "A figure.").rstrip("."), *_parts(figure, names)]
    text = ". ".join(" ".join(part.split()) for part in dict.fromkeys(parts) if part) + "."
    return text if len(text) <= LONGEST else text[: text.rindex(" ", 0, LONGEST)] + " ..."


def _parts(figure: FigureBase, names: dict[str, str]) -> Iterator[str]:
    """A sentence for each panel; pictures of a row are one."""
    title = figure.get_suptitle()
    rows: list[str] = []
    pictures: list[Axes] = []
    own: list[Axes] = figure._localaxes  # type: ignore[attr-defined] # no public name leaves out those of subfigures
    local = [axes for axes in own if axes.get_label() != "<colorbar>"]
    for axes in local:
        if axes.images and not axes.lines and not axes.texts:
            if pictures and (axes.get_ylabel() or axes.get_title(loc="left") or axes.get_title()):
                yield _pictures(pictures, title)
                pictures, title = [], ""
            pictures.append(axes)
            continue
        rows = _row_names(axes) or rows  # panels side by side share them
        if said := _panel(axes, rows, names):
            yield f"{title}: {said}" if title else said
            title = ""
    if pictures:
        yield _pictures(pictures, title)
        title = ""
    if title and not figure.subfigs:
        yield title
    for part in figure.subfigs:
        yield from _parts(part, names)


def _panel(axes: Axes, rows: list[str], names: dict[str, str]) -> str:
    """Title and values of one pair of axes."""
    title = axes.get_title(loc="left") or axes.get_title()
    notes: list[str] = []
    values: list[str] = []
    for text in axes.texts:
        if isinstance(text, Annotation) and text.xycoords == "data" and rows:
            at = round(float(text.xy[1]))
            values.append(f"{rows[at]} {text.get_text()}" if 0 <= at < len(rows) else text.get_text())
        elif text.get_text() not in ("", "chance"):
            notes.append(text.get_text())
    notes = notes if len(notes) <= FEW else [f"{len(notes)} values from {notes[0]} to {notes[-1]}"]
    values += [said for line in axes.lines if (said := _line(line, names, _columns(axes)))]
    for image in axes.images:
        values += _map(image.get_array())
    for found in axes.collections:
        offsets: Any = np.ma.asarray(found.get_offsets())
        if len(offsets) > 1 and offsets.ndim == 2:
            low, high = offsets.min(axis=0), offsets.max(axis=0)
            values.append(f"{len(offsets)} points, {low[0]:.3g} to {high[0]:.3g} by {low[1]:.3g} to {high[1]:.3g}")
    heights = [float(bar.get_height()) for bar in axes.patches if hasattr(bar, "get_height")]
    if heights:
        values.append(f"{len(heights)} bars up to {max(heights):.4g}")
    head = " ".join([title, f"({'; '.join(notes)})" if notes else ""]).strip()
    about = ", ".join(part for part in (axes.get_ylabel(), axes.get_xlabel()) if part)
    said = "; ".join(dict.fromkeys(values))
    return ": ".join(part for part in (head, about if values else "", said) if part)


def _line(line: Line2D, names: dict[str, str], columns: list[str]) -> str:
    """First and last value of a line with a course; not of an interval or an axis."""

    def place(at: float) -> str:
        return columns[round(at)] if 0 <= round(at) < len(columns) else f"{at:g}"

    x, y = (np.asarray(values, float) for values in line.get_data())
    if len(x) < 3 or not np.isfinite(y).any():
        return ""
    label = str(line.get_label())
    unnamed = "a line" if line.get_linestyle() == "-" else "a dashed line"
    name = names.get(to_hex(line.get_color()), unnamed) if label.startswith("_") else label
    first, last = np.flatnonzero(np.isfinite(y))[[0, -1]]
    return f"{name} from {y[first]:.3g} at {place(x[first])} to {y[last]:.3g} at {place(x[last])}"


def _pictures(cells: list[Axes], title: str) -> str:
    """How many pictures, what stands beside and below them, and the range of maps laid over them."""
    head = title or cells[0].get_title(loc="left") or cells[0].get_title()
    ranges = [part for cell in cells for part in _map(cell.images[-1].get_array())]
    labels = [text for cell in cells for text in (cell.get_ylabel(), cell.get_xlabel()) if text]
    shown = f"{len(cells)} pictures" if len(cells) > 1 else "a picture"
    below = f" ({', '.join(labels)})" if labels else ""
    maps = f", {ranges[0]} and alike" if len(ranges) > 1 else f", {ranges[0]}" if ranges else ""
    return f"{head}: {shown}{below}{maps}" if head else f"{shown}{below}{maps}"


def _map(values: object) -> list[str]:
    """A map's size and range; nothing for pictures."""
    array: Any = np.ma.asarray(values)
    if array.ndim != 2 or array.dtype == np.uint8 or not np.isfinite(array.astype(float)).any():
        return []
    low, high = np.nanmin(array.astype(float)), np.nanmax(array.astype(float))
    return [f"a map of {array.shape[0]} by {array.shape[1]} values from {low:.3g} to {high:.3g}"]


def _row_names(axes: Axes) -> list[str]:
    """Names of rows, where ticks 0, 1, ... carry words."""
    names = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    is_named = any(name and not name.replace("−", "-").lstrip("-").replace(".", "").isdigit() for name in names)
    return names if is_named else []


def _columns(axes: Axes) -> list[str]:
    """What stands below places 0, 1, ..., where ticks were named."""
    axis = axes.xaxis
    is_named = isinstance(axis.get_major_locator(), FixedLocator) and isinstance(
        axis.get_major_formatter(), FuncFormatter
    )
    return [label.get_text() for label in axes.get_xticklabels()] if is_named else []


def _legend(figure: Figure) -> dict[str, str]:
    """Colour -> name, of legends of the whole figure and of its panels."""
    legends = [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]
    return {
        to_hex(handle.get_color()): text.get_text()
        for legend in legends
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
        if isinstance(handle, Line2D)
    }
