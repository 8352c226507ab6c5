"""What each family of the diagnostic data set is worth: answers that look at too little of a clip, by frozen CLIP."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tmal_core.analysis.cheats import answers_of_cheats, answers_of_classifiers, file_facts
from tmal_core.data.diagnostic.vocabulary import FAMILIES
from tmal_core.data.episodes import MIXED
from tmal_core.experiment import Experiment


def cheats_by_family(experiment: Experiment, split: str, trained: bool = False, progress: bool = True) -> pd.DataFrame:
    """Accuracies of cheats, and of matchers that are none, on decoded files: one row per family and kind of answer.

    Args:
        experiment: of the diagnostic data set, by a frozen method that compares frames; its episodes are made 1-shot.
        split: train, val or test.
        trained: also what classifiers reach that are trained on the split's other clips, where classes come in pairs.

    Returns:
        Columns `family`, `row`, `cheat` (bool), `chance_pct`, `accuracy_pct`.
    """
    one_shot = experiment.changed({"episodes.shot": 1, "episodes.queries_eval": 1})
    clips, frames = one_shot.split(split), one_shot.bank(split, progress).query
    facts = np.array([file_facts(clips.file(row)) for row in range(len(clips))])
    tables = []
    for family, episodes in one_shot.episodes(split).items():
        if family == MIXED:
            continue
        found, second = [answers_of_cheats(frames, facts, episodes)], _second_of_pairs(family)
        if trained and second:
            rows = np.flatnonzero(clips.table["family"] == family)
            labels = clips.table["class_name"].iloc[rows].isin(second).to_numpy(int)
            columns = (clips.table[name].iloc[rows].to_numpy(str) for name in ("group", "base"))
            found.append(answers_of_classifiers(frames[rows], labels, *columns))
        table = pd.concat(found, ignore_index=True)
        tables.append(table.assign(family=family, chance_pct=100.0 / episodes.way))
    return pd.concat(tables, ignore_index=True)[["family", "row", "cheat", "chance_pct", "accuracy_pct"]]


def _second_of_pairs(family: str) -> set[str]:
    """Names of the classes that are another one's reversal."""
    return {action.name for action in FAMILIES[family]() if action.parts.get("direction") == "backward"}
