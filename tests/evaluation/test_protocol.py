"""Episodes over a bank answer exactly as the model does one episode at a time; each video is encoded once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.clips import ClipReader
from tmal_core.data.episodes import EpisodeSampler, protocols
from tmal_core.evaluation import bank
from tmal_core.evaluation.protocol import Episodes, evaluate, evaluate_text
from tmal_core.models.methods import METHODS, TEXT, build


@pytest.fixture(scope="module")
def val(small_data):
    return small_data.select("val")


@pytest.fixture(scope="module")
def reader(val, small_settings):
    return ClipReader(val, small_settings)


def _model(settings, name):
    return build(settings.replace({"model.method": name}).model)


@pytest.fixture(scope="module")
def encoded(small_settings, reader):
    return bank.encode(_model(small_settings, "otam"), reader, progress=False)


def _episodes(val, name="appearance", count=20, shot=1):
    protocol = next(p for p in protocols(val) if p.name == name)
    return Episodes.draw(EpisodeSampler(val, protocol, 5, shot, 1, 0), count)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.matching != TEXT])
@pytest.mark.parametrize("shot", [1, 2])
def test_same_as_one_episode_at_a_time(small_settings, val, reader, encoded, name, shot):
    model = _model(small_settings, name).eval()
    episodes = _episodes(val, shot=shot, count=5)
    outcome = evaluate(model, encoded.features, episodes)
    labels = torch.arange(5).repeat_interleave(shot)
    for index in range(5):
        support, query = (
            torch.stack([reader.evaluate(int(row)) for row in rows[index].ravel()])
            for rows in (episodes.support, episodes.query)
        )
        with torch.no_grad():
            logits = model.episode_logits(model.encode(query), model.encode(support), labels)
            alone = (logits / model.log_scale.exp()).numpy()
        np.testing.assert_allclose(outcome.logits[index], alone, atol=2e-4)


def test_bank_encodes_each_video_once(small_settings, val, reader, monkeypatch):
    read = []
    monkeypatch.setattr(reader, "evaluate", lambda row: read.append(row) or torch.zeros(8, 3, 64, 64))
    bank.encode(_model(small_settings, "otam"), reader, progress=False)
    assert read == list(range(len(val)))


def test_bank_is_kept_and_shared_by_methods_with_the_same_features(
    tmp_path, small_settings, reader, encoded, monkeypatch
):
    monkeypatch.setattr(bank, "encode", lambda *_: encoded)
    bank.load_or_encode(tmp_path, _model(small_settings, "otam"), reader)
    monkeypatch.setattr(bank, "encode", lambda *_: pytest.fail("encoded again"))
    kept = bank.load_or_encode(tmp_path, _model(small_settings, "protonet"), reader)
    assert torch.equal(kept.features, encoded.features)


def test_bank_of_other_weights_or_positions_is_another(small_settings, val, reader):
    model = _model(small_settings, "st_adapter")
    key = bank.bank_key(model, reader)
    with torch.no_grad():
        model.log_scale += 1
    assert bank.bank_key(model, reader) == key
    fewer = small_settings.replace({"sampling.num_frames": 4})
    assert bank.bank_key(model, ClipReader(val, fewer)) != key
    with torch.no_grad():
        next(model.adapters.parameters()).add_(1e-3)
    assert bank.bank_key(model, reader) != key


def test_mean_pooled_matching_is_at_chance_on_order_by_construction(small_settings, val, encoded):
    outcome = evaluate(_model(small_settings, "protonet"), encoded.features, _episodes(val, "order", 100))
    assert outcome.accuracy_pct == pytest.approx(50.0, abs=1.0)
    # One of the twins is right and the other wrong, in every single episode.
    assert (outcome.correct.sum((1, 2)) == 1).mean() > 0.98


def test_frozen_clip_knows_appearance(small_settings, val, encoded):
    outcome = evaluate(_model(small_settings, "protonet"), encoded.features, _episodes(val, "appearance", 100))
    assert outcome.accuracy_pct > 80


def test_class_names_alone_see_no_support(val, encoded):
    """With text features that are the classes' own mean frames, the answer is the nearest class mean."""
    names, class_of = np.unique(val.table["class_name"].to_numpy(str), return_inverse=True)
    pooled = encoded.features.mean(1)
    text = torch.stack([pooled[torch.from_numpy(class_of == c)].mean(0) for c in range(len(names))])
    episodes = _episodes(val, "appearance", 50)
    outcome = evaluate_text(encoded.features, text, class_of, episodes)
    assert outcome.accuracy_pct > 80
    other = Episodes(episodes.name, np.roll(episodes.support, 1, axis=1), episodes.query)
    assert np.allclose(
        np.roll(outcome.logits, 1, axis=2), evaluate_text(encoded.features, text, class_of, other).logits
    )
