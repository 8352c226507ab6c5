"""A figure in a notebook that is drawn anew in its place while something runs. The only place that loads IPython."""

from __future__ import annotations

import io
from collections.abc import Callable

from IPython.display import DisplayHandle, Image, display
from matplotlib.figure import Figure

from tmal_core.viz.style import DPI


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
        content = io.BytesIO()
        self.figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12)
        picture = Image(data=content.getvalue(), retina=True)
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
