"""The average of the weights: what it comes to, and that training without it and behind it stays what it was."""

from __future__ import annotations

import pytest
import torch

from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment
from tmal_core.training import loop
from tmal_core.training.weight_average import WeightAverage


def test_it_is_the_weighted_sum_of_all_weights_there_were():
    weight, decay = torch.zeros(3), 0.3
    average, wanted = WeightAverage({"w": weight}, decay), torch.zeros(3)
    for step in range(1, 6):
        weight.add_(torch.arange(3.0) / step)
        average.follow(step)
        used = min(decay, (1 + step) / (10 + step))
        wanted = used * wanted + (1 - used) * weight
    torch.testing.assert_close(average.tensors["w"], wanted)
    assert used == 0.3 and not WeightAverage({"w": weight}, 0.0).tensors


def test_the_weights_come_back_to_the_bit_even_after_an_error():
    weight = torch.randn(4, requires_grad=True)
    average, before = WeightAverage({"w": weight}, 0.9), weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert torch.equal(weight, before)
        raise KeyboardInterrupt
    assert torch.equal(weight, before + 1.0) and weight.requires_grad


def train(settings, folder, validate, **recipe):
    torch.manual_seed(0)
    experiment = Experiment(settings.replace({f"training.{key}": value for key, value in recipe.items()}))
    model, episodes, recipe = experiment.build(), experiment.training_episodes(), experiment.settings.training
    loop.train_model(model, episodes, validate, recipe, 0, folder, experiment.origin, progress=False)
    return {name: tensor.detach().clone() for name, tensor in model.tunable().items()}


def found(accuracy_pct):
    return loop.Validated(accuracy_pct, {"all": accuracy_pct})


def test_averaged_weights_are_validated_and_used_and_resumed_to_the_bit(few_settings, tmp_path):
    """Also where a validation falls between two optimiser steps: the second episode is in the middle of one."""
    steps = {"episodes": 4, "validate_every": 2, "accumulation": 3}
    asked = []

    def rising(model):
        asked.append({name: tensor.detach().clone() for name, tensor in model.tunable().items()})
        return found(float(len(asked)))

    whole = train(few_settings, tmp_path / "whole", rising, ema=0.8, **steps)
    plain = train(few_settings, tmp_path / "plain", rising, **steps)
    last, raw = (torch.load(tmp_path / name / loop.LAST, weights_only=True) for name in ("whole", "plain"))
    assert "average" not in raw and not all(torch.equal(whole[name], plain[name]) for name in whole)
    for name, tensor in whole.items():
        assert torch.equal(tensor, asked[1][name]) and torch.equal(tensor, last["average"][name])
        assert torch.equal(last["tunable"][name], plain[name]), "training itself goes on from the weights"
    answers = iter([1.0])

    def stops(_):
        if (accuracy := next(answers, None)) is None:
            raise RuntimeError
        return found(accuracy)

    with pytest.raises(RuntimeError):
        train(few_settings, tmp_path / "halves", stops, ema=0.8, **steps)
    resumed = train(few_settings, tmp_path / "halves", lambda _: found(2.0), ema=0.8, **steps)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_a_decay_of_one_would_never_learn(few_settings):
    with pytest.raises(SettingsError, match=r"training\.ema: input should be less than 1 \(got 1"):
        few_settings.replace({"training.ema": 1.0})
