"""The chooser of explanations in a notebook: what is chosen goes to the state, a picture with its words comes back."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from tmal_core.errors import TmalError
from tmal_core.models.methods import METHODS
from tmal_core.viz.style import as_png
from tmal_core.viz.widgets import page_files
from tmal_core.viz.widgets.explanation_state import ExplanationState

MAY_CHOOSE = frozenset({"method", "episode_type", "number", "query", "label", "what"})


class ExplanationChooser(anywidget.AnyWidget):
    """An interactive figure of the maps of one answer.

    Args:
        state: what is shown; it may be changed from Python too, followed by `refresh`.

    Attributes:
        view: what is chosen, what can be, and the figure in words.
        picture: the figure as PNG.
    """

    _esm = page_files.scripts("dom", "explanations")
    _css = page_files.style("inspector")
    view = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)

    def __init__(self, state: ExplanationState) -> None:
        super().__init__()
        self.state = state
        self.on_msg(self._asked)
        self.refresh()

    def refresh(self) -> None:
        """Show the state as it is now."""
        state = self.state
        question, table = state.asked.question, state.answers.catalog.table
        shown = table["class_name"].to_numpy(str)[question.query]
        options: dict[str, list[Any]] = {
            "method": [[METHODS[name].title, name] for name in state.answers.methods],
            "episode_type": list(state.answers.episode_types),
            "query": [[f"{number + 1}: {name}", number] for number, name in enumerate(shown)],
            "label": [[name, number] for number, name in enumerate(question.classes)],
            "what": state.inputs,
        }
        self.picture = as_png(state.figure(), state.in_words())
        self.view = {
            "choice": {**vars(state.choice), "label": state.label},
            "options": options,
            "words": state.in_words(),
        }

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and beside it its picture for those who have no kernel."""
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, about = shown if isinstance(shown, tuple) else (shown, {})
        data["image/png"] = self.picture
        return data, {**about, "image/png": {"alt": self.view["words"]}}

    def _asked(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        """What a page chose; errors that a user can cause are said there, others are bugs and raised."""
        if wrong := set(message["changes"]) - MAY_CHOOSE:
            raise ValueError(f"expected choices among {', '.join(sorted(MAY_CHOOSE))}, got {min(wrong)!r}")
        try:
            self.state.choose(**message["changes"])
        except TmalError as error:
            self.send({"error": error.in_one_line})
            return
        self.refresh()
        self.send({"error": ""})
