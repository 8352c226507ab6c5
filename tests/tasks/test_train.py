"""`tmal train` for every method by name: from a preset, with what it freezes untouched, to answers."""

from __future__ import annotations

import pytest
import torch

from tmal_core import cli
from tmal_core.config import load_settings
from tmal_core.experiment import Experiment
from tmal_core.models.methods import METHODS, build
from tmal_core.models.summary import frozen_hash
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.evaluate import evaluate_methods
from tmal_core.tasks.train import train_method

SIDE = {"model.ts_fsar.side_width": 64, "model.ts_fsar.temporal_blocks": [1, 3]}
TRAINED = [name for name, method in METHODS.items() if method.trained]
SHORT = {
    "episodes.way": 2,
    "training.episodes": 6,
    "training.accumulation": 2,
    "training.validate_every": 6,
    "training.warmup_episodes": 0,
    "training.backbone_learning_rate": 1e-3,  # so that three steps are more than rounding
}


@pytest.fixture
def changes(few_settings, shrunk):
    return {**shrunk, **SHORT, "data.root": str(few_settings.data.root)}


@pytest.fixture
def settings(changes):
    return load_settings("hmdb51", changes | SIDE)


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_trains_and_answers(settings, tmp_path, name):
    experiment = Experiment(settings, method_name=name, run_dir=tmp_path)
    settings = experiment.settings
    recipe = {"clip_fsar": (1.2, "float32"), "ts_fsar": (1.0, "bfloat16")}.get(name, (2.5, "bfloat16"))  # the preset's
    assert (settings.training.text_weight, settings.training.precision) == recipe
    torch.manual_seed(settings.seed)
    before = build(settings.model)
    before.head.take_classes(len(experiment.training_episodes().class_names))
    run = Run.create(tmp_path, settings, "train")
    model, state = train_method(experiment, run, progress=False)
    assert state.episode == 6 and [line["method"] for line in run.metrics()] == [name]
    assert frozen_hash(model) == frozen_hash(before)
    still = {n for n, p in model.tunable().items() if torch.equal(p, before.get_parameter(n))}
    # Behind the last block's attention nothing passes from patches to the class token: that adapter has no gradient.
    assert all(n.startswith(f"encoder.adapters.ffn.{model.encoder.depth - 1}.") for n in still), still
    again = experiment.model
    assert all(torch.equal(p, again.get_parameter(n)) for n, p in model.named_parameters())
    outcomes = evaluate_methods({name: experiment}, "val", progress=False)[name]
    assert all(0 <= outcome.accuracy_pct <= 100 and len(outcome.correct) == 10 for outcome in outcomes.values())


def test_clip_fsar_tunes_the_whole_image_tower_on_frames_of_the_whole_video(settings, tmp_path):
    """As its reference does: a random one of all frames in each segment, and its text's share in the answers."""
    settings = settings.replace({"sampling.grid": "all", "model.method": "clip_fsar", "model.text_score": 0.9})
    experiment = Experiment(settings, run_dir=tmp_path)
    model, _ = train_method(experiment, Run.create(tmp_path, experiment.settings, "train"), progress=False)
    towers = {n for n in model.tunable() if not n.startswith("head.context2.")}
    assert towers == {f"encoder.clip.visual.{n}" for n, _ in model.encoder.clip.visual.named_parameters()} | {
        "head.scale"
    }
    assert model.head.scores_text and evaluate_methods({"clip_fsar": experiment}, "val", progress=False)


def test_the_command_says_what_was_trained_part_by_part(changes, tmp_path, capsys):
    changes["model.method"] = "tmal"
    changes.pop("training.backbone_learning_rate", None)  # which TMAL, whose tower is frozen, would be refused
    arguments = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    assert cli.main(["train", "--preset", "hmdb51", *arguments, "--out", str(tmp_path)]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    trained = {line.rsplit(maxsplit=2)[0].strip(): int(line.split()[-1]) for line in table[1:]}
    assert trained["CLIP, image tower"] == trained["CLIP, text tower"] == 0 < trained["motion encoder"]
    whole, model = trained.pop("whole model"), Experiment.of_run(tmp_path).model
    assert whole == sum(trained.values()) == sum(p.numel() for p in model.tunable().values())
    assert last.startswith("tmal: best on val")
