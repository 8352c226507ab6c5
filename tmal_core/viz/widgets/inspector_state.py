"""What the episode inspector knows, without a widget: what is chosen, what was asked, what came out.

    choose(...) ─► question ─► before (from the bank)  ┐
    suppose(...) ─► the same, with something changed   ┴─► after (from the bank, or through the model)

Whatever cannot be had is a `TmalError` and leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from tmal_core.analysis.inspection import Asked, Question
from tmal_core.analysis.what_if import WhatIf, parts_of
from tmal_core.errors import EpisodeError
from tmal_core.experiment import Experiment
from tmal_core.viz.widgets.split_answers import Drawn, SplitAnswers

Kind = Literal["wrong", "uncertain", "differing"]
UNCERTAIN = 0.1
"""An answer is uncertain whose two best probabilities differ by less."""
SEARCHED, AT_ONCE = 10_000, 500
"""Episodes that a search goes through, and how many between two looks whether it should stop."""
IN_TABLE = 200


@dataclass(frozen=True)
class Choice:
    """What a user chose."""

    method: str
    episode_type: str
    way: int
    shot: int
    seed: int
    number: int = 0
    """Of the episode."""
    query: int = 0
    """Which query is looked at closely."""
    support: int = 0
    """With which support clip, or the prototype of its class, it is aligned."""
    other: str = ""
    """The method that answers are compared with."""

    @property
    def drawn(self) -> Drawn:
        """The stream of episodes."""
        return Drawn(self.episode_type, self.way, self.shot, self.seed)


class InspectorState:
    """One split as several methods see it.

    Args:
        methods: experiments of one run by method name, trained where they are trained.
        split: whose episodes are asked; each look at `test` is counted.
        episode_type: the first one by default.

    Attributes:
        answers: of the methods on the split.
        choice: what is chosen.
        question: an episode, or `by_hand`: what somebody put together in its place.
        what_if: what is changed.
        before, after: the question as it is, and under what is changed.

    Raises:
        EpisodeError: no method, or an unknown episode type.
        WeightsError: a method was not trained in this run.
    """

    def __init__(self, methods: Mapping[str, Experiment], split: str = "val", episode_type: str | None = None) -> None:
        self.answers = SplitAnswers(methods, split)
        settings, names = self.answers.settings, list(methods)
        e, kind = settings.episodes, episode_type or next(iter(self.answers.episode_types))
        self.choice = Choice(names[0], kind, e.way, e.shot, settings.evaluation.seed, other=names[-1])
        self.what_if = WhatIf()
        self.by_hand: Question | None = None
        self.question = self._episode(self.choice)
        self.before: Asked = self.answers.ask(self.choice.method, self.question)
        self.after = self.before

    @property
    def switches(self) -> dict[str, bool]:
        """Which what-ifs change anything for the method that is chosen."""
        return parts_of(self.before.model)

    def choose(self, **changes: Any) -> None:
        """Choose something else; what depends on it follows: another episode starts at its first query.

        Raises:
            EpisodeError: what the split cannot give.
            TmalError: anything that a method refuses.
        """
        choice = replace(self.choice, **changes)
        by_hand, question = self.by_hand, self.question
        if changes.keys() & {"episode_type", "way", "shot", "seed", "number"}:
            by_hand, question = None, self._episode(choice)
            choice = replace(choice, query=changes.get("query", 0), support=changes.get("support", 0))
        queries, supports = len(question.query), question.support.size
        choice = replace(choice, query=choice.query % queries, support=choice.support % supports)
        self.answers.model(choice.other)
        # Parts that another method has not would be refused: they are as they were there.
        what_if = self.what_if if choice.method == self.choice.method else WhatIf()
        self._take(choice, question, what_if, by_hand)

    def suppose(self, **changes: Any) -> None:
        """Change a part of the method or of what it is given; `suppose(**vars(WhatIf()))` undoes all.

        Raises:
            SettingsError: the method has no such part.
            DataError: a clip cannot be read.
        """
        self._take(self.choice, self.question, replace(self.what_if, **changes), self.by_hand)

    def ask(self, support: Mapping[str, Sequence[int]], query: Sequence[int]) -> None:
        """Ask a question of one's own: rows of the split by class, as many of each class, and rows as queries.

        Raises:
            EpisodeError: fewer than two classes, different numbers of clips, no query, or a query among the support.
        """
        question = self._put_together(support, query)
        self._take(replace(self.choice, query=0, support=0), question, self.what_if, question)

    def search(self, kind: Kind, back: bool = False) -> Iterator[int | None]:
        """Look for the next episode with a wrong or uncertain answer, or one that the two methods answer differently.

        Yields:
            None after each `AT_ONCE` episodes, so that somebody may stop it; at last the number, where there is one
            among `SEARCHED`. Nothing is chosen.
        """
        step = -1 if back else 1
        for seen in range(0, SEARCHED, AT_ONCE):
            numbers = self.choice.number + step * (1 + seen + np.arange(AT_ONCE))
            numbers = numbers[numbers >= 0]
            if not len(numbers):
                return
            worth = self._worth_a_look(kind, numbers)
            yield int(numbers[worth.argmax()]) if worth.any() else None
            if worth.any():
                return

    def table(self, count: int = IN_TABLE) -> pd.DataFrame:
        """Episodes 0 to count - 1: what each method answers right, in percent, the least margin of the chosen one, and
        the classes."""
        answers, drawn, numbers = self.answers, self.choice.drawn, np.arange(count)
        right = {name: 100.0 * answers.right(name, drawn, numbers).mean(1) for name in answers.methods}
        margin = answers.margins(self.choice.method, drawn, numbers).min(1)
        sampler = answers.sampler(drawn)
        classes = [" · ".join(sampler[int(number)].classes) for number in numbers]
        return pd.DataFrame({"episode": numbers, **right, "margin": margin, "classes": classes})

    def _take(self, choice: Choice, question: Question, what_if: WhatIf, by_hand: Question | None) -> None:
        """All at once, or nothing: whatever is refused is refused before anything changes."""
        before = self.before
        if choice.method != self.choice.method or question is not self.question:
            before = self.answers.ask(choice.method, question)
        after = before if what_if.is_nothing else self.answers.ask_again(choice.method, question, what_if)
        self.choice, self.question, self.what_if, self.by_hand = choice, question, what_if, by_hand
        self.before, self.after = before, after

    def _episode(self, choice: Choice) -> Question:
        return Question.of(self.answers.sampler(choice.drawn)[choice.number])

    def _put_together(self, support: Mapping[str, Sequence[int]], query: Sequence[int]) -> Question:
        sizes = {name: len(rows) for name, rows in support.items()}
        if len(sizes) < 2 or len(set(sizes.values())) > 1 or 0 in sizes.values():
            got = ", ".join(f"{count} of {name}" for name, count in sizes.items()) or "none"
            raise EpisodeError(
                "two classes or more, with the same number of clips", got, "Add clips, or take some out."
            )
        if not len(query):
            raise EpisodeError("a query", "none", "Choose a clip to be named.")
        names, rows, table = list(sizes), np.array(list(support.values())), self.answers.catalog.table
        if twice := set(rows.ravel().tolist()) & set(map(int, query)):
            got = f"{table['video'].iat[min(twice)]} as both"
            raise EpisodeError("queries that are no support clips", got, "Take it out of one of them.")
        own = table["class_name"].to_numpy(str)[list(query)]
        labels = np.array([names.index(name) if name in names else -1 for name in own])
        return Question(tuple(names), rows, np.array(query), labels)

    def _worth_a_look(self, kind: Kind, numbers: np.ndarray) -> np.ndarray:
        """(E,) bool."""
        answers, choice = self.answers, self.choice
        if kind == "uncertain":
            return np.any(answers.margins(choice.method, choice.drawn, numbers) < UNCERTAIN, axis=1)
        if kind == "differing":
            one, other = (answers.logits(name, choice.drawn, numbers) for name in (choice.method, choice.other))
            return np.any(one.argmax(2) != other.argmax(2), axis=1)
        return ~np.all(answers.right(choice.method, choice.drawn, numbers), axis=1)
