"""Runs that can be opened: with trained weights, the last one first; a page goes from one to another."""

from __future__ import annotations

import shutil

import pytest
import torch

from tmal_core.errors import RunError
from tmal_core.runtime.run_folders import Run
from tmal_core.training.checkpoint import save_checkpoint
from tmal_core.training.loop import BEST
from tmal_core.viz.widgets.episode_inspector import EpisodeInspector
from tmal_core.viz.widgets.run_choice import RunChoice


@pytest.fixture
def runs(methods, few_settings, tmp_path):
    """Two runs with TMAL's weights, one without any, and one that is broken."""
    for name in ("first", "empty", "second"):
        Run.join(tmp_path / name, few_settings)
    experiment = methods["tmal"]
    for name in ("first", "second"):
        save_checkpoint(tmp_path / name / "checkpoints" / "tmal" / BEST, experiment.model, experiment.origin)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    Run.open(tmp_path / "first").update_summary(touched=1)
    return RunChoice(tmp_path)


def test_runs_with_trained_weights_the_last_first(runs):
    assert runs.runs() == ["first", "second"] and runs.splits("first") == ["val", "test", "train"]


def test_a_run_is_opened_with_what_it_trained(runs, state):
    opened = runs.open("second")
    assert list(opened.answers.methods) == ["otam", "tmal"] and opened.answers.split == "val"
    opened.choose(method="tmal")
    state.choose(method="tmal")
    torch.testing.assert_close(opened.before.tokens.query, state.before.tokens.query, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["empty", "none", "broken"])
def test_a_run_that_has_nothing_to_show(runs, name):
    with pytest.raises(RunError, match=r"a run with trained weights in .* \(first, second\)"):
        runs.open(name)


def test_a_page_goes_to_another_run_and_split(runs, monkeypatch, tmp_path):
    inspector = EpisodeInspector(runs.open("first"), tmp_path, runs, "first")
    told = []
    monkeypatch.setattr(inspector, "send", lambda content, buffers=None: told.append(content))
    assert inspector.view["options"]["run"] == ["first", "second"]
    inspector._asked(None, {"do": "choose", "changes": {"episode_type": "semantic"}}, None)
    inspector._asked(None, {"do": "open", "run": "second", "split": "train"}, None)
    assert (inspector.view["run"], inspector.view["split"]) == ("second", "train")
    assert inspector.view["choice"]["episode_type"] == "semantic"
    shutil.rmtree(tmp_path / "first")
    inspector._asked(None, {"do": "open", "run": "first"}, None)
    assert "a run with trained weights" in told[-1]["error"] and inspector.view["run"] == "second"
