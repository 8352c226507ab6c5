"""The run that a notebook opens: the one its parameters name, or the last one that was trained with its settings."""

from __future__ import annotations

import pytest

from tmal_core.config import load_settings
from tmal_core.errors import RunError
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks import notebooks
from tmal_core.tasks.notebooks import open_run, open_trained
from tmal_core.training.loop import BEST


@pytest.fixture(autouse=True)
def by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BY_HAND", tmp_path / "interactive")
    return tmp_path / "interactive"


def trained(path, settings, kind):
    with Run.create(path, settings, kind) as run:
        (run.path / "checkpoints" / "tmal").mkdir()
        (run.path / "checkpoints" / "tmal" / BEST).touch()
    return run


def test_a_named_folder_is_taken_or_begun(tmp_path):
    overrides = {"compute.num_threads": 1}
    opened = open_run("tiny", overrides, tmp_path / "mine", 3)
    asked = load_settings("tiny", {**overrides, "seed": 3})
    assert opened.experiment.common == asked == opened.run.settings
    experiment = opened.experiment
    assert experiment.run_dir == opened.run.path == tmp_path / "mine" and experiment.device.type == "cpu"
    facts = opened.facts["value"]
    assert facts["run"] == "mine" and facts["seed"] == 3 and facts["settings"] == opened.run.settings_hash
    assert {"preset", "python", "torch", "open_clip", "numpy", "tmal_core", "device"} <= set(facts.index)
    with pytest.raises(RunError, match="Choose another run_dir, or the same settings"):
        open_run("tiny", overrides, tmp_path / "mine", 4)


def test_without_a_folder_the_last_trained_run_of_these_settings_is_taken(tmp_path, by_hand):
    settings = load_settings("tiny", {"seed": 0})
    assert open_run("tiny", {}, "", 0).run.path == by_hand  # begun by notebook 1, say, and never trained
    trained(tmp_path / "suite", settings, "suite")
    assert open_run("tiny", {}, "", 0).run.path == tmp_path / "suite"
    assert open_run("tiny", {"compute.num_threads": 1}, "", 0).run.path == tmp_path / "suite"
    with pytest.raises(RunError, match="a run with"):
        open_run("tiny", {}, "", 1)  # trained by nobody, and the folder of notebooks holds another run

    later = trained(tmp_path / "later", settings, "notebooks")
    trained(tmp_path / "one_method", settings, "train")
    trained(tmp_path / "other", load_settings("tiny", {"seed": 5}), "suite")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert open_run("tiny", {}, "", 0).run.path == later.path


def test_who_looks_takes_the_newest_run_with_trained_weights_whatever_its_settings(tmp_path, by_hand):
    assert open_trained("", {}, "", 0).run.path == by_hand  # nothing is trained
    trained(tmp_path / "suite", load_settings("tiny", {"seed": 0}), "suite")
    assert open_trained("", {}, "", 0).run.path == tmp_path / "suite"
    fifth = trained(tmp_path / "fifth", load_settings("tiny", {"seed": 5}), "suite")
    newest = trained(tmp_path / "study" / "newest", load_settings("smoke", {"seed": 5}), "train")
    Run.create(tmp_path / "empty", load_settings("tiny"), "suite")
    opened = open_trained("", {}, "", 0)
    assert opened.run.path == newest.path == opened.experiment.run_dir and opened.experiment.common == newest.settings
    facts = opened.facts["value"]
    assert (facts["preset"], facts["seed"], facts["run"]) == ("smoke", 5, "newest")
    # Whatever is set is kept to.
    assert open_trained("tiny", {}, "", 0).run.path == tmp_path / "suite"
    assert open_trained("", {}, "", 5).run.path == fifth.path
    assert open_trained("", {}, tmp_path / "suite", 0).run.path == tmp_path / "suite"
    assert open_trained("", {"compute.num_threads": 1}, "", 0).run.path == tmp_path / "suite"
