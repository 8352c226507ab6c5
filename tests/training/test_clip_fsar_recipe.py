"""CLIP-FSAR's recipe, from the preset's block to parameters: its rates, its groups, two steps of its training."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
import torch
from clip_fsar_golden import START, TEXT, Golden, GoldenEpisodes, clip_folder, their_name
from golden_weights import by_rule
from tolerances import assert_parity

from tmal_core.config import TrainingSettings, load_settings
from tmal_core.data.sets.sources import SOURCES
from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment
from tmal_core.models.state_dicts import load_strictly
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks import train as task
from tmal_core.training.loop import Validated
from tmal_core.training.optimiser import base_rate, build_optimiser, learning_rate

TOLERANCE = {torch.float64: (1e-6, 1e-6), torch.float32: (1e-5, 1e-4)}
"""Of parameters after one and two steps, as a share of the largest (tests/assets/README.md)."""


@pytest.mark.parametrize("name", SOURCES)
def test_the_rates_of_all_iterations_are_the_reference_s(assets, name):
    wanted = json.loads((assets / "clip_fsar_schedules.json").read_text())["datasets"][name]
    recipe = Experiment.of(name, method="clip_fsar").settings.training
    steps = recipe.episodes // recipe.accumulation
    assert (recipe.episodes, steps) == (wanted["iterations"], wanted["optimiser_steps"])
    base = base_rate(recipe, tunes_backbone=True)
    rates = [learning_rate(i, recipe, base) for i in range(recipe.episodes)]
    assert {i: rates[int(i)] for i in wanted["ramp_samples"]} == wanted["ramp_samples"]
    assert [rates[part["to"]] for part in wanted["segments"][1:]] == [part["rate"] for part in wanted["segments"][1:]]
    assert hashlib.sha256(struct.pack(f"<{len(rates)}d", *rates)).hexdigest() == wanted["sha256"]


def test_groups_are_the_reference_s(assets):
    wanted = json.loads((assets / "clip_fsar_state_dict.json").read_text())["ViT-B/16"]
    recipe = Experiment.of("hmdb51", method="clip_fsar").settings.training
    tensors = {name: torch.empty(shape, device="meta") for name, (shape, _) in wanted["model_state"].items()}
    optimiser = build_optimiser(tensors, recipe, 1.0)
    assert type(optimiser) is torch.optim.Adam
    names = {id(tensor): name for name, tensor in tensors.items()}
    mine = [(group["weight_decay"], [names[id(p)] for p in group["params"]]) for group in optimiser.param_groups]
    (decayed, rest), (not_decayed, norms) = mine
    theirs = [(group["weight_decay"], group["tensors"]) for group in wanted["groups"] if group["tensors"]]
    assert theirs == [(not_decayed, len(norms)), (decayed, len(rest))] == [(0.0, 2), (1e-3, 162)]
    assert norms == wanted["groups"][0]["names"] and "head.scale" in rest
    assert all((group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8) for group in optimiser.param_groups)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("shot", [1, 5])
def test_two_steps_of_training_give_the_reference_s_parameters(assets, tmp_path, monkeypatch, shot, dtype):
    """`train_method` with the preset's recipe; only data, first weights and the schedule's numbers are the golden's."""
    golden = Golden(assets, shot)
    folder, start, factors = clip_folder(tmp_path / "clip"), golden.settings["schedule"], (0.1, 0.01)
    epoch = start["steps_iter"]
    asked = {
        "model.backbone": str(folder),
        "model.pretrained": "folder",
        "sampling.resize": 32,
        "sampling.crop": 32,
        "training.backbone_learning_rate": start["base"],
        "training.warmup_episodes": epoch,
        "training.warmup_rate": start["start"],
        "training.rate_drops": [list(drop) for drop in zip((2 * epoch, 3 * epoch), factors, strict=True)],
        "training.accumulation": golden.settings["accumulation"],
        "training.episodes": 4,
        "training.validate_every": 2,
        "compute.num_workers": 0,
    }
    experiment = Experiment.of("hmdb51", asked, "clip_fsar", tmp_path / "run")
    recipe = experiment.settings.training
    rates = [learning_rate(i, recipe, base_rate(recipe, tunes_backbone=True)) for i in range(4)]
    assert rates == golden.settings["rates_of_iterations"]
    model, seen = started(experiment, golden).to(dtype), []

    def validate(_):
        seen.append({their_name(name): p.detach().clone() for name, p in model.tunable().items()})
        return Validated(50.0, {"all": 50.0})

    monkeypatch.setattr(Experiment, "build", lambda _: model)
    monkeypatch.setattr(Experiment, "training_episodes", lambda _: GoldenEpisodes(golden, dtype))
    monkeypatch.setattr(task, "class_text", lambda *_: TEXT["train"].to(dtype))
    monkeypatch.setattr(task, "origin_with_classes", lambda of: of.origin)
    monkeypatch.setattr(task, "_validation", lambda *_: validate)
    first = {their_name(name): p.detach().clone() for name, p in model.tunable().items()}
    _, state = task.train_method(experiment, Run.create(tmp_path / "run", experiment.settings, "train"), progress=False)

    for step, found, share in zip((1, 2), seen, TOLERANCE[dtype], strict=True):
        losses = torch.stack([golden.tensors[f"iteration{i}.losses"] for i in (2 * step - 2, 2 * step - 1)])
        line, mean = state.history[step - 1], losses.mean(0)
        assert line["text_loss"] == pytest.approx(float(mean[1]), rel=1e-5)
        assert line["loss"] == pytest.approx(2 * float(mean[2]), rel=1e-5)
        require_golden(golden, f"step{step}.parameter", found, share)
        if dtype is torch.float64:  # float32 makes whole steps of Adam of rounding where the gradient is zero
            changes = {name: found[name] - first[name] for name in found}
            require_golden(golden, f"step{step}.change", changes, 1e-4)


def test_the_first_weights_are_those_of_the_rule():
    """But for the last bit, which follows the processor's kernels; two steps of Adam make 5e-6 of it."""
    for name, value in START.items():
        torch.testing.assert_close(value, by_rule(name, value.shape), rtol=1e-6, atol=1e-6)


def started(experiment, golden):
    """The method with the weights that the reference started from, without dropout."""
    model = experiment.build()
    weights = golden.state(model)
    mine = {name: weights[their_name(name)] for name in model.tunable()}
    load_strictly(model, {**model.state_dict(), **mine}, "the golden")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def require_golden(golden, what, found, share):
    """Ten tensors whole; of all of them the norm, and the sum of products with a tensor that follows from the name."""
    assert sorted(found) == sorted(golden.names)
    whole = {name for name in golden.names if f"{what}.{name}" in golden.tensors}
    assert len(whole) == 10
    for name, (norm, probe) in zip(golden.names, golden.settings["norm_and_probe"][what], strict=True):
        value = found[name].double()
        if name in whole:
            assert_parity(value, golden.tensors[f"{what}.{name}"].double(), share, f"{what} of {name}")
        products = value * by_rule(f"probe.{name}", tuple(value.shape)).double()
        assert value.norm().item() == pytest.approx(norm, rel=share), name
        assert products.sum().item() == pytest.approx(probe, abs=share * products.abs().sum().item()), name


def test_a_rise_that_would_be_a_fall_is_refused():
    recipe = load_settings("hmdb51", {"training.learning_rate": 1e-4}).training
    words = r"a training\.warmup_rate up to training\.learning_rate 0\.0001, got 0\.0002\. Lower training\.warmup_rate"
    with pytest.raises(SettingsError, match=words):
        base_rate(recipe, tunes_backbone=False)


def test_default_recipe_is_adamw_whose_matrices_decay():
    tensors = {"norm.matrix": torch.zeros(2, 2), "scale": torch.zeros(1)}
    optimiser = build_optimiser(tensors, TrainingSettings(weight_decay=0.1), 1.0)
    assert type(optimiser) is torch.optim.AdamW
    assert [(g["weight_decay"], g["params"]) for g in optimiser.param_groups] == [
        (0.1, [tensors["norm.matrix"]]),
        (0.0, [tensors["scale"]]),
    ]
