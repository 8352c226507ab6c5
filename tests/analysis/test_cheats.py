"""No cheat solves the families whose classes differ in time alone; the same rows solve `order`, so they could."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.analysis.cheats import answers_of_cheats, answers_of_classifiers, file_facts
from tmal_core.data.diagnostic.generation import write_clip
from tmal_core.data.diagnostic.vocabulary import all_classes
from tmal_core.evaluation.scoring import Episodes
from tmal_core.experiment import Experiment
from tmal_core.tasks.synthesise import make_diagnostic

CLIPS, EPISODES, GROUPS = 16, 1000, 6
CHANCE = 50.0
# Two standard errors of as many answers as there are bases: episodes share them.
TOLERANCE = 2 * 50 / np.sqrt(CLIPS * GROUPS)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Accuracies by family and row, on decoded files by the frozen tiny CLIP."""

    def of(family: str) -> pd.DataFrame:
        folder = tmp_path_factory.mktemp(family)
        settings = {"data.families": [family], "data.root": str(folder / "videos"), "data.clips_test": CLIPS}
        settings |= {"data.clips_train": 1, "data.clips_val": 1, "compute.num_threads": 1}
        experiment = Experiment.of("tiny", settings, method="otam", run_dir=folder / "run")
        make_diagnostic(experiment.settings.data, progress=False)
        test, frames = experiment.split("test"), experiment.bank("test", progress=False).query
        facts = np.array([file_facts(test.file(row)) for row in range(len(test))])
        backward = {action.name: action.parts["direction"] == "backward" for action in all_classes([family])}
        columns = (test.table[name].to_numpy(str) for name in ("group", "base"))
        labels = test.table["class_name"].map(backward).to_numpy(int)
        found = answers_of_cheats(frames, facts, experiment.episodes("test", EPISODES)[family])
        return pd.concat([found, answers_of_classifiers(frames, labels, *columns)]).set_index("row")

    made: dict[str, pd.DataFrame] = {}
    return lambda family: made.get(family) if family in made else made.setdefault(family, of(family))


@pytest.mark.parametrize("family", ["circles", "speed", "camera"])
def test_cheats_are_at_chance(answers, family):
    table = answers(family)
    cheats = table.loc[table["cheat"], "accuracy_pct"]
    assert len(cheats) == 12
    assert (np.abs(cheats - CHANCE) < TOLERANCE).all(), cheats.round(1).to_dict()


@pytest.mark.parametrize(
    ("family", "row"), [("circles", "OTAM, sharp and centred"), ("speed", "trained: steps between neighbours")]
)
def test_who_looks_at_the_order_is_not(answers, family, row):
    assert answers(family).loc[row, "accuracy_pct"] > 80


def test_the_same_cheats_solve_order(answers):
    solved = answers("order")["accuracy_pct"]
    for row in ("first frame", "last minus first", "first and last frame", "trained: first and last frame"):
        assert solved[row] > 75, solved.round(1).to_dict()


def test_rows_are_what_they_say():
    """Two classes of two clips each: only the last frames differ by class, and only the files of one."""
    ones = torch.eye(4)
    frames = torch.stack([torch.stack([ones[0], ones[1 + label]]) for label in (0, 0, 1, 1)])
    episodes = Episodes("pair", np.array([[[0], [2]]]), np.array([[[1], [3]]]))
    facts = np.array([[1.0, 7], [1.1, 7], [2.0, 7], [1.9, 7]])
    found = answers_of_cheats(frames, facts, episodes).set_index("row")["accuracy_pct"]
    assert found["first frame"] == 50
    assert (found.drop("first frame") == 100).all()


def test_a_classifier_never_meets_the_base_it_is_asked_about():
    """Features that name the base alone: a twin on the other side would give every answer away, or its opposite."""
    bases = np.repeat(np.arange(40), 2).astype(str)
    labels, groups = np.tile([0, 1], 40), np.full(80, "g")
    frames = torch.nn.functional.one_hot(torch.arange(40).repeat_interleave(2)).float()[:, None].repeat(1, 2, 1)
    found = answers_of_classifiers(frames, labels, groups, bases).set_index("row")["accuracy_pct"]
    assert found["trained: first frame"] == 50
    told = torch.cat([frames, torch.tensor(labels)[:, None, None].expand(80, 2, 1).float()], 2)
    found = answers_of_classifiers(told, labels, groups, bases).set_index("row")["accuracy_pct"]
    assert found["trained: first frame"] == 100


def test_facts_of_a_file(tmp_path):
    write_clip(tmp_path / "clip.mp4", np.zeros((12, 32, 32, 3), np.uint8), fps=24)
    num_bytes, packets, length_s, rate = file_facts(tmp_path / "clip.mp4")
    assert (num_bytes, packets, length_s) == ((tmp_path / "clip.mp4").stat().st_size, 12, 0.5)
    assert rate == 8 * num_bytes / 0.5
