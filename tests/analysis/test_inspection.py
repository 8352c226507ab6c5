"""One episode looked at: the same answer as in evaluation, and the features that were matched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.analysis.inspection import Asked, Question, banked, evaluate_episode, matched_features
from tmal_core.data.episodes import episode_types, evaluation_sampler
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.matching import breakdown
from tmal_core.models.methods import build
from tmal_core.models.text import SplitText


@pytest.fixture(params=["otam", "tmal"])
def model(request, small_settings):
    model = build(small_settings.replace({"model.method": request.param}).model).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def val(small_data):
    return small_data.select("val")


@pytest.fixture
def bank(model, val):
    """Random clip tokens: what encoding makes is not asked here."""
    draw = torch.Generator().manual_seed(1)
    shape = len(val), 8 + model.reads_motion, model.encoder.joint_width
    query = torch.randn(shape, generator=draw)
    support = torch.randn(shape, generator=draw) if model.encoder.separate_roles else query
    names, class_of = np.unique(val.table["class_name"].to_numpy(str), return_inverse=True)
    text = SplitText(torch.randn(len(names), model.encoder.joint_width, generator=draw), class_of)
    return Bank(query, support, "", text if model.reads_text else None)


@pytest.fixture
def sampler(small_settings, val):
    return evaluation_sampler(val, episode_types(val)[0], small_settings.episodes, seed=0)


def test_answers_as_evaluation_does(model, bank, sampler):
    outcome = evaluate(model, bank, Episodes.draw(sampler, 4))
    for number in range(4):
        alone = evaluate_episode(model, bank, sampler[number])
        assert np.array_equal(alone.predicted, outcome.predicted[number].ravel())


def test_each_of_several_shots_has_its_distance_or_that_of_their_prototype(model, bank, small_settings, val):
    way, shot = 3, 2
    several = small_settings.replace({"episodes.shot": shot, "episodes.way": way})
    sampler = evaluation_sampler(val, episode_types(val)[0], several.episodes, seed=0)
    answer, episode = evaluate_episode(model, bank, sampler[0]), sampler[0]
    assert np.array_equal(answer.predicted, evaluate(model, bank, Episodes.draw(sampler, 1)).predicted.ravel())
    shown = torch.from_numpy(answer.distances).unflatten(1, (way, shot))
    query = model.head.modulate(bank.query[episode.query.ravel()])
    if model.head.merges_shots:
        means = bank.support[torch.from_numpy(episode.support)].mean(1)
        prototypes = model.head.modulate(means, bank.text.of_videos(episode.support[:, 0]))
        expected = model.head.distances(query, prototypes)[:, :, None].expand(-1, -1, shot)
    else:
        expected = model.head.distances(query, bank.support[episode.support.ravel()]).unflatten(1, (way, shot))
    torch.testing.assert_close(shown, expected, atol=1e-5, rtol=1e-5)
    logits = -model.head.log_scale.exp() * shown.mean(2)
    torch.testing.assert_close(logits.softmax(1), torch.from_numpy(answer.probabilities), atol=1e-5, rtol=1e-4)


def test_matched_features_have_the_distance_of_the_answer(model, bank, sampler):
    answer = evaluate_episode(model, bank, sampler[0])
    queries, supports = answer.question.query.ravel(), answer.question.support.ravel()
    for i, query in enumerate(queries):
        for j, support in enumerate(supports):
            one, other = matched_features(model, bank, int(query), int(support))
            assert one.shape == other.shape == (8, model.encoder.joint_width)
            distance = model.head.distances(one[None], other[None]).item()
            assert distance == pytest.approx(float(answer.distances[i, j]), abs=1e-4)


def test_each_distance_is_the_sum_of_its_parts(model, bank, sampler):
    question = Question.of(sampler[0])
    asked = Asked(model, question, banked(bank, question))
    for i in range(len(question.query)):
        for j in range(question.support.size):
            parts = asked.parts(i, j)
            assert parts.distance == pytest.approx(float(asked.result.distances[i, j]), abs=1e-4)
            assert parts.added.sum() + parts.rest == pytest.approx(parts.distance, abs=1e-4)
            assert parts.matched.shape == (8, 8)


def test_with_a_gate_the_parts_are_those_of_the_episode(small_settings, val, sampler):
    model = build(small_settings.replace({"model.method": "otam", "model.centre": "gate"}).model).eval()
    tokens = torch.randn(len(val), 8, model.encoder.joint_width, generator=torch.Generator().manual_seed(2))
    question = Question.of(sampler[0])
    asked = Asked(model, question, banked(Bank(tokens, tokens, ""), question))
    for j in range(question.support.size):
        assert asked.parts(0, j).distance == pytest.approx(float(asked.result.distances[0, j]), abs=1e-4)


@pytest.mark.parametrize("centre", ["none", "gate"])
def test_what_a_task_takes_off_a_distance_is_taken_apart_by_pair(small_settings, val, sampler, centre):
    parts = {"model.method": "tmal", "model.task_conditioned": True, "model.centre": centre}
    model = build(small_settings.replace(parts).model).eval()
    torch.nn.init.normal_(model.head.conditioning.generator.weight, generator=torch.Generator().manual_seed(1))
    tokens = torch.randn(len(val), 9, model.encoder.joint_width, generator=torch.Generator().manual_seed(2))
    names, class_of = np.unique(val.table["class_name"].to_numpy(str), return_inverse=True)
    text = SplitText(torch.randn(len(names), model.encoder.joint_width), class_of)
    question = Question.of(sampler[0])
    asked = Asked(model, question, banked(Bank(tokens, tokens, "", text), question))
    plain = breakdown(*asked.features(0, 1), model.head.matching, model.head.smoothing)
    for j in range(question.support.size):
        found = asked.parts(0, j)
        assert found.distance == pytest.approx(float(asked.result.distances[0, j]), abs=1e-3)
        assert found.added.sum() + found.rest == pytest.approx(found.distance, abs=1e-3)
    assert asked.parts(0, 1).rest == pytest.approx(plain.rest, abs=1e-3), "the softmin's share is the matcher's own"
    assert abs(asked.parts(0, 1).added - plain.added).max() > 1e-2


def test_what_matches_no_frames_has_no_parts(small_settings, val, sampler):
    model = build(small_settings.replace({"model.method": "zero_shot"}).model).eval()
    names, class_of = np.unique(val.table["class_name"].to_numpy(str), return_inverse=True)
    width = model.encoder.joint_width
    tokens = torch.randn(len(val), 8, width)
    question = Question.of(sampler[0])
    bank = Bank(tokens, tokens, "", SplitText(torch.randn(len(names), width), class_of))
    asked = Asked(model, question, banked(bank, question))
    assert asked.parts(0, 0) is None and asked.result.distances.shape == (len(question.query), question.support.size)


def test_of_an_episode_that_is_answered_as_a_whole_there_is_the_answer_and_no_pair(small_settings, val, sampler):
    torch.manual_seed(0)
    model = build(small_settings.replace({"model.method": "trx", "model.tuple_width": 16}).model).eval()
    tokens = torch.randn(len(val), 8, model.encoder.joint_width, generator=torch.Generator().manual_seed(1))
    bank, question = Bank(tokens, tokens, ""), Question.of(sampler[0])
    asked = Asked(model, question, banked(bank, question))
    found = asked.result
    way, shot = question.support.shape
    by_class = found.distances.reshape(-1, way, shot)
    assert (by_class > 0).all() and (by_class == by_class[:, :, :1]).all()
    logits = torch.from_numpy(-by_class[:, :, 0])
    torch.testing.assert_close(logits.softmax(1), torch.from_numpy(found.probabilities))
    outcome = evaluate(model, bank, Episodes.draw(sampler, 1))
    np.testing.assert_allclose(outcome.logits[0], logits, rtol=1e-4)
    assert asked.parts(0, 0) is None
    words = "a method that matches one clip with another, got TRXHead, which answers an episode as a whole"
    for look in (lambda: asked.features(0, 0), lambda: matched_features(model, bank, 0, 1)):
        with pytest.raises(SettingsError, match=words):
            look()
