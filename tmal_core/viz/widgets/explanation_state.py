"""What the chooser of explanations knows, without a widget: what is chosen, its maps, and their figure.

Whatever cannot be had is a `TmalError` and leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tmal_core.analysis.deletion import Input
from tmal_core.analysis.inspection import Question
from tmal_core.analysis.measures import explain
from tmal_core.analysis.target import Target
from tmal_core.errors import EpisodeError
from tmal_core.models.methods import METHODS
from tmal_core.viz.clip_plots import as_pictures
from tmal_core.viz.explanation_plots import explanation_strip, strip_in_words, with_verdicts
from tmal_core.viz.flow_colours import flow_to_rgb
from tmal_core.viz.widgets.split_answers import Drawn, SplitAnswers

Passes = Mapping[tuple[str, str], bool]
"""Input and measure -> whether it reaches the bars; of what was not measured nothing is said."""


@dataclass(frozen=True)
class ExplanationChoice:
    """What a user chose."""

    method: str
    episode_type: str
    number: int = 0
    """Of the episode."""
    query: int = 0
    label: int | None = None
    """Of the class that is explained; None: the one that is answered."""
    what: Input = "frames"
    """Whose patches are explained."""


class ExplanationState:
    """Explanations of the answers of several methods on one split.

    Args:
        answers: of the methods.
        passes: which measures are known to pass or to fail.

    Attributes:
        choice: what is chosen; the last method and the first episode type at first.
        asked: the question that is chosen, and its answer.
        maps: (T, R, K) by measure.
    """

    def __init__(self, answers: SplitAnswers, passes: Passes) -> None:
        self.answers, self.passes = answers, dict(passes)
        first = ExplanationChoice(list(answers.methods)[-1], next(iter(answers.episode_types)))
        self._take(first)

    @property
    def inputs(self) -> list[Input]:
        """What the chosen method reads of a clip."""
        return ["frames", "flow"] if self.answers.reader(self.choice.method).with_flow else ["frames"]

    @property
    def label(self) -> int:
        """Of the class that is explained."""
        answered = int(self.asked.result.predicted[self.choice.query])
        return answered if self.choice.label is None else self.choice.label

    @property
    def title(self) -> str:
        """What the figure shows, in words."""
        name, probability = self.asked.question.classes[self.label], self._probability
        what, method = self.choice.what, METHODS[self.choice.method].title
        return f"{method}: what in the {what} speaks for “{name}”, given {probability:.0%}"

    def choose(self, **changes: Any) -> None:
        """Choose something else; what depends on it follows: another episode starts at its first query, and another
        query at the class that is answered.

        Raises:
            EpisodeError: no such episode type, episode, query or class.
        """
        choice = replace(self.choice, **changes)
        self.answers.model(choice.method)  # which may be none of them
        if changes.keys() & {"episode_type", "number"}:
            choice = replace(choice, query=changes.get("query", 0), label=changes.get("label"))
        if "query" in changes:
            choice = replace(choice, label=changes.get("label"))
        if not self.answers.reader(choice.method).with_flow:
            choice = replace(choice, what="frames")
        self._take(choice)

    def figure(self) -> Figure:
        """The clip and its maps; measures that are known to fail last."""
        clip, positions = self._clip, self._positions
        flow_px = clip.flow_px if self.choice.what == "flow" else None
        transform = self.answers.reader(self.choice.method).transform
        pictures = as_pictures(clip.frames, transform) if flow_px is None else flow_to_rgb(flow_px.numpy())
        return explanation_strip(pictures, self._ordered, positions, self.title)

    def in_words(self) -> str:
        """What the figure shows, for whoever does not see it."""
        return strip_in_words(self._ordered, self._positions, self.title)

    def _take(self, choice: ExplanationChoice) -> None:
        answers, drawn = self.answers, self.answers.settings.episodes
        stream = Drawn(choice.episode_type, drawn.way, drawn.shot, answers.settings.evaluation.seed)
        question = Question.of(answers.sampler(stream)[choice.number])
        for kind, value, size in (
            ("query", choice.query, len(question.query)),
            ("class", choice.label or 0, len(question.classes)),
        ):
            if not 0 <= value < size:
                raise EpisodeError(f"a {kind} from 0 to {size - 1}", str(value), "Choose one of them.")
        asked = answers.ask(choice.method, question)
        label = int(asked.result.predicted[choice.query]) if choice.label is None else choice.label
        row, reader = int(question.query[choice.query]), answers.reader(choice.method)
        clip = reader.evaluate(row)
        maps = explain(Target.of(asked, label), clip, choice.what)
        self.choice, self.asked, self.maps = choice, asked, {name: found.numpy() for name, found in maps.items()}
        self._clip, self._positions = clip, reader.test_positions(row).tolist()

    @property
    def _probability(self) -> float:
        return float(self.asked.result.probabilities[self.choice.query, self.label])

    @property
    def _ordered(self) -> dict[str, np.ndarray]:
        known = {name: ok for (what, name), ok in self.passes.items() if what == self.choice.what}
        return with_verdicts(self.maps, known)
