"""A page in a notebook: what it asks goes to methods of the widget, what came out goes back as a view or as news."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import anywidget
import traitlets

from tmal_core.errors import TmalError
from tmal_core.viz.widgets.clip_sheets import ClipSheet

MAX_SHEETS = 256
"""Clips that are kept ready for a page."""


class PageWidget(anywidget.AnyWidget):
    """A widget that is drawn by a page's scripts.

    Attributes:
        ASKED: what its page may ask: each is a method of that name, with an underscore before it.
        view: what the page shows now.
    """

    ASKED: ClassVar[frozenset[str]] = frozenset()
    view = traitlets.Dict().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._sheet = lru_cache(MAX_SHEETS)(self._made_sheet)
        self.on_msg(self._asked)

    def picture(self) -> bytes:
        """What is shown as PNG, for those who have no kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a picture beside it."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is not None:
            data = shown[0] if isinstance(shown, tuple) else shown
            data["image/png"] = self.picture()
        return shown

    def _asked(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        """One message of the page; errors that a user can cause are said there, others are bugs and raised."""
        asked = dict(message)
        try:
            do = asked.pop("do")
            if do not in self.ASKED:
                raise ValueError(f"expected one of {', '.join(sorted(self.ASKED))}, got {do!r}")
            getattr(self, f"_{do}")(**asked)
        except TmalError as error:
            self._tell(message, error=error.in_one_line)

    def _made_sheet(self, row: int) -> ClipSheet:
        """A clip for the page.

        Raises:
            TmalError: it cannot be read.
        """
        raise NotImplementedError

    def _clips(self, wanted: Sequence[dict[str, int]]) -> None:
        """Rows under the numbers that the page gave its questions: asked at once, answered one by one."""
        for one in wanted:
            try:
                sheet = self._sheet(one["row"])
            except TmalError as error:
                self._tell(one, error=error.in_one_line)
            else:
                facts, pictures = sheet.facts, sheet.pictures
                self.send({"id": one["id"], "facts": facts, "kinds": list(pictures)}, list(pictures.values()))

    def _tell(self, message: dict[str, Any], **news: Any) -> None:
        self.send({**({"id": message["id"]} if "id" in message else {}), **news})
