"""Banks of several views: random frames made repeatable, the same for every method; and what names a bank."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tmal_core.config import EvaluationSettings
from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.errors import EpisodeError, RunError
from tmal_core.evaluation import feature_bank as bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.evaluation.statistics import difference_interval
from tmal_core.experiment import Experiment
from tmal_core.models.methods import build
from tmal_core.models.text import SplitText

VIEWS = 3


@pytest.fixture(scope="module")
def settings(small_settings):
    return small_settings.replace({"evaluation.views": VIEWS, "model.method": "otam"})


@pytest.fixture(scope="module")
def val(small_data):
    return small_data.select("val", family="appearance")


@pytest.fixture(scope="module")
def model(settings):
    return build(settings.model).eval()


@pytest.fixture(scope="module")
def reader(val, settings):
    return Experiment(settings).reader(val)


@pytest.fixture(scope="module")
def viewed(model, reader):
    return bank.encode(model, reader, progress=False)


def _episodes(val, count=20, seed=0):
    episode_type = next(p for p in episode_types(val) if p.name == "appearance")
    return Episodes.draw(EpisodeSampler(val, episode_type, 3, 2, 1, seed), count)


def test_a_bank_holds_every_view_of_every_video(val, model, reader, viewed):
    assert (viewed.views, viewed.num_videos, len(viewed.query)) == (VIEWS, len(val), VIEWS * len(val))
    for row, view in ((0, 0), (1, 2), (len(val) - 1, 1)):
        with torch.no_grad():
            alone = model.encoder(reader.evaluate(row, view).frames[None])[0]
        torch.testing.assert_close(viewed.query[view * len(val) + row], alone, atol=1e-4, rtol=1e-4)
    assert any(not np.array_equal(reader.test_positions(row, 0), reader.test_positions(row, 1)) for row in range(5))


def test_which_view_a_slot_uses_follows_from_seed_episode_and_slot_alone(val):
    episodes = _episodes(val)
    support, query = episodes.views(VIEWS)
    assert support.shape == episodes.support.shape and query.shape == episodes.query.shape
    assert set(np.unique(support)) == set(np.unique(query)) == set(range(VIEWS))
    fewer = Episodes(episodes.name, episodes.support[:5, ::-1], episodes.query[:5], episodes.seed)
    assert np.array_equal(fewer.views(VIEWS)[0], support[:5]) and np.array_equal(fewer.views(VIEWS)[1], query[:5])
    assert not np.array_equal(_episodes(val, seed=1).views(VIEWS)[0], support)
    many = Episodes("all", np.zeros((4000, 1, 1), int), np.zeros((4000, 1, 1), int))
    for drawn in many.views(VIEWS):
        assert np.bincount(drawn.ravel()).min() > 4000 / VIEWS * 0.9
    first, second = (drawn.ravel() for drawn in many.views(2))
    assert abs((first == second).mean() - 0.5) < 0.05  # slots of one episode are drawn apart


def test_episodes_read_the_views_that_were_drawn(val, model, viewed):
    episodes = _episodes(val, count=4)
    outcome = evaluate(model, viewed, episodes)
    views = episodes.views(VIEWS)
    labels = torch.arange(3).repeat_interleave(2)
    for index in range(4):
        query, support = (
            viewed.query[torch.from_numpy((drawn[index] * len(val) + rows[index]).ravel())]
            for drawn, rows in ((views[1], episodes.query), (views[0], episodes.support))
        )
        with torch.no_grad():
            alone = model.head.episode_logits(query, support, labels) / model.head.log_scale.exp()
        np.testing.assert_allclose(outcome.logits[index], alone.numpy(), atol=5e-4)


def test_class_names_alone_see_the_query_s_view(val, settings, viewed):
    model = build(settings.replace({"model.method": "zero_shot"}).model).eval()
    names, class_of = np.unique(val.table["class_name"].to_numpy(str), return_inverse=True)
    text = SplitText(torch.randn(len(names), 128, generator=torch.Generator().manual_seed(0)), class_of)
    episodes = _episodes(val)
    outcome = evaluate(model, dataclasses.replace(viewed, text=text), episodes)
    first_view = dataclasses.replace(viewed, text=text, views=1)
    assert outcome.logits.shape == (20, 3, 3)
    assert not np.allclose(outcome.logits, evaluate(model, first_view, episodes).logits)


def test_other_frames_are_not_compared(val, settings, model, viewed):
    episodes = _episodes(val)
    outcome = evaluate(model, viewed, episodes)
    middle, other = (
        bank.positions_hash(Experiment(settings.replace(change)).reader(val))
        for change in ({"evaluation.views": 1}, {"evaluation.seed": 1})
    )
    assert len({viewed.positions, middle, other}) == 3
    resampling = (val, 0, 10, 0.95)
    assert difference_interval(outcome, outcome, *resampling).mean == 0
    for positions in (middle, other):
        with pytest.raises(EpisodeError, match=rf"the same frames .* got frames {viewed.positions} and {positions}"):
            difference_interval(outcome, dataclasses.replace(outcome, positions=positions), *resampling)
    later = dataclasses.replace(outcome, episodes=dataclasses.replace(episodes, seed=7))
    with pytest.raises(EpisodeError, match="the same episodes"):
        difference_interval(outcome, later, *resampling)


def test_views_precision_and_code_name_a_bank(val, settings, model, reader, monkeypatch):
    key = bank.bank_key(model, reader)
    others = [
        Experiment(settings.replace(change)).reader(val) for change in ({"evaluation.views": 2}, {"evaluation.seed": 5})
    ]
    half = bank.bank_key(model, reader, precision="bfloat16")
    keys = {key, half, *(bank.bank_key(model, other) for other in others)}
    assert len(keys) == 4
    # The middle of each segment is no draw: there the seed names nothing.
    single = [
        Experiment(settings.replace({"evaluation.views": 1, "evaluation.seed": seed})).reader(val) for seed in (0, 5)
    ]
    assert bank.bank_key(model, single[0]) == bank.bank_key(model, single[1])
    monkeypatch.setattr(bank, "code_version", lambda: "another")
    assert bank.bank_key(model, reader) not in keys


def test_the_code_that_encodes_has_a_version(monkeypatch, tmp_path):
    before = bank.code_version()
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "tower.py"
    versions = set()
    monkeypatch.setattr(bank, "_PACKAGE", tmp_path)
    for source in ("a = 1", "a = 2"):
        file.write_text(source)
        bank.code_version.cache_clear()
        versions.add(bank.code_version())
    bank.code_version.cache_clear()
    assert len(versions | {before}) == 3
    monkeypatch.undo()
    assert bank.code_version() == before


def test_encoding_in_bfloat16_is_near(val, settings, model):
    reader = Experiment(settings.replace({"evaluation.views": 1})).reader(val)
    half, full = (
        bank.encode(model, reader, evaluation=EvaluationSettings(precision=precision), progress=False)
        for precision in ("bfloat16", "float32")
    )
    assert half.key == bank.bank_key(model, reader, precision="bfloat16") != full.key
    one, other = half.query, full.query
    assert one.dtype == torch.float32 and not torch.equal(one, other)
    assert torch.nn.functional.cosine_similarity(one, other, dim=-1).min() > 0.99


def test_a_kept_bank_has_its_views(tmp_path, model, reader, viewed, monkeypatch):
    monkeypatch.setattr(bank, "_encoded", lambda *_: {"query": viewed.query})
    bank.encode(model, reader, folder=tmp_path)
    kept = bank.encode(model, reader, folder=tmp_path)
    assert (kept.views, kept.positions, kept.key) == (VIEWS, viewed.positions, viewed.key)
    assert torch.equal(kept.query, viewed.query)


def test_a_damaged_file_is_named(tmp_path, model, reader, viewed, monkeypatch):
    monkeypatch.setattr(bank, "_encoded", lambda *_: {"query": viewed.query})
    bank.encode(model, reader, folder=tmp_path)
    path = tmp_path / f"{viewed.key}.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=rf"expected a whole file of clip tokens, got {path} \(.*Remove it"):
        bank.encode(model, reader, folder=tmp_path)
