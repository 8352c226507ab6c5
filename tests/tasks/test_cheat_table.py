"""No cheat solves the families whose classes differ in time alone; the same rows solve `appearance`, so they could."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tmal_core.experiment import Experiment
from tmal_core.tasks.cheat_table import cheats_by_family
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
        settings |= {"evaluation.episodes": EPISODES, "episodes.shot": 5}  # the table is 1-shot whatever is asked for
        experiment = Experiment.of("tiny", settings, method="otam", run_dir=folder / "run")
        make_diagnostic(experiment.settings.data, progress=False)
        return cheats_by_family(experiment, "test", trained=True, progress=False).set_index("row")

    made: dict[str, pd.DataFrame] = {}
    return lambda family: made.get(family) if family in made else made.setdefault(family, of(family))


@pytest.mark.parametrize("family", ["order", "speed", "camera"])
def test_cheats_are_at_chance(answers, family):
    table = answers(family)
    cheats = table.loc[table["cheat"], "accuracy_pct"]
    assert len(cheats) == 17 and (table["chance_pct"] == CHANCE).all() and (table["family"] == family).all()
    assert (np.abs(cheats - CHANCE) < TOLERANCE).all(), cheats.round(1).to_dict()


@pytest.mark.parametrize(
    ("family", "row"), [("order", "OTAM, sharp and centred"), ("speed", "trained: steps between neighbours")]
)
def test_who_looks_at_the_order_is_not(answers, family, row):
    assert answers(family).loc[row, "accuracy_pct"] > 80


def test_the_same_cheats_solve_appearance(answers):
    solved = answers("appearance")
    assert (solved["chance_pct"] == 20).all() and len(solved) == 10  # no pairs to train classifiers for
    for row in ("first frame", "first and last frame", "frame t with frame t", "set of frames, mean"):
        assert solved.loc[row, "accuracy_pct"] > 60, solved["accuracy_pct"].round(1).to_dict()
