"""The arithmetic of `tmal table`: answers of several runs to one row per method, and which rows differ clearly.

    answers of runs ─► blocks (data set, way, shot) ─► rows (method and settings, seeds of training joined) ─► figures

Runs that differ in the seed of training alone are one row. In a block all rows answered the same episodes, so they are
compared in pairs, each with the best of its column (or with one that is named), by seed of training where both have
several; p-values are corrected over the block (Holm). Rows that read other frames of the same videos are not compared.

The best row is chosen by the very answers that it is then compared by, so a mark speaks of these methods on this
split, and a choice between them belongs on `val`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tmal_core.errors import RunError, SettingsError
from tmal_core.evaluation.answers import Answerer, Answers
from tmal_core.evaluation.statistics import Interval, interval, summed, with_correction
from tmal_core.models.methods import METHODS
from tmal_core.runtime.seeding import generator

BEST, NOT_BELOW, ABOVE, BELOW = "best", "not clearly below", "above", "below"
"""Marks: the highest mean of its column; not clearly lower than it; clearly over and under the named row."""


@dataclass(frozen=True)
class Row:
    """A method under one set of settings."""

    method: str
    variant: str  # the settings by which it differs from other rows of its method, else empty
    answerer: Answerer  # of its first seed
    runs: tuple[str, ...]
    correct: Mapping[str, Mapping[int | None, np.ndarray]]  # episode type -> seed -> (E, N, Q) bool

    @property
    def name(self) -> str:
        """Tells it from all other rows of its block."""
        return f"{self.method} ({self.variant})" if self.variant else self.method

    @property
    def seeds(self) -> list[int | None]:
        return list(next(iter(self.correct.values())))

    def percent(self, episode_type: str, seeds: Sequence[int | None] | None = None) -> np.ndarray:
        """(S, E, N, Q) of these seeds, or of all."""
        found = self.correct[episode_type]
        return 100.0 * np.stack([found[seed] for seed in (self.seeds if seeds is None else seeds)]).astype(np.float64)


@dataclass(frozen=True)
class Block:
    """Rows that answered the same episodes."""

    answers: Answers  # of one of its runs: what was asked, how intervals are made
    rows: list[Row]


def blocks_of(found: Mapping[str, Answers]) -> list[Block]:
    """Answers by run, put together: a block per data set, way and shot.

    Raises:
        RunError: within a block runs were asked different episodes, or two runs of the same settings and seed have
            different answers.
    """
    by_block: dict[tuple[str, int, int], dict[str, Answers]] = {}
    for run, answers in found.items():
        by_block.setdefault((answers.data, answers.way, answers.shot), {})[run] = answers
    blocks = []
    for runs in by_block.values():
        _require_same_episodes(runs)
        blocks.append(Block(next(iter(runs.values())), _rows(runs)))
    return blocks


def _require_same_episodes(runs: Mapping[str, Answers]) -> None:
    (first, known), *others = runs.items()
    for run, answers in others:
        if answers.asked != known.asked:
            got = f"{_in_words(known)} in {first}, and {_in_words(answers)} in {run}"
            if _in_words(known) == _in_words(answers):
                got = f"episodes of other videos in {first} and in {run}"
            remedy = (
                "Evaluate both with the same data, evaluation.seed and evaluation.episodes, or make a table of each."
            )
            raise RunError("runs that answered the same episodes", got, remedy)


def _in_words(answers: Answers) -> str:
    kinds = [f"{name} {one.episodes} of seed {one.seed}" for name, one in answers.asked.items()]
    return f"episodes {', '.join(kinds)}, {answers.way}-way {answers.shot}-shot"


class _Found(NamedTuple):
    """A method's answers in a run."""

    run: str
    answers: Answers
    name: str  # of the method in that run

    @property
    def answerer(self) -> Answerer:
        return self.answers.methods[self.name]

    def correct(self, episode_type: str) -> np.ndarray:
        return self.answers.correct[self.name, episode_type]


def _rows(runs: Mapping[str, Answers]) -> list[Row]:
    """One row per method and recipe, in the order of `METHODS`."""
    groups: dict[tuple[str, str, str], dict[int | None, _Found]] = {}
    also: dict[tuple[str, str, str], list[str]] = {}
    for run, answers in runs.items():
        for name, one in answers.methods.items():
            # A run may have a method twice, as with and without names' score: its recipe tells these apart.
            method = str(one.recipe.get("model.method", name))
            key, found = (method, one.positions, repr(sorted(one.recipe.items()))), _Found(run, answers, name)
            seeds = groups.setdefault(key, {})
            if one.seed in seeds:
                _require_same_answers(method, one.seed, seeds[one.seed], found)
            seeds.setdefault(one.seed, found)
            also.setdefault(key, []).append(run)
    order = list(METHODS)
    keys = sorted(groups, key=lambda key: order.index(key[0]) if key[0] in order else len(order))
    recipes = {key: next(iter(groups[key].values())).answerer.recipe for key in keys}
    rows = []
    for key in keys:
        seeds, method = groups[key], key[0]
        chosen = {seed: seeds[seed] for seed in sorted(seeds, key=lambda seed: -1 if seed is None else seed)}
        first = next(iter(chosen.values()))
        correct = {kind: {seed: one.correct(kind) for seed, one in chosen.items()} for kind in first.answers.asked}
        variant = _variant(recipes[key], [recipes[other] for other in keys if other[0] == method])
        rows.append(Row(method, variant, first.answerer, tuple(also[key]), correct))
    return rows


def _require_same_answers(method: str, seed: int | None, one: _Found, other: _Found) -> None:
    """A method that learns nothing answers alike in every run; a training need not, and then one of both is meant."""
    if not all(np.array_equal(one.correct(kind), other.correct(kind)) for kind in one.answers.asked):
        of_seed = "" if seed is None else f" and seed {seed}"
        got = f"other answers of {method} in {one.run} than in {other.run}, of the same settings{of_seed}"
        raise RunError("the same answers of the same settings", got, "Name one of the two runs.")


def _variant(recipe: Mapping[str, Any], recipes: Sequence[Mapping[str, Any]]) -> str:
    """The settings of a recipe that are not the same in all of them, as a user would set them."""
    keys = sorted({key for one in recipes for key in one})
    differing = [key for key in keys if any(one.get(key) != recipe.get(key) for one in recipes)]
    shown = [key for key in differing if key != "preset"] or differing
    return ", ".join(f"{key}={recipe.get(key, '')}" for key in shown)


def figures(block: Block, against: str | None = None) -> pd.DataFrame:
    """A row per row of the block and episode type, in percent and points.

    `difference_points` is the row minus the best of its episode type, or minus the row `against`; it and what follows
    are empty for that row itself and for rows that read other frames.

    Raises:
        SettingsError: no row is named `against`, or several of that method are there.
    """
    reference = None if against is None else _named(block, against)
    lines = []
    for episode_type, asked in block.answers.asked.items():
        means = [float(row.percent(episode_type).mean()) for row in block.rows]
        best = int(np.argmax(means))
        other = block.rows[best] if reference is None else reference
        for number, row in enumerate(block.rows):
            found, spread = accuracy(block, row, episode_type)
            line: dict[str, Any] = {"row": number, "episode_type": episode_type}
            line |= {"episode_way": asked.way, "chance_pct": 100.0 / asked.way, "episodes": asked.episodes}
            line |= {"accuracy_pct": found.mean, "low_pct": found.low, "high_pct": found.high, "seed_spread": spread}
            line |= {"best": means[number] == means[best], "against": other.name}
            lines.append(line | _compared(block, row, other, episode_type))
    table = pd.DataFrame(lines).sort_values("row", kind="stable", ignore_index=True)
    return _marked(table, block.answers.intervals["confidence"], reference is not None)


def _named(block: Block, against: str) -> Row:
    rows = [row for row in block.rows if against in (row.method, row.name)]
    if len(rows) != 1:
        names = ", ".join(row.name for row in block.rows)
        raise SettingsError(f"one row among {names} to compare with", repr(against), "Write --against as it is there.")
    return rows[0]


def accuracy(block: Block, row: Row, episode_type: str) -> tuple[Interval, float]:
    """In percent, with its interval over classes and seeds, and the standard deviation over seeds (nan of one)."""
    values = row.percent(episode_type)
    spread = float(values.mean((1, 2, 3)).std(ddof=1)) if len(values) > 1 else math.nan
    return _interval(block, values, episode_type, True), spread


def _compared(block: Block, row: Row, other: Row, episode_type: str) -> dict[str, float]:
    """The difference in points, paired on episodes, and on seeds of training where both have several: on those that
    both have, or in their order where there are none. A row of one seed counts as often as the other has seeds."""
    nothing = dict.fromkeys(("difference_points", "difference_low", "difference_high", "p"), math.nan)
    if row is other or row.answerer.positions != other.answerer.positions:
        return nothing
    sides = [row.seeds, other.seeds]
    if min(map(len, sides)) > 1:
        shared = [seed for seed in sides[0] if seed in sides[1]]
        sides = [shared or side[: min(map(len, sides))] for side in sides]
    values = row.percent(episode_type, sides[0]) - other.percent(episode_type, sides[1])
    found = _interval(block, values, episode_type, False)
    return dict(zip(nothing, (found.mean, found.low, found.high, found.p_value), strict=True))


def _interval(block: Block, values: np.ndarray, episode_type: str, accuracy: bool) -> Interval:
    how = block.answers.intervals
    rng = generator(how["resampling_seed"], "bootstrap", episode_type)
    by_class = summed(values, block.answers.units[episode_type])
    return interval(by_class, rng, how["bootstrap"], how["confidence"], accuracy)


def _marked(table: pd.DataFrame, confidence: float, named: bool) -> pd.DataFrame:
    """With p-values corrected over all comparisons of the block, and a column `mark`."""
    compared = table[table["p"].notna()]
    found = with_correction(compared, confidence).reindex(columns=[*table.columns, "p_holm", "clear"])
    table = table.join(found[["p_holm", "clear"]])
    clear = table["clear"].eq(True)
    if named:
        above = table["difference_points"] > 0
        marks = np.select([clear & above, clear & ~above], [ABOVE, BELOW], "")
    else:
        marks = np.select([table["best"], table["p"].notna() & ~clear], [BEST, NOT_BELOW], "")
    return table.drop(columns="clear").assign(mark=marks)
