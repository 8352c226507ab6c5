"""Episodes over a bank answer exactly as the model does one episode at a time; each video is encoded once."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tmal_core.analysis.inspection import matched_features
from tmal_core.data.clips import Clip, ClipReader
from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.evaluation import feature_bank as bank
from tmal_core.evaluation import scoring
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.experiment import Experiment
from tmal_core.matching import otam_distance
from tmal_core.models.methods import METHODS, build
from tmal_core.models.text import SplitText

TOLERANCE = 5e-4


@pytest.fixture(scope="module")
def val(small_data):
    return small_data.select("val")


@pytest.fixture(scope="module")
def reader(val, small_settings):
    return ClipReader(val, small_settings.sampling)


def _model(settings, name):
    return build(settings.replace({"model.method": name}).model)


@pytest.fixture(scope="module")
def encoded(small_settings, reader):
    return bank.encode(_model(small_settings, "otam"), reader, progress=False)


def _episodes(val, name="appearance", count=20, shot=1):
    episode_type = next(p for p in episode_types(val) if p.name == name)
    return Episodes.draw(EpisodeSampler(val, episode_type, 5, shot, 1, 0), count)


def _learned(model):
    """Random weights wherever something starts as the identity: every part has its say."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


_CASES = [*((name, {}) for name in METHODS), *((name, {"model.centre": "gate"}) for name in ("otam", "tmal"))]
_CASES += [("tmal", {"model.task_conditioned": True})]


@pytest.mark.parametrize(("name", "parts"), _CASES)
@pytest.mark.parametrize("text_score", [0.0, 0.4])
def test_same_as_one_episode_at_a_time(small_settings, small_flow, val, name, parts, text_score, monkeypatch):
    experiment = Experiment(small_settings.replace({"model.text_score": text_score, **parts}), method_name=name)
    model = _learned(experiment.build())
    asked = val.select(family="appearance")
    reader = experiment.reader(asked)
    assert reader.with_motion == model.reads_motion
    text = experiment.text(asked, model)
    encoded = bank.encode(model, reader, text, progress=False)
    monkeypatch.setattr(scoring, "_PAIRS_AT_ONCE_CPU", 60)  # two episodes with five prototypes, one with ten
    for shot in (1, 2):
        episodes = _episodes(asked, shot=shot, count=3)
        alone = np.stack([_alone(model, reader, text, episodes, index) for index in range(3)])
        second, best = np.moveaxis(np.sort(alone, axis=2)[..., -2:], 2, 0)
        clear = best - second > TOLERANCE
        assert clear.sum() > 7  # of 15 queries: the comparison of predictions is not empty
        for table_over_pairs in (0, 1e9):  # by chosen pairs, and from a table of all
            monkeypatch.setattr(scoring, "_TABLE_OVER_PAIRS", table_over_pairs)
            outcome = evaluate(model, encoded, episodes)
            np.testing.assert_allclose(outcome.logits, alone, atol=TOLERANCE)
            assert np.array_equal(outcome.predicted.reshape(clear.shape)[clear], alone.argmax(2)[clear])


@pytest.mark.parametrize("text_score", [0.0, 0.4])
def test_episodes_that_are_answered_as_a_whole(small_settings, val, monkeypatch, text_score):
    experiment = Experiment(small_settings.replace({"model.text_score": text_score}), method_name="otam")
    model, asked = experiment.build().eval(), val.select(family="appearance")
    text = experiment.text(asked, model)
    encoded = bank.encode(model, experiment.reader(asked), text, progress=False)
    monkeypatch.setattr(scoring, "_NUMBERS_AT_ONCE_CPU", 3 * 15 * 8 * 128)  # three episodes of two shots at a time
    for shot in (1, 2):
        episodes = _episodes(asked, shot=shot, count=7)
        with monkeypatch.context() as patched:
            by_pair = evaluate(model, encoded, episodes).logits
            patched.setattr(type(model.head), "by_episode", True)
            whole = evaluate(model, encoded, episodes).logits
        scale = 1.0 if text_score else model.head.log_scale.exp().item()
        np.testing.assert_allclose(whole / scale, by_pair, atol=TOLERANCE)


@torch.no_grad()
def _alone(model, reader, text, episodes, index):
    """Logits of one episode whose clips are read and encoded for it, without the learned scale as in an Outcome."""
    labels = torch.arange(episodes.way).repeat_interleave(episodes.support.shape[2])
    words = None if text is None else text.of_videos(episodes.support[index][:, 0])
    tokens = []
    for rows, role_text in ((episodes.query, None), (episodes.support, words)):
        clips = [reader.evaluate(int(row)) for row in rows[index].ravel()]
        frames = torch.stack([clip.frames for clip in clips])
        flow = torch.stack([clip.flow_px for clip in clips]) if model.reads_motion else None
        role_text = role_text[labels] if role_text is not None and model.reads_text else None
        tokens.append(model.encoder(frames, flow, role_text))
    logits = model.head.episode_logits(*tokens, labels, words)
    return (logits if model.head.scores_text else logits / model.head.log_scale.exp()).numpy()


def test_a_model_on_a_gpu_reads_a_bank_that_lies_on_the_cpu(small_settings, val, monkeypatch):
    """Fake tensors know their device and refuse to meet those of another; none of them computes anything."""
    monkeypatch.setattr(otam_distance, "_kernels", lambda _: None)
    numbers = SplitText(torch.randn(3, 128), np.arange(len(val)) % 3)
    for name, text_score in itertools.product(("otam", "tmal"), (0.0, 0.4)):
        model = build(small_settings.replace({"model.method": name, "model.text_score": text_score}).model).eval()
        episodes = _episodes(val, shot=2)
        with FakeTensorMode(allow_non_fake_inputs=True), monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "numpy", lambda t: np.zeros(t.shape) if t.device.type == "cpu" else None)
            model = model.to("cuda")
            tokens = torch.randn(len(val), 8 + model.reads_motion, 128)
            kept = bank.Bank(tokens, tokens, "", numbers)
            for table in (0, 1e9):
                patched.setattr(scoring, "_TABLE_OVER_PAIRS", table)
                assert evaluate(model, kept, episodes).logits.shape == (20, 5, 5)
            assert {part.device.type for part in matched_features(model, kept, 1, 2)} == {"cpu"}


def test_bank_encodes_each_video_once(small_settings, val, reader, monkeypatch):
    read = []
    monkeypatch.setattr(reader, "evaluate", lambda row, view: read.append(row) or Clip(torch.zeros(8, 3, 64, 64)))
    bank.encode(_model(small_settings, "otam"), reader, progress=False)
    assert read == list(range(len(val)))


def test_a_bank_keeps_both_roles_where_text_joins_the_tower(small_settings, small_flow, val, tmp_path):
    experiment = Experiment(small_settings, method_name="tmal")
    model = _learned(experiment.build())
    reader = experiment.reader(val.select(family="appearance"))
    text = experiment.text(reader.catalog, model)
    made = bank.encode(model, reader, text, progress=False, folder=tmp_path)
    kept = bank.encode(model, reader, text, progress=False, folder=tmp_path)
    assert made.query.shape == (len(reader.catalog), 9, 128)
    assert (made.query - made.support).abs().max() > 1e-3
    assert torch.equal(kept.query, made.query) and torch.equal(kept.support, made.support)
    words = SplitText(text.features.roll(1, 0), text.class_of)
    assert bank.bank_key(model, reader, words) != made.key


def test_bank_is_kept_and_shared_by_methods_with_the_same_features(
    tmp_path, small_settings, reader, encoded, monkeypatch
):
    monkeypatch.setattr(bank, "_encoded", lambda *_: {"query": encoded.query})
    bank.encode(_model(small_settings, "otam"), reader, folder=tmp_path)
    monkeypatch.setattr(bank, "_encoded", lambda *_: pytest.fail("encoded again"))
    kept = bank.encode(_model(small_settings, "protonet"), reader, folder=tmp_path)
    assert torch.equal(kept.query, encoded.query) and torch.equal(kept.support, encoded.support)


def test_bank_of_other_weights_or_positions_is_another(small_settings, val, reader):
    model = _model(small_settings, "st_adapter")
    key = bank.bank_key(model, reader)
    with torch.no_grad():
        model.head.log_scale += 1
    assert bank.bank_key(model, reader) == key
    fewer = small_settings.replace({"sampling.num_frames": 4}).sampling
    assert bank.bank_key(model, ClipReader(val, fewer)) != key
    own = small_settings.replace({"sampling.scheme": "reference_segments"}).sampling
    assert len({bank.bank_key(model, ClipReader(val, own, seed=seed)) for seed in (0, 0, 1)} | {key}) == 3
    assert bank.bank_key(model, ClipReader(val, small_settings.sampling, seed=1)) == key, "the middles are not drawn"
    with torch.no_grad():
        next(model.encoder.adapters.parameters()).add_(1e-3)
    assert bank.bank_key(model, reader) != key


def test_mean_pooled_matching_is_at_chance_on_order_by_construction(small_settings, val, encoded):
    outcome = evaluate(_model(small_settings, "protonet"), encoded, _episodes(val, "order", 100))
    assert outcome.accuracy_pct == pytest.approx(50.0, abs=1.0)
    # One of the twins is right and the other wrong, in every single episode.
    assert (outcome.correct.sum((1, 2)) == 1).mean() > 0.98


def test_frozen_clip_knows_appearance(small_settings, val, encoded):
    outcome = evaluate(_model(small_settings, "protonet"), encoded, _episodes(val, "appearance", 100))
    assert outcome.accuracy_pct > 80


def test_class_names_alone_see_no_support(small_settings, val, encoded):
    """With text features that are the classes' own mean frames, the answer is the nearest class mean."""
    names, class_of = np.unique(val.table["class_name"].to_numpy(str), return_inverse=True)
    pooled = encoded.query.mean(1)
    text = torch.stack([pooled[torch.from_numpy(class_of == c)].mean(0) for c in range(len(names))])
    named = dataclasses.replace(encoded, text=SplitText(text, class_of))
    episodes, model = _episodes(val, "appearance", 50), _model(small_settings, "zero_shot")
    outcome = evaluate(model, named, episodes)
    assert outcome.accuracy_pct > 80
    other = Episodes(episodes.name, np.roll(episodes.support, 1, axis=1), episodes.query)
    assert np.allclose(np.roll(outcome.logits, 1, axis=2), evaluate(model, named, other).logits)
