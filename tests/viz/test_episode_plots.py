"""An answered episode: what the answer holds, and what the figure says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tmal_core.analysis.inspection import episode_table, evaluate_episode
from tmal_core.config import ModelSettings
from tmal_core.data.episodes import Episode, EpisodeType
from tmal_core.errors import DataError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.models.methods.otam import METHOD as OTAM
from tmal_core.viz.episode_plots import episode_result

EPISODE = Episode(("first", "second"), np.array([[0, 1], [2, 3]]), np.array([[4], [5]]))


@pytest.fixture
def model():
    clip = nn.Module()
    clip.visual = nn.Module()
    clip.visual.conv1 = nn.Conv2d(3, 4, 1)
    clip.visual.transformer = nn.Module()
    clip.visual.transformer.resblocks = nn.ModuleList()
    clip.visual.proj = None
    clip.text_projection = nn.Parameter(torch.zeros(4, 5))
    clip.logit_scale = nn.Parameter(torch.zeros(()))
    parts = ModelSettings(adapters="none", flow_encoder="none", text=False, logit_scale=3.0)
    return OTAM.build(clip, parts)


@pytest.fixture
def features():
    return torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def clips():
    return np.random.default_rng(0).integers(0, 255, (6, 4, 8, 8, 3), dtype=np.uint8)


def test_an_answer_is_that_of_the_evaluation_and_of_the_model(model, features):
    answer = evaluate_episode(model, Bank(features, features, ""), EPISODE)
    outcome = evaluate(model, Bank(features, features, ""), Episodes("all", EPISODE.support[None], EPISODE.query[None]))
    assert np.array_equal(answer.predicted, outcome.predicted.ravel())
    assert np.array_equal(answer.correct, outcome.correct.ravel()) and answer.question.labels.tolist() == [0, 1]
    logits = model.head.episode_logits(features[[4, 5]], features[:4], torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(torch.from_numpy(answer.probabilities), logits.detach().softmax(1))
    torch.testing.assert_close(torch.from_numpy(answer.distances), model.head.distances(features[[4, 5]], features[:4]))


def test_the_table_of_episodes_says_who_is_right_where(model, features):
    class Sampler:
        episode_type, seed = EpisodeType("all", ("all",), grouped=False), 0

        def __getitem__(self, index):
            return Episode(EPISODE.classes, EPISODE.support, np.flip(EPISODE.query, 0) if index else EPISODE.query)

        def draw(self, numbers):
            drawn = [self[number] for number in numbers]
            return None, np.stack([one.support for one in drawn]), np.stack([one.query for one in drawn])

    features[4], features[5] = features[0], features[1]  # both queries look like the first class
    twisted = features[[0, 1, 2, 3, 1, 2]]
    table = episode_table(
        {"one": model, "two": model},
        {"one": Bank(features, features, ""), "two": Bank(twisted, twisted, "")},
        Sampler(),
        2,
    )
    assert table["episode"].tolist() == [0, 1] and table["classes"].tolist() == ["first · second"] * 2
    assert table["one"].tolist() == [50, 50] and table["two"].tolist() == [100, 0]


def test_figure_shows_clips_distances_and_answers(model, features, clips):
    features[4], features[5] = features[1], features[0]  # the first query answers right, the second wrong
    answer = evaluate_episode(model, Bank(features, features, ""), EPISODE)
    assert answer.correct.tolist() == [True, False]
    figure = episode_result(answer, clips[:4], clips[4:], "an episode")
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [f"{value:.3f}" for value in answer.distances.flat] == [text for text in texts if text[-4:-3] == "."]
    assert "A   first\nB   second" in texts
    assert [text[:3] for text in texts if "p = " in text] == ["✓ A", "✗ A"]
    pictures = [image.get_array() for axes in figure.axes for image in axes.images]
    assert np.array_equal(pictures[0], np.concatenate(list(clips[0])))  # down
    queries = np.concatenate([np.concatenate(list(clip), axis=1) for clip in clips[4:]])  # to the right
    assert any(np.array_equal(picture, queries) for picture in pictures)
    heat = pictures[-1]
    assert np.array_equal(heat.argmax(1), answer.distances.argmin(1)) and heat.max() == 1 and heat.min() == 0


def test_other_clips_than_the_episodes_are_refused(model, features, clips):
    with pytest.raises(DataError, match="expected 2 query and 4 support clips, got 4 and 2"):
        episode_result(evaluate_episode(model, Bank(features, features, ""), EPISODE), clips[:2], clips[2:])
