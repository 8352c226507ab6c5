"""Ctrl-C in training: where it stands is saved, and what goes on from there ends with the same bits."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tmal_core.errors import WeightsError
from tmal_core.experiment import Experiment
from tmal_core.training import loop


@pytest.fixture(autouse=True)
def heard():
    """Also where the tests run in the background, with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "training left its own handler"
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def settings(small_settings, small_data):
    return small_settings.replace({"training.accumulation": 3})


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


class Learner:
    """Trains in a folder; Ctrl-C comes in chosen episodes, or in chosen validations."""

    def __init__(self, settings, folder, monkeypatch):
        self.settings, self.folder, self.monkeypatch = settings, folder, monkeypatch
        self.history, self.rising = [], 0

    def __call__(self, in_episode=None, in_validation=None, times=1):
        torch.manual_seed(0)
        experiment = Experiment(self.settings)
        model, step, asked = experiment.build(), loop._step, []

        def stepped(*args):
            if args[-1] == in_episode:
                [ctrl_c() for _ in range(times)]
            return step(*args)

        def validate(_):
            asked.append(None)
            if in_validation == len(asked):
                ctrl_c()
            return loop.Validated(50.0, {"all": 50.0})

        self.monkeypatch.setattr(loop, "_step", stepped)
        what = model, experiment.training_episodes(), validate, experiment.settings.training, self.settings.seed
        log = lambda **line: self.history.append({k: v for k, v in line.items() if k != "seconds"})  # noqa: E731
        try:
            return model, loop.train_model(*what, self.folder, experiment.origin, log=log, progress=False)
        finally:
            self.monkeypatch.setattr(loop, "_step", step)


@pytest.mark.parametrize(
    ("stop", "stands_at"),
    [({"in_episode": 1}, 2), ({"in_episode": 4}, 5), ({"in_validation": 1}, 4), ({"in_validation": 2}, 8)],
    ids=["before any validation", "between two steps", "in the first validation", "in the last validation"],
)
def test_interrupted_and_resumed_ends_with_the_same_bits(settings, tmp_path, monkeypatch, stop, stands_at):
    whole, halves = (Learner(settings, tmp_path / name, monkeypatch) for name in ("whole", "halves"))
    model, state = whole()
    with pytest.raises(KeyboardInterrupt):
        halves(**stop)
    saved = torch.load(tmp_path / "halves" / loop.LAST, weights_only=True)
    assert saved["progress"]["episode"] == stands_at and saved["progress"]["seconds"] > 0
    resumed, again = halves()
    assert (again.episode, again.best_episode) == (state.episode, state.best_episode) == (8, 4)
    for name, tensor in model.tunable().items():
        assert torch.equal(tensor, resumed.tunable()[name]), name
    last = [torch.load(tmp_path / name / loop.LAST, weights_only=True)["tunable"] for name in ("whole", "halves")]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    assert halves.history == whole.history, "means over the episodes since a validation are of all of them"


def test_a_second_ctrl_c_ends_at_once_and_leaves_what_was_saved(settings, tmp_path, monkeypatch):
    learner = Learner(settings, tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        learner(in_episode=5, times=2)
    assert torch.load(tmp_path / loop.LAST, weights_only=True)["progress"]["episode"] == 4


def test_without_its_best_weights_only_training_before_any_validation_goes_on(settings, tmp_path, monkeypatch):
    learner = Learner(settings, tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        learner(in_episode=6)
    (tmp_path / loop.BEST).unlink()
    with pytest.raises(WeightsError, match=f"without {loop.BEST}"):
        learner()


def test_it_tells_how_it_stands(settings, tmp_path):
    told = []
    experiment = Experiment(settings)
    found = loop.Validated(50.0, {"all": 50.0}, 45.0, 55.0)
    what = experiment.build(), experiment.training_episodes(), lambda _: found, experiment.settings.training, 0
    loop.train_model(*what, tmp_path, experiment.origin, tell=lambda **line: told.append(line), progress=False)
    assert (told[0]["phase"], told[0]["episode"], told[0]["episodes"]) == ("training", 1, 8)
    assert told[0]["loss"] > 0 and told[0]["episodes_per_s"] > 0 and told[0]["seconds_left"] > 0
    # On a slow machine the last episode is told by itself as well.
    assert [line["phase"] for line in told if line["episode"] == 8][-2:] == ["validating", "training"]
    last = told[-1]
    assert (last["val_pct"], last["val_low_pct"], last["val_high_pct"], last["seconds_left"]) == (50.0, 45.0, 55.0, 0.0)
