"""One look for all figures: colours, fonts, and how a figure becomes a file.

Figures are made without pyplot: nothing is kept open behind the caller's back, and a notebook shows exactly the file
that lies in the run folder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tmal_core.runtime.files import atomic_path

P = ParamSpec("P")

INK, SOFT, LINE, ACCENT = "#1d2733", "#66717f", "#dde2e8", "#1f6f8b"
METHOD_COLOURS = {
    # Hue says what is learned: nothing (grey; class names alone, sand), temporal adapters (blue), everything (violet).
    # Darkness says how clips are matched.
    "zero_shot": "#cfa25b",
    "protonet": "#a9b2bc",
    "otam": "#55616e",
    "st_adapter_mean": "#8cc4d4",
    "st_adapter": "#1f6f8b",
    "tmal": "#6a3fa0",
    # The study's variants: temporal adapters alone as the method, TMAL with a part left out or exchanged in pale.
    "visual": "#1f6f8b",
    **dict.fromkeys(("with_text", "with_flow", "no_adapters", "adapters_ffn", "prototype", "token"), "#a993c9"),
    **dict.fromkeys(("flow_last", "flow_picture", "flow_coarse", "bimhm", "mean"), "#a993c9"),
}
_FURTHER = ("#c8553d", "#d99a2b", "#3a7d44", "#9c5c8f", "#4a5a9c")
_RC = {
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
DPI = 160


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a function that draws under the house's look, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_RC)
            return draw(*args, **kwargs)

    return wrapper


def method_colours(names: list[str]) -> dict[str, str]:
    """A colour per method; the same method has the same colour in every figure."""
    others = [name for name in names if name not in METHOD_COLOURS]
    found = {name: _FURTHER[i % len(_FURTHER)] for i, name in enumerate(others)}
    return {name: METHOD_COLOURS.get(name, found.get(name)) for name in names}


def picture_axes(axes: Axes, border: str = LINE) -> Axes:
    """Axes that show a picture: no ticks, a thin border."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(border)
    return axes


def save_figure(figure: Figure, run_dir: str | Path, name: str) -> Path:
    """Write `<run_dir>/figures/<name>.png`, atomically, and return its path."""
    path = Path(run_dir) / "figures" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12)
    return path
