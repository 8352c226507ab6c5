"""`tmal text-score`: which share of the class names' own score is best, chosen on `val` from one bank of features.

CLIP-FSAR's share is 0.9, TS-FSAR's differ by data set and number of shots and were chosen on test. Here `val` is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import pandas as pd

from tmal_core.data.episodes import MIXED
from tmal_core.errors import SettingsError
from tmal_core.evaluation.scoring import evaluate
from tmal_core.evaluation.statistics import accuracy_interval, difference_interval
from tmal_core.experiment import Experiment, require_used
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import text_at_test

POWERS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
SPLIT = "val"


def text_score_table(experiment: Experiment, powers: Sequence[float] = POWERS, progress: bool = True) -> pd.DataFrame:
    """What the method reaches on `val` under each `model.text_score`, on the same episodes.

    Returns:
        A row per power, in ascending order, and episode type. `mean_pct` is the power's mean over episode types (but
        `mixed`, which is made of the others), `best` is true where it is highest, of equal ones at the lowest power;
        `points` with `low` and `high` are accuracy less that of the best power, paired. In percent and points.

    Raises:
        SettingsError: no power, one that is not in 0..1, or a method without a share of names that can be set.
    """
    if not powers:
        raise SettingsError("shares of class names in the answers, 0..1", "none", "Name some.")
    asked = {power: experiment.changed({"model.text_score": power}) for power in sorted(set(powers))}
    *_, highest = asked.values()  # which reads names, if any does
    require_used([highest])
    catalog, e, bank = highest.split(SPLIT), highest.settings.evaluation, highest.bank(SPLIT, progress)
    drawn = highest.episodes(SPLIT)
    outcomes = {}
    for power in asked:
        model = _with_text_score(highest.model, power)
        outcomes[power] = {name: evaluate(model, bank, episodes) for name, episodes in drawn.items()}
    counted = [name for name in drawn if name != MIXED] or list(drawn)
    means = {p: float(np.mean([found[name].accuracy_pct for name in counted])) for p, found in outcomes.items()}
    best = max(means, key=lambda power: means[power])  # of equal ones the first
    how = catalog, e.resampling_seed, e.bootstrap, e.confidence
    rows = []
    for power, by_type in outcomes.items():
        one = asked[power]
        for name, outcome in by_type.items():
            found = accuracy_interval(outcome, *how)
            gap = difference_interval(outcome, outcomes[best][name], *how)
            row: dict[str, object] = {"method": one.name, "split": SPLIT, "episode_type": name, "text_score": power}
            row |= {"text_at_test": text_at_test(one.settings.model), "accuracy_pct": found.mean}
            row |= {"low_pct": found.low, "high_pct": found.high, "mean_pct": means[power], "best": power == best}
            row |= {"points": gap.mean, "low": gap.low, "high": gap.high, "episodes": len(outcome.correct)}
            rows.append(row | {"seed": e.seed, "settings": one.hash})
    return pd.DataFrame(rows)


def _with_text_score(model: FewShotModel, power: float) -> FewShotModel:
    """The same model, of the same parameters, with another share of names in its answers."""
    head = copy(model.head)
    head.text_score = power
    return FewShotModel(model.encoder, head).eval()
