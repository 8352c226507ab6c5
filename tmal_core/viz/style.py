"""One look for all figures: colours, fonts, and how a figure becomes a file.

Figures are made without pyplot: nothing is kept open behind the caller's back, and a notebook shows exactly the file
that lies in the run folder.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure

from tmal_core.runtime.files import atomic_path
from tmal_core.viz.figure_words import in_words

P = ParamSpec("P")

INK, SOFT, FAINT, LINE = "#1d2733", "#616b70", "#a9b2bc", "#dde2e8"
ACCENT, WARN, RIGHT = "#236f8d", "#b5452b", "#387e4f"
"""Colours that are used together are 10 apart in CAM02-UCS, for people with any deficiency of colour vision, or carry a
second mark; text stands out by 4.5 to 1 (`tests/viz/test_palettes.py`)."""
SPLIT_COLOURS = {"train": ACCENT, "val": "#d99a2b", "test": "#683fa0"}
# Hue says what is learned: nothing (grey; class names alone, sand), temporal adapters (blue), everything (violet).
# Darkness says how clips are matched. TMAL with a part left out or exchanged is pale, with one that is tried is brown,
# with several of these olive.
_PALE, _TRIED, _TOGETHER = "#a692c3", "#57290f", "#6b4a12"
METHOD_COLOURS = {
    "zero_shot": "#bfa265",
    "protonet": FAINT,
    "otam": "#445158",
    "st_adapter_mean": "#81c7ed",
    "st_adapter": ACCENT,
    "visual": ACCENT,
    "tmal": "#7541b8",
    **dict.fromkeys(("earlier", "with_text", "with_flow", "no_adapters", "adapters_ffn", "prototype", "token"), _PALE),
    **dict.fromkeys(("flow_last", "flow_picture", "flow_coarse", "bimhm", "mean"), _PALE),
    **dict.fromkeys(("gate", "temporal_attention", "ema", "task_conditioned"), _TRIED),
    **dict.fromkeys(("diagonal", "tuples", "otam+diagonal", "otam+tuples"), _TRIED),
    **dict.fromkeys(("side", "frames_16"), _TRIED),
    **dict.fromkeys(("gate_diagonal", "gate_tuples", "task_diagonal"), _TOGETHER),
    **dict.fromkeys(("gate_task_diagonal", "gate_task_attention"), _TOGETHER),
    "trx": "#7281e5",
}
_FURTHER = ("#cc5029", "#eab12d", "#5a8951", "#aa2f76", "#293789")
MARKS = ("s", "^", "o", "D", "v", "P", "*", "X", "<", ">", "p", "h")
CLASS_COLOURS = ("#265968", "#bb3b0e", "#6a3da4", "#0f864f", "#b58e0c", "#101c4a", "#c553a0", "#6b3f2e")
CLASS_COLOURS_ON_DARK = ("#3fcaf2", "#f86f2a", "#ab7dff", "#8abd7b", "#f2d04b", "#eef3ff", "#e78ab8", "#a2775c")
"""Of points by class, on white and on a dark page; 3 to 1 to their ground."""
CLASS_MARKS = MARKS[:9]


class Mark(NamedTuple):
    """How a series of points is told from others: by either."""

    colour: str
    shape: str
    """A matplotlib marker."""


MATCHER_MARKS = {
    "mean": Mark(METHOD_COLOURS["protonet"], "^"),
    "diagonal": Mark(_FURTHER[1], "D"),
    "otam": Mark(METHOD_COLOURS["otam"], "o"),
    "otam_centred": Mark(_FURTHER[0], "s"),
}
"""Of the rows of `tmal baselines`: frozen encoders, told apart by how their clips are matched."""
_RC: dict[Any, Any] = {  # names of rcParams, which are a type of their own
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "legend.frameon": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
DPI = 160


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a function that draws under the house's look, whatever the user's matplotlibrc says.

    A figure that was given no label gets the first line of the function's docstring: `in_words` begins with it.
    """

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_RC)
            figure = draw(*args, **kwargs)
            if not figure.get_label():
                figure.set_label((draw.__doc__ or "").strip().partition("\n")[0])
            return figure

    return wrapper


def method_marks(names: Iterable[str]) -> dict[str, Mark]:
    """A mark per method, or whatever else has a line of its own; the same method has the same one in every figure."""
    known = {name: Mark(colour, MARKS[n % len(MARKS)]) for n, (name, colour) in enumerate(METHOD_COLOURS.items())}
    further = (Mark(_FURTHER[n % len(_FURTHER)], MARKS[n % len(MARKS)]) for n in count())
    return {name: known[name] if name in known else next(further) for name in names}


def class_marks(count: int) -> list[Mark]:
    """A mark for each of so many classes: no two alike up to 72, none of the first 8 of one colour or shape."""
    places = ((n % len(CLASS_COLOURS), n % len(CLASS_MARKS)) for n in range(count))
    return [Mark(CLASS_COLOURS[colour], CLASS_MARKS[shape]) for colour, shape in places]


def picture_axes(axes: Axes, border: str = LINE) -> Axes:
    """Axes that show a picture: no ticks, a thin border."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(border)
    return axes


def title_of(figure: Figure | SubFigure, text: str, size: float = 9.5) -> None:
    """A bold title at the left."""
    figure.suptitle(text, x=0.005, ha="left", fontsize=size, fontweight="bold", color=INK)


def colour_bar(figure: Figure, mappable: ScalarMappable, label: str, **place: Any) -> None:
    """The scale of colours, without a frame."""
    bar = figure.colorbar(mappable, **place)
    bar.set_label(label)
    bar.outline.set_visible(False)


def save_figure(figure: Figure, run_dir: str | Path, name: str, alt: str = "") -> Path:
    """Write `<run_dir>/figures/<name>.png`, atomically, and return its path; `alt` as of `as_png`."""
    path = Path(run_dir) / "figures" / f"{name}.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(as_png(figure, alt))
    return path


def as_png(figure: Figure, alt: str = "") -> bytes:
    """The file's content, with what the figure shows in words (`alt`, or `in_words`) as its description."""
    content = io.BytesIO()
    about = {"Description": alt or in_words(figure)}
    figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, metadata=about)
    return content.getvalue()
