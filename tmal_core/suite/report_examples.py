"""Examples of the report: queries that a method answered right and wrong, as clips that play."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tmal_core.analysis.inspection import Question
from tmal_core.errors import TmalError
from tmal_core.experiment import Experiment
from tmal_core.models.methods import METHODS
from tmal_core.viz.widgets.page_files import sheet_inside
from tmal_core.viz.widgets.run_choice import trained
from tmal_core.viz.widgets.split_answers import Drawn, SplitAnswers

SPLIT = "val"
"""Never `test`: a report is no reason for a look."""
LOOKED_AT, WANTED = 200, 4
"""Episodes of each type among which examples are found, and about how many right and wrong ones."""
FRAMES, SIDE = 60, 112
"""Of a clip in the page: its frames, and the longer side in pixels."""


@dataclass(frozen=True)
class ShownClip:
    """A clip of an example."""

    row: int
    part: str
    class_name: str
    probability: str
    """What the method gives its class; a query has none of its own."""


@dataclass(frozen=True)
class Example:
    """A query, the support clip of its class, and that of the class which was said, or came next."""

    episode_type: str
    number: int
    right: bool
    clips: list[ShownClip]


@dataclass(frozen=True)
class Examples:
    """What the page shows: examples, the clips of their rows, or why there are none."""

    method: str = ""
    shown: tuple[Example, ...] = ()
    clips: dict[int, Any] | None = None
    none: str = ""


def examples(run_dir: Path) -> Examples:
    """Of TMAL, or of the last method that was trained: the first episodes of each type that it has right, and wrong.

    A run without trained weights, or whose data are gone, has none; `none` says why.
    """
    names = trained(run_dir)
    if not names:
        return Examples(none="No method was trained in this run: run notebook 3, and make the report again.")
    name = "tmal" if "tmal" in names else names[-1]
    try:
        answers = SplitAnswers(Experiment.of_run(run_dir).of_methods([name]), SPLIT)
        shown = tuple(_examples(answers, name))
        rows = {clip.row for one in shown for clip in one.clips}
        clips = {row: sheet_inside(answers.reader(name), row, most_frames=FRAMES, side=SIDE) for row in sorted(rows)}
    except TmalError as error:
        return Examples(none=f"No examples: {' '.join(str(error).split())}")
    return Examples(METHODS[name].title, shown, clips)


def _examples(answers: SplitAnswers, method: str) -> Iterator[Example]:
    settings = answers.settings
    types = [kind for kind in answers.episode_types if kind != "mixed"] or list(answers.episode_types)
    for wanted in (True, False):
        for kind in types:
            e = settings.episodes
            drawn = Drawn(kind, e.way, e.shot, settings.evaluation.seed)
            right = answers.right(method, drawn, np.arange(LOOKED_AT))
            found = np.argwhere(right == wanted)
            for number, query in found[: max(1, WANTED // len(types))].tolist():
                yield _example(answers, method, drawn, number, query)


def _example(answers: SplitAnswers, method: str, drawn: Drawn, number: int, query: int) -> Example:
    question = Question.of(answers.sampler(drawn)[number])
    result = answers.ask(method, question).result
    own, guess, chances = int(question.labels[query]), int(result.predicted[query]), result.probabilities[query]
    other = guess if guess != own else int(np.argsort(chances)[-2])

    def shown(row: int, part: str, label: int) -> ShownClip:
        return ShownClip(int(row), part, question.classes[label], "" if part == "query" else f"{chances[label]:.2f}")

    clips = [
        shown(question.query[query], "query", own),
        shown(question.support[own, 0], "support clip of its class", own),
        shown(question.support[other, 0], "what it was taken for" if guess != own else "the next class", other),
    ]
    return Example(drawn.episode_type, number, guess == own, clips)
