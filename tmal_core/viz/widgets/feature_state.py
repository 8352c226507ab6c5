"""What the map of features knows, without a widget: clips of an episode type as points, before and after training, and
the answers that the trained method gives on their episodes.

    choose(after, episode_type) ─► shown: points, distances, confusion and the answers behind each of its cells
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from tmal_core.analysis.confusion import answer_table, confusion_table
from tmal_core.analysis.feature_space import Projection, class_distances, clip_points, compactness, principal_axes
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.evaluation.scoring import Episodes, Outcome
from tmal_core.viz.widgets.split_answers import Drawn, SplitAnswers

ASKED = 300
"""Episodes whose answers make the confusion matrix."""


@dataclass(frozen=True)
class FeatureChoice:
    """What a user chose."""

    after: str
    """The trained method."""
    episode_type: str


@dataclass(frozen=True)
class Shown:
    """All that a choice shows. Letters: V clips, C classes."""

    rows: np.ndarray
    """(V,) of the split."""
    classes: list[str]
    """C names, in the order of the split."""
    labels: np.ndarray
    """(V,) places in `classes`."""
    places: dict[str, np.ndarray]
    """(V, 2) by method: before and after."""
    axes: dict[str, Projection]
    """What the places were projected by, fitted on these very clips."""
    spread: pd.DataFrame
    """Of `compactness`: a row for before, a row for after."""
    confusion: pd.DataFrame
    """Of `confusion_table`, of the trained method's answers: (C, C), NaN where two classes never met."""
    answers: pd.DataFrame
    """Of `answer_table`: all of them."""

    def cell(self, asked: str, answered: str) -> pd.DataFrame:
        """The answers that fell into a cell of the confusion matrix."""
        return self.answers[(self.answers["asked"] == asked) & (self.answers["answered"] == answered)]


class FeatureState:
    """Features of one split before and after training.

    Args:
        answers: of several methods on the split.
        before: the method without training.
        after: the trained one that is shown first; by default the last.
        episode_type: the first one by default.
        count: episodes that are asked.

    Attributes:
        choice: what is chosen.
        shown: what it shows.

    Raises:
        EpisodeError: an unknown method or episode type, or none to compare with.
        DataError: an episode type with too few clips.
    """

    def __init__(
        self,
        answers: SplitAnswers,
        before: str = "otam",
        after: str | None = None,
        episode_type: str | None = None,
        count: int = ASKED,
    ) -> None:
        self.answers, self.before, self.count = answers, before, count
        self.others = [name for name in answers.methods if name != before]
        answers.model(before)
        if not self.others:
            raise EpisodeError(f"a method beside {before}", "none", "Name a trained method, too.")
        first = answers.methods[before]
        self.catalog: Catalog = first.split(answers.split)
        self._points = lru_cache(None)(self._made_points)
        self._shown = lru_cache(None)(self._made)
        self.choice = FeatureChoice(after or self.others[-1], episode_type or next(iter(answers.episode_types)))
        self.shown = self._shown(self.choice)

    def choose(self, **changes: Any) -> None:
        """Choose another method or episode type; what cannot be had leaves everything as it was.

        Raises:
            EpisodeError: an unknown one.
            DataError: an episode type with too few clips.
        """
        choice = replace(self.choice, **changes)
        self.shown = self._shown(choice)
        self.choice = choice

    def by_episode_type(self) -> pd.DataFrame:
        """Tables of `compactness`, before and after, of every episode type; its name in the first column."""
        kinds = list(self.answers.episode_types)
        tables = [self._shown(replace(self.choice, episode_type=kind)).spread for kind in kinds]
        return pd.concat(tables, keys=kinds, names=["episode_type", ""]).reset_index(level=0).reset_index(drop=True)

    def drawn(self, choice: FeatureChoice) -> Drawn:
        """The stream of episodes that are asked: those of evaluation."""
        settings = self.answers.settings
        return Drawn(choice.episode_type, settings.episodes.way, settings.episodes.shot, settings.evaluation.seed)

    def _made(self, choice: FeatureChoice) -> Shown:
        known = self.answers.episode_types
        if choice.episode_type not in known:
            got = repr(choice.episode_type)
            raise EpisodeError(f"an episode type among {', '.join(known)}", got, "Choose one of them.")
        if choice.after not in self.others:
            raise EpisodeError(f"a method among {', '.join(self.others)}", repr(choice.after), "Choose one of them.")
        kind, table = known[choice.episode_type], self.catalog.table
        rows = np.flatnonzero(table["family"].isin(kind.families))
        names = table["class_name"].to_numpy(str)[rows]
        classes = list(dict.fromkeys(names.tolist()))
        groups = table["group"].to_numpy(str)[rows] if kind.grouped else np.full(len(rows), kind.name)
        points = {name: self._points(name)[rows] for name in (self.before, choice.after)}
        axes, places = {}, dict[str, np.ndarray]()
        for name, some in points.items():
            axes[name] = principal_axes(some, next(iter(places.values()), None))
            places[name] = axes[name](some)
        e = self.answers.settings.evaluation
        by_method = {name: class_distances(some, names, groups) for name, some in points.items()}
        spread = compactness(by_method, e.seed, e.bootstrap, e.confidence)
        outcome = self._outcome(choice)
        confusion = confusion_table(outcome, self.catalog).reindex(index=classes, columns=classes)
        answers = answer_table(outcome, self.catalog)
        labels = np.array([classes.index(name) for name in names])
        return Shown(rows, classes, labels, places, axes, spread, confusion, answers)

    def _made_points(self, method: str) -> np.ndarray:
        """(all clips of the split, F)."""
        bank = self.answers.bank(method)
        return clip_points(self.answers.model(method), bank, np.arange(len(self.catalog)))

    def _outcome(self, choice: FeatureChoice) -> Outcome:
        drawn, numbers = self.drawn(choice), np.arange(self.count)
        _, support, query = self.answers.sampler(drawn).draw(numbers)
        logits = self.answers.logits(choice.after, drawn, numbers)
        return Outcome(Episodes(choice.episode_type, support, query, drawn.seed), logits)
