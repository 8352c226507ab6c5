"""One look for all figures: colours, fonts, and how a figure becomes a file.

Figures are made without pyplot: nothing is kept open behind the caller's back, and a notebook shows exactly the file
that lies in the run folder.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from itertools import cycle
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure

from tmal_core.runtime.files import atomic_path
from tmal_core.viz.figure_words import in_words

P = ParamSpec("P")

INK, SOFT, LINE, ACCENT = "#1d2733", "#66717f", "#dde2e8", "#1f6f8b"
# Hue says what is learned: nothing (grey; class names alone, sand), temporal adapters (blue), everything (violet).
# Darkness says how clips are matched. TMAL with a part left out or exchanged is pale.
METHOD_COLOURS = {
    "zero_shot": "#cfa25b",
    "protonet": "#a9b2bc",
    "otam": "#55616e",
    "st_adapter_mean": "#8cc4d4",
    "st_adapter": ACCENT,
    "visual": ACCENT,
    "tmal": "#6a3fa0",
    **dict.fromkeys(("with_text", "with_flow", "no_adapters", "adapters_ffn", "prototype", "token"), "#a993c9"),
    **dict.fromkeys(("flow_last", "flow_picture", "flow_coarse", "bimhm", "mean"), "#a993c9"),
}
_FURTHER = ("#c8553d", "#d99a2b", "#3a7d44", "#9c5c8f", "#4a5a9c")
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


def method_colours(names: list[str]) -> dict[str, str]:
    """A colour per method; the same method has the same colour in every figure."""
    further = cycle(_FURTHER)
    return {name: METHOD_COLOURS[name] if name in METHOD_COLOURS else next(further) for name in names}


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


def save_figure(figure: Figure, run_dir: str | Path, name: str) -> Path:
    """Write `<run_dir>/figures/<name>.png`, atomically, and return its path."""
    path = Path(run_dir) / "figures" / f"{name}.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(as_png(figure))
    return path


def as_png(figure: Figure) -> bytes:
    """The file's content, with what the figure shows in words as its description."""
    content = io.BytesIO()
    about = {"Description": in_words(figure)}
    figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, metadata=about)
    return content.getvalue()
