"""Training: learns, keeps the backbone, chooses on val, stops early, and resumes to the bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tmal_core.config import TrainingSettings
from tmal_core.data.clips import EpisodeClips
from tmal_core.data.sets.catalog import load_catalog, save_catalog
from tmal_core.errors import DataError, RunError, SettingsError, WeightsError
from tmal_core.experiment import Experiment
from tmal_core.matching import otam_distance
from tmal_core.models import encoder, heads
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import build
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks import train as task
from tmal_core.tasks.evaluate import evaluate_methods
from tmal_core.training import loop
from tmal_core.training.checkpoint import Origin, load_checkpoint, save_checkpoint
from tmal_core.training.losses import _rotations, episode_loss, gradient_norms
from tmal_core.training.optimiser import decay_groups, learning_rate


@pytest.fixture
def settings(small_settings, small_data):
    return small_settings


def _train(settings, folder, validate=None):
    torch.manual_seed(0)
    experiment = Experiment(settings)
    model, origin = experiment.build(), experiment.origin
    validate = validate or (lambda _: _found(50.0))
    recipe = experiment.settings.training
    episodes, seed = experiment.training_episodes(), settings.seed
    return model, loop.train_model(model, episodes, validate, recipe, seed, folder, origin, progress=False)


def _episodes(settings):
    return Experiment(settings).training_episodes()


def _found(accuracy_pct):
    return loop.Validated(accuracy_pct, {"all": accuracy_pct})


def _rising():
    count = iter(range(100))
    return lambda _: _found(float(next(count)))


def test_the_history_has_means_over_what_was_measured():
    steps = [loop.Step(1.0, 50.0, np.nan), loop.Step(2.0, 50.0, 4.0)]
    state = loop.Progress(episode=2)
    loop._note(state, steps, _found(50.0), began=0.0)
    loop._note(state, [steps[1]._replace(text_loss=3.0)], _found(50.0), began=0.0)
    first, second = state.history
    assert (first["loss"], first["grad_norm"], second["text_loss"]) == (1.5, 4.0, 3.0) and "text_loss" not in first
    assert state.stale == 1
    assert not {"episode_grad_norm", "episode_grad_pct"} & first.keys(), "nothing was measured"
    shares = steps[1]._replace(episode_grad_norm=1.0, text_grad_norm=7.0)
    loop._note(state, [steps[0], shares, shares._replace(text_grad_norm=5.0)], _found(50.0), began=0.0)
    loop._note(state, [steps[0]._replace(episode_grad_norm=0.0)], _found(50.0), began=0.0)
    *_, both, none = state.history
    assert (both["episode_grad_norm"], both["text_grad_norm"], both["text_grad_pct"]) == (1.0, 6.0, 600 / 7)
    assert both["episode_grad_pct"] == 100 / 7 and none["episode_grad_pct"] == 0.0


def test_frozen_weights_do_not_change_and_tunable_ones_do(settings, tmp_path):
    before = {k: v.clone() for k, v in build(settings.model).encoder.clip.state_dict().items()}
    torch.manual_seed(0)
    start = build(settings.model)
    model, _ = _train(settings, tmp_path)
    assert all(torch.equal(v, before[k]) for k, v in model.encoder.clip.state_dict().items())
    assert all(p.grad is None for p in model.encoder.clip.parameters())
    assert any(not torch.equal(p, start.tunable()[n]) for n, p in model.tunable().items())


OTHER_RECIPE = {"optimiser": "adam_l2", "schedule": "steps", "warmup_episodes": 5, "clip_norm": None}


@pytest.mark.parametrize(("accumulation", "recipe"), [(1, {}), (3, {}), (3, OTHER_RECIPE)])
def test_stopped_and_resumed_ends_with_the_same_bits(settings, tmp_path, accumulation, recipe):
    """Also where a validation falls between two optimiser steps: 4 episodes are a step of 3, and a third of one."""
    settings = settings.replace({f"training.{key}": value for key, value in recipe.items()})
    settings = settings.replace({"training.accumulation": accumulation})
    whole, _ = _train(settings, tmp_path / "whole", _rising())

    class Stop(Exception):
        pass

    accuracies = iter([0.0])

    def stop_at_second_validation(_):
        if (accuracy := next(accuracies, None)) is None:
            raise Stop
        return _found(accuracy)

    with pytest.raises(Stop):
        _train(settings, tmp_path / "halves", stop_at_second_validation)
    resumed, state = _train(settings, tmp_path / "halves", lambda _: _found(1.0))
    assert state.episode == settings.training.episodes
    for name, tensor in whole.tunable().items():
        assert torch.equal(tensor, resumed.tunable()[name]), name


def test_best_on_val_is_what_remains(settings, tmp_path):
    falling = iter([90.0, 10.0])
    model, state = _train(settings, tmp_path, lambda _: _found(next(falling)))
    assert (state.best_pct, state.best_episode) == (90.0, 4)
    best = torch.load(tmp_path / loop.BEST, weights_only=True)
    assert best["episode"] == 4
    assert all(torch.equal(best["tunable"][n], p) for n, p in model.tunable().items())


@pytest.mark.parametrize("lost", ["best", "progress"])
def test_what_training_cannot_go_on_from_is_named(settings, tmp_path, lost):
    _train(settings, tmp_path)
    best, last = tmp_path / loop.BEST, tmp_path / loop.LAST
    if lost == "best":
        best.unlink()
    else:
        last.write_bytes(best.read_bytes())
    with pytest.raises(WeightsError, match=rf"{loop.LAST} of a training .*, got {last}.* Remove {loop.LAST} to begin"):
        _train(settings, tmp_path)


def test_stops_early(settings, tmp_path):
    impatient = settings.replace({"training.patience": 1, "training.episodes": 40})
    _, state = _train(impatient, tmp_path)
    assert state.episode == 8  # the first validation is the best, the second one is no better


def test_accumulation_equals_one_larger_step(settings, tmp_path):
    """Two accumulated episodes give the mean of their gradients."""
    twice = settings.replace({"training.accumulation": 2, "training.episodes": 2, "training.validate_every": 2})
    twice = twice.replace({"training.clip_norm": 1e6})
    _train(twice, tmp_path)
    first_moments = torch.load(tmp_path / loop.LAST, weights_only=True)["optimiser"]["state"]
    torch.manual_seed(0)
    model = build(settings.model).train()
    for clips in islice(_episodes(twice), 2):
        (episode_loss(model, clips, None, twice.training.rotate, 0.0).loss / 2).backward()
    parameters = [p for group in decay_groups(model.tunable(), 0.0) for p in group["params"]]
    gradients = {index: p.grad for index, p in enumerate(parameters) if p.grad is not None}
    assert first_moments.keys() == gradients.keys() and any(gradient.any() for gradient in gradients.values())
    for index, gradient in gradients.items():
        assert int(first_moments[index]["step"]) == 1
        torch.testing.assert_close(first_moments[index]["exp_avg"], 0.1 * gradient, rtol=1e-4, atol=1e-7)


def test_gradients_are_clipped_or_not(settings, tmp_path):
    """Adam's first average is a tenth of the gradient that it was given."""
    once = settings.replace({"training.episodes": 1, "training.validate_every": 1})
    lengths = {}
    for norm in (None, 1e-5):
        _, state = _train(once.replace({"training.clip_norm": norm}), tmp_path / str(norm))
        moments = torch.load(tmp_path / str(norm) / loop.LAST, weights_only=True)["optimiser"]["state"].values()
        lengths[norm] = torch.stack([10 * found["exp_avg"].norm() for found in moments]).norm().item()
    measured = state.history[0]["grad_norm"]
    assert measured > 2e-5 and lengths == {None: pytest.approx(measured, rel=1e-4), 1e-5: pytest.approx(1e-5, rel=0.05)}


@pytest.mark.parametrize("memory", ["normal", "low"])
def test_looking_at_each_loss_s_gradient_changes_no_bit(few_settings, tmp_path, monkeypatch, memory):
    """TMAL, whose two losses share nearly all parameters, measured in every episode and in none."""
    changes = {"model.method": "tmal", "training.episodes": 3, "training.validate_every": 3, "training.memory": memory}
    experiment = Experiment(few_settings.replace({**changes, "training.accumulation": 3}))
    recipe, trained = experiment.settings.training, {}
    for looked in (True, False):
        if not looked:
            monkeypatch.setattr(loop, "_is_measured", lambda *_: False)
        torch.manual_seed(0)
        model, episodes = experiment.build(), experiment.training_episodes()
        text = torch.randn(len(episodes.class_names), model.encoder.joint_width)
        where = tmp_path / str(looked), experiment.origin, text
        state = loop.train_model(model, episodes, lambda _: _found(50.0), recipe, 0, *where, progress=False)
        trained[looked] = model.tunable(), state.history[0]
    (seen, with_shares), (unseen, without) = trained.values()
    assert all(torch.equal(tensor, unseen[name]) for name, tensor in seen.items())
    assert with_shares["text_grad_pct"] + with_shares["episode_grad_pct"] == pytest.approx(100)
    assert {name for name in with_shares if name not in without} == {
        f"{loss}_grad_{kind}" for loss in ("episode", "text") for kind in ("norm", "pct")
    }


def test_the_gradients_of_the_losses_add_up_to_that_of_training(few_settings):
    settings = few_settings.replace({"model.method": "tmal"})
    torch.manual_seed(0)
    model, episodes = build(settings.model).train(), _episodes(settings)
    text = torch.randn(len(episodes.class_names), model.encoder.joint_width)
    norms, gradients = [], []
    for weight in (0.0, 0.3, 0.6):
        found = episode_loss(model, episodes[0], text, text_weight=weight)
        norms.append(gradient_norms(found.parts, model.tunable()))
        assert all(p.grad is None for p in model.parameters())
        found.loss.backward()
        given = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.tunable().values()]
        gradients.append(torch.cat([gradient.flatten() for gradient in given]))
        model.zero_grad()
    assert [*norms[0]] == ["episode"] and norms[0]["episode"] == pytest.approx(gradients[0].norm().item(), rel=1e-4)
    for found, whole in zip(norms[1:], gradients[1:], strict=True):
        assert found["episode"] == pytest.approx(norms[0]["episode"], rel=1e-4)
        assert found["text"] == pytest.approx((whole - gradients[0]).norm().item(), rel=1e-3)
    assert norms[2]["text"] == pytest.approx(2 * norms[1]["text"], rel=1e-4)


def test_gradients_are_looked_at_before_validations_alone():
    recipe = TrainingSettings(episodes=11, validate_every=5, accumulation=2)
    assert [index for index in range(11) if loop._is_measured(index, recipe)] == [3, 4, 8, 9, 10]


def test_a_gradient_that_is_not_finite_ends_training_before_it_reaches_a_weight(settings, tmp_path, monkeypatch):
    def spoilt(*arguments):
        result = episode_loss(*arguments)
        return replace(result, loss=result.loss * torch.inf)

    monkeypatch.setattr(loop, "episode_loss", spoilt)
    built, train = [], FewShotModel.train
    monkeypatch.setattr(FewShotModel, "train", lambda self, mode=True: built.append(self) or train(self, mode))
    with pytest.raises(RunError, match=r"gradients that are finite, got a norm of nan in episode 4.*learning_rate"):
        _train(settings, tmp_path)
    assert all(p.isfinite().all() for p in built[-1].parameters())


def test_schedule_rises_then_falls_to_zero():
    """A step at the end of every second episode; zero would be reached by one more step than there are."""
    recipe = TrainingSettings(warmup=10, episodes=200, accumulation=2)
    factors = [learning_rate(2 * step + 1, recipe, 1.0) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_a_few_episodes_lower_the_loss(settings):
    """The same episode again and again: adapters can fit it, so gradients reach them."""
    torch.manual_seed(0)
    model = build(settings.model).train()
    clips = _episodes(settings)[0]
    optimiser = torch.optim.Adam(model.tunable().values(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = loop.episode_loss(model, clips).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_history_is_there_at_every_validation_and_counts_the_last_line(few_settings, tmp_path):
    run, seen = Run.create(tmp_path / "run", few_settings, "train"), []
    experiment = Experiment(few_settings, run_dir=run.path)
    task.train_method(experiment, run, progress=False, on_validation=lambda: seen.append(len(run.metrics())))
    assert seen == [1, 2]
    run.log_metrics(kind="train", method="st_adapter", episode=4, val_pct=99.0)
    run.log_metrics(kind="train", method="tmal", episode=4, val_pct=12.0)
    history = task.training_history(run, ["tmal", "st_adapter"])
    assert history["method"].tolist() == ["tmal", "st_adapter", "st_adapter"]
    assert history["episode"].tolist() == [4, 4, 8] and history["val_pct"].tolist()[:2] == [12.0, 99.0]
    assert "time" not in history and task.training_history(run, ["otam"]).empty


def test_differences_are_trained_and_evaluated_without_any_flow(few_settings, tmp_path, monkeypatch):
    """From files of video to answers, where not one file of flow lies."""
    root = tmp_path / "data"
    catalog = load_catalog(few_settings.data.folder)
    save_catalog(root, catalog.table, catalog.root)
    changes = {"data.root": str(root), "model.flow_encoder": "difference", "training.episodes": 4}
    experiment = Experiment(few_settings.replace(changes), method_name="tmal", run_dir=tmp_path / "run")
    with Run.create(experiment.run_dir, experiment.settings, "train") as run:
        model, state = task.train_method(experiment, run, progress=False)
    assert state.episode == 4 and not (root / "flow").exists()
    start = Experiment(experiment.settings, method_name="tmal").build().encoder.motion
    assert start.channels == 1 and not torch.equal(start.stem[0].weight, model.encoder.motion.stem[0].weight)
    outcomes = evaluate_methods({"tmal": experiment}, "val", progress=False)["tmal"]
    assert {outcome.logits.shape[0] for outcome in outcomes.values()} == {few_settings.evaluation.episodes}
    with pytest.raises(DataError, match=r"tmal flow"):
        Experiment(few_settings.replace({"data.root": str(root)}), method_name="tmal").training_episodes()[0]


def test_nothing_to_train(settings, tmp_path):
    frozen = settings.replace({"model.method": "otam"})
    with pytest.raises(SettingsError, match="expected a method that is trained"):
        task.train_method(Experiment(frozen), Run.create(tmp_path / "run", frozen, "train"))


def test_unknown_method(settings):
    with pytest.raises(SettingsError, match="expected a method among"):
        build(settings.replace({"model.method": "magic"}).model)


def test_checkpoint_of_other_settings(settings, tmp_path):
    model = build(settings.model)
    save_checkpoint(tmp_path / "a.pt", model, Origin("one"))
    with pytest.raises(WeightsError, match="expected a checkpoint of settings two"):
        load_checkpoint(tmp_path / "a.pt", model, Origin("two"))


def test_checkpoint_of_another_architecture(settings, tmp_path):
    save_checkpoint(tmp_path / "a.pt", build(settings.model), Origin("one"))
    wider = build(settings.replace({"model.bottleneck": 32}).model)
    with pytest.raises(WeightsError, match="tunable tensors"):
        load_checkpoint(tmp_path / "a.pt", wider)


def test_checkpoint_missing_or_damaged(settings, tmp_path):
    model = build(settings.model)
    with pytest.raises(WeightsError, match="which is not there"):
        load_checkpoint(tmp_path / "none.pt", model)
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="expected a checkpoint of this package"):
        load_checkpoint(tmp_path / "bad.pt", model)


def test_a_checkpoint_never_runs_code(settings, tmp_path):
    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"tunable": Payload(), "settings_hash": "x"}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "evil.pt", build(settings.model))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("episode_type", range(4))
def test_rotations_use_every_clip_as_support_and_never_its_twin_as_query(settings, episode_type):
    clips = _episodes(settings.replace({"episodes.queries_train": 2}))[episode_type]
    labels, bases = clips.labels, clips.bases
    rounds = list(_rotations(labels, bases, 1))
    assert sorted(torch.cat([support for support, _ in rounds]).tolist()) == list(range(len(labels)))
    for support, query in rounds:
        assert labels[support].tolist() == labels.unique().tolist()
        assert not set(bases[support].tolist()) & set(bases[query].tolist())


def test_semantic_clips_do_not_rotate(settings):
    """Its queries show the end of the action: as support clips they would give the answer away."""
    episodes = [_episodes(settings)[i] for i in range(4)]
    assert {e.episode_type: e.exchangeable for e in episodes} == {
        "appearance": True, "motion": True, "order": True, "semantic": False
    }  # fmt: skip


def test_rotated_loss_is_the_mean_over_the_rounds(settings):
    model, clips = build(settings.model).eval(), _episodes(settings)[0]
    labels = clips.labels
    with torch.no_grad():
        features = model.encoder(clips.frames)
        rounds = list(_rotations(labels, clips.bases, 1))
        logits = [model.head.episode_logits(features[q], features[s], labels[s]) for s, q in rounds]
        losses = [torch.nn.functional.cross_entropy(x, labels[q]) for x, (_, q) in zip(logits, rounds, strict=True)]
        assert episode_loss(model, clips, rotate=True).loss == pytest.approx(
            float(torch.stack(losses).mean()), rel=1e-5
        )


@pytest.mark.parametrize("name", ["tmal", "clip_fsar", "st_adapter"])
def test_a_model_on_a_gpu_learns_from_clips_that_lie_on_the_cpu(settings, name, monkeypatch):
    """Fake tensors know their device and refuse to meet those of another; none of them computes anything."""
    monkeypatch.setattr(otam_distance, "_kernels", lambda _: None)
    # Where the values of tensors decide on shapes, fake ones have no answer.
    logits = heads.visual_logits
    monkeypatch.setattr(heads, "visual_logits", lambda distances, labels: logits(distances, labels, 2))
    monkeypatch.setattr(heads, "class_means", lambda values, labels: values[:2])
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 0.5)
    model = build(settings.replace({"model.method": name, "model.text_score": 0.5}).model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model, labels = model.to("cuda").train(), torch.arange(2).repeat_interleave(3)
        shown = {"frames": torch.zeros(6, 8, 3, 64, 64), "flow_px": torch.zeros(6, 8, 2, 64, 64)}
        drawn = {"labels": labels, "classes": torch.tensor([4, 2]), "bases": torch.arange(6), "named": torch.arange(6)}
        clips = EpisodeClips(episode_type="", num_support=2, exchangeable=True, **shown, **drawn)
        text = torch.zeros(5, model.encoder.joint_width, device="cuda")
        assert episode_loss(model, clips, text, text_weight=0.5).loss.device.type == "cuda"


def test_only_clips_that_are_support_are_encoded_as_such(settings, small_flow, monkeypatch):
    settings = settings.replace({"model.method": "tmal"})
    model, episodes = build(settings.model).eval(), _episodes(settings)
    with torch.no_grad():
        for parameter in model.tunable().values():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    text, clips = torch.randn(len(episodes.class_names), model.encoder.joint_width), episodes[0]
    asked, encode_roles = [], model.encoder.encode_roles

    def all_of_them(frames, flow_px, words, num_support):
        asked.append(num_support)
        return encode_roles(frames, flow_px, words)

    found = episode_loss(model, clips, text, text_weight=0.5)
    alone, without = found.loss, episode_loss(model, clips, text)
    assert alone.item() == pytest.approx(without.loss.item() + 0.5 * found.text_loss) and np.isnan(without.text_loss)
    monkeypatch.setattr(model.encoder, "encode_roles", all_of_them)
    torch.testing.assert_close(alone, episode_loss(model, clips, text, text_weight=0.5).loss, atol=1e-5, rtol=1e-5)
    episode_loss(model, clips, text, rotate=True)
    assert asked == [clips.num_support, None] and clips.num_support < len(clips.labels)


def test_low_memory_gives_the_same_gradients_and_keeps_less(settings, small_flow, monkeypatch):
    monkeypatch.setattr(encoder, "_CLIPS_IN_LOW_MEMORY", 3)
    settings = settings.replace({"model.method": "tmal"})
    torch.manual_seed(0)
    model = build(settings.model)
    with torch.no_grad():
        for parameter in model.tunable().values():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    episodes = _episodes(settings)
    text = torch.randn(len(episodes.class_names), model.encoder.joint_width)
    clips = episodes[0]
    assert len(clips.labels) == 4  # two parts, one of them smaller
    gradients, kept = [], []
    for low in (False, True):
        model.encoder.low_memory = low
        model.train().zero_grad()
        held: dict[int, int] = {}

        def note(tensor, held=held):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = episode_loss(model, clips, text).loss
        kept.append(sum(held.values()))
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.tunable().items() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    assert kept[1] < 0.5 * kept[0]


def test_memory_is_no_part_of_what_names_trained_weights(settings, monkeypatch, tmp_path):
    low = settings.replace({"training.memory": "low"})
    assert Experiment(low).origin.digest == Experiment(settings).origin.digest
    model, _ = _train(low, tmp_path)
    assert model.encoder.low_memory


def test_nothing_is_kept_below_the_first_tunable_part(settings):
    """A fusion in the last block alone: the blocks below are frozen features, whatever the depth."""
    parts = {"model.method": "tmal", "model.adapters": "none", "model.flow_encoder": "none"}
    model = build(settings.replace({**parts, "model.text_levels": "last"}).model).train()
    kept, frames = [], torch.randn(1, 2, 3, 64, 64)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        model.encoder.tokens(frames)  # a query meets no text
    *below, last = model.encoder.tokens(frames, text=torch.randn(1, model.encoder.joint_width))
    assert not kept and last.requires_grad and not any(tokens.requires_grad for tokens in below)
