"""TS-FSAR's recipe: its optimiser, rates and presets, as its code runs them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tmal_core.config import TrainingSettings, load_settings
from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment
from tmal_core.training.optimiser import RATE_FACTOR, build_optimiser, learning_rate

PRESETS = {
    "hmdb51": [(10_000, 2, 1, 1, 0.4, 0.7, 1, 1, 6, 10, 50), (10_000, 2, 1, 1, 0.4, 0.6, 1, 1, 6, 10, 50)],
    "ucf101": [(10_000, 1, 1, 0.5, 0.4, 0.7, 0.5, 1, 6, 10, 50), (10_000, 1, 0.5, 0.5, 0.4, 0.7, 0.5, 1, 6, 10, 50)],
    "kinetics100": [
        (10_000, 2, 1, 1, 0.4, 0.7, 0.5, 1, 6, 10, 50),
        (10_000, 1, 0.5, 0.5, 0.4, 0.7, 0.5, 1, 6, 10, 50),
    ],
    "ssv2_small": [
        (10_000, 2.5, 2.5, 2.5, 1.6, 0.7, 2, 0.1, 0.1, 4, 50),
        (10_000, 3, 3, 3, 1.6, 0.7, 2, 0.01, 0.01, 4, 50),
    ],
    "ssv2_full": [(50_000, 2, 2, 2, 1.6, 0, 2, 4, 0.01, 4, 100), (50_000, 2, 2, 2, 1.6, 0, 2, 0.1, 0.01, 4, 50)],
}
"""Of 1 and 5 shots: episodes, rates (1e-4) of side network, generator and adapter, r, dropout, three weights, the
temperatures of distillation and of names."""
POWERS = {
    "hmdb51": [(0.15, 0.8, 0.05), (0.4, 0.55, 0.05)],
    "ucf101": [(0.15, 0.8, 0.05), (0.4, 0.5, 0.1)],
    "kinetics100": [(0.15, 0.8, 0.05)] * 2,
    "ssv2_small": [(0.4, 0.2, 0.4), (0.8, 0.05, 0.15)],
    "ssv2_full": [(0.5, 0.1, 0.4), (0.7, 0.05, 0.25)],
}
SIDE, GUIDED = "encoder.side.side_downsample.0.weight", "head.guided.weight"
GENERATOR, ADAPTER = "head.matching.generator.weight", "encoder.adapter.norm1.bias"


@pytest.mark.parametrize("at", [0, 1], ids=["1shot", "5shot"])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_reference_s(name, at):
    s = Experiment.of(name, {"episodes.shot": (1, 5)[at]}, "ts_fsar").settings
    episodes, *numbers = PRESETS[name][at]
    t, m = s.training, s.model.ts_fsar
    by_name = _rates(t)
    found = [by_name[part] for part in (SIDE, GENERATOR, ADAPTER)]
    found += [m.residual, m.dropout, m.guided_weight, m.side_weight, m.clip_weight, m.distillation_temperature]
    assert found == pytest.approx(numbers[:-1]) and m.clip_temperature == m.side_temperature == numbers[-1]
    assert t.episodes == episodes and m.powers == POWERS[name][at] and by_name[GUIDED] == pytest.approx(numbers[0])
    recipe = t.optimiser, t.schedule, t.weight_decay, t.accumulation, t.clip_norm
    assert recipe == ("adamw_all", "late_cosine", 0.1, 1, None)
    assert (m.side_width, m.temporal_blocks, m.alpha, m.num_frames) == (256, (6, 8, 10), 0.4, 8)
    assert s.episodes.queries_train == 5 and s.episodes_in_training.shot == (1, 5)[at]
    assert s.sampling.scheme == "reference_segments" and s.sampling.fit == "squash"
    assert s.sampling.flip == (not name.startswith("ssv2"))


def _rates(recipe):
    """Name -> learning rate in 1e-4."""
    tunable = {name: torch.zeros(2, 2) for name in (SIDE, GUIDED, GENERATOR, ADAPTER)}
    optimiser = build_optimiser(tunable, recipe, recipe.learning_rate)
    of = {id(p): 1e4 * group["lr"] * group[RATE_FACTOR] for group in optimiser.param_groups for p in group["params"]}
    return {name: of[id(tensor)] for name, tensor in tunable.items()}


def test_the_rate_of_a_step_is_that_of_the_one_before(assets):
    factors = load_file(assets / "ts_fsar_parts.safetensors")["schedule.used_of_12"]
    recipe = TrainingSettings(schedule="late_cosine", episodes=12)
    found = torch.tensor([learning_rate(step, recipe, 1.0) for step in range(12)])
    torch.testing.assert_close(found, factors)


def test_everything_decays():
    tunable = {"norm.bias": torch.ones(3, requires_grad=True), "weight": torch.ones(2, 2, requires_grad=True)}
    for optimiser, decayed in {"adamw_all": (True, True), "adamw": (False, True)}.items():
        built = build_optimiser(tunable, TrainingSettings(optimiser=optimiser, weight_decay=0.1), 1e-4)
        of = {id(p): group for group in built.param_groups for p in group["params"]}
        assert tuple(of[id(p)]["weight_decay"] == 0.1 for p in tunable.values()) == decayed
        assert of[id(tunable["weight"])]["eps"] == (1e-6 if optimiser == "adamw_all" else 1e-8)


def test_a_rate_factor_of_nothing_is_refused():
    recipe = TrainingSettings(rate_factors=[["side", 2.0], ["gate", 0.5]])
    with pytest.raises(SettingsError, match=r"names of what is trained, got rate factors of gate\. Correct training"):
        build_optimiser({"encoder.side.weight": torch.zeros(2, 2)}, recipe, 1e-3)


def test_what_a_user_sets_goes_before_the_block_of_a_shot():
    asked = {"episodes.shot": 5, "methods.ts_fsar.model.ts_fsar.dropout": 0.1}
    assert Experiment.of("hmdb51", asked, "ts_fsar").settings.model.ts_fsar.dropout == 0.1
    asked = {"episodes.shot": 5, "model.ts_fsar.dropout": 0.2}
    found = Experiment.of("hmdb51", asked, "ts_fsar").settings.model.ts_fsar
    assert found.dropout == 0.2 and found.powers == (0.4, 0.55, 0.05)
    asked = {"episodes.shot": 5, "methods.ts_fsar@5.model.ts_fsar.dropout": 0.3}
    assert Experiment.of("hmdb51", asked, "ts_fsar").settings.model.ts_fsar.dropout == 0.3
    assert Experiment.of("hmdb51", asked | {"episodes.shot": 2}, "ts_fsar").settings.model.ts_fsar.dropout == 0.7


def test_a_wrong_setting_in_the_block_of_a_shot_is_found_at_once():
    with pytest.raises(SettingsError, match=r"methods\.ts_fsar@5, got model\.ts_fsar\.power"):
        load_settings("hmdb51", {"methods.ts_fsar@5.model.ts_fsar.power": [1, 0, 0]})
