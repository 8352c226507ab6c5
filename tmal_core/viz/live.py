"""Figures in a notebook: shown as the file that is saved, or drawn anew in place while something runs.

The only place that loads IPython.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from IPython.display import DisplayHandle, Image, display
from matplotlib.figure import Figure

from tmal_core.viz.figure_words import in_words
from tmal_core.viz.style import as_png, save_figure


def show(figure: Figure, run_dir: str | Path, name: str, alt: str = "") -> None:
    """Save a figure as `<run_dir>/figures/<name>.png` and show that file; `alt` says in words what is seen, where
    `in_words` would say less."""
    display(Image(filename=save_figure(figure, run_dir, name, alt), retina=True, alt=alt or in_words(figure)))


class LiveFigure:
    """Shown at the first `update`, replaced by every further one; an executed notebook holds the last one alone.

    Args:
        draw: makes the figure as it is now.

    Attributes:
        figure: the last one drawn; None before the first.
    """

    def __init__(self, draw: Callable[[], Figure]) -> None:
        self._draw = draw
        self._handle: DisplayHandle | None = None
        self.figure: Figure | None = None

    def update(self) -> None:
        """Draw again."""
        self.figure = self._draw()
        picture = Image(data=as_png(self.figure), retina=True, alt=in_words(self.figure))
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
