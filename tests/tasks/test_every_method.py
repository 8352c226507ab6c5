"""The grid of what can be done with a method: each trains or is refused by name, answers a split, stands in a table of
runs, and names new clips. Answers from a bank are those one by one in `tests/evaluation/test_scoring.py`, and
checkpoints of the references are adopted in `test_adopt.py`."""

from __future__ import annotations

import shutil

import pytest

from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment, of_checkpoint
from tmal_core.models.methods import METHODS, inputs, text_at_test
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.classify import classify_clips
from tmal_core.tasks.evaluate import evaluate_methods, result_table, save_answers
from tmal_core.tasks.table import table_of_runs
from tmal_core.tasks.train import train_method

SHORT = {"training.episodes": 4, "training.validate_every": 4, "model.tuple_width": 32}


@pytest.fixture
def places(tmp_path, small_data):
    """Two classes with an example each, and a new clip."""
    table = small_data.table[small_data.table["family"] == "appearance"]
    for name, paths in list(table.groupby("class_name")["path"])[:2]:
        (tmp_path / "examples" / name).mkdir(parents=True)
        shutil.copy(small_data.root / paths.iloc[0], tmp_path / "examples" / name)
    (tmp_path / "new").mkdir()
    shutil.copy(small_data.root / paths.iloc[1], tmp_path / "new")
    return tmp_path / "examples", tmp_path / "new"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_good_for_all_that_methods_are_for(few_settings, places, tmp_path, name):
    experiment = Experiment(few_settings.replace(SHORT), method_name=name, run_dir=tmp_path / "run")
    with Run.create(tmp_path / "run", experiment.settings, "train") as run:
        if METHODS[name].trained:
            _, state = train_method(experiment, run, progress=False)
            assert state.episode == 4
        else:
            with pytest.raises(SettingsError, match=f"a method that is trained, got {name}, which is not"):
                train_method(experiment, run, progress=False)
        asked = {name: experiment}
        outcomes = evaluate_methods(asked, "val", progress=False)
        table = result_table(asked, outcomes, "val")
        save_answers(asked, outcomes, "val")
    parts = experiment.settings.model
    assert set(table["text_at_test"]) == {text_at_test(parts)} and table["accuracy_pct"].between(0, 100).all()
    assert "frames" in inputs(parts)
    row = table_of_runs([tmp_path / "run"], "val").figures
    assert set(row["method"]) == {name} and len(row) == len(table)

    ready = of_checkpoint(tmp_path / "run") if METHODS[name].trained else experiment
    found = classify_clips(ready, *places, unsure_below=0.0, force=True, progress=False)
    assert len(found.table) == 1 and (found.table["note"] == "").all() and found.table["best"].iloc[0]
