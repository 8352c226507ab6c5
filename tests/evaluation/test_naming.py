"""Naming from examples: the method's own logits, examples checked against each other, never surer than that."""

from __future__ import annotations

import pytest
import torch

from tmal_core.evaluation.naming import Examples, check, logits, use_untrained
from tmal_core.models.methods import build

LABELS = torch.tensor([0, 0, 1, 1, 1, 2])
WIDTH = 128


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def otam(small_settings):
    return build(small_settings.replace({"model.method": "otam"}).model).eval()


def told_apart(noise: float, labels: torch.Tensor = LABELS) -> Examples:
    """Clips that are their class's frames and some noise."""
    tokens = draw(int(labels.max()) + 1, 8, WIDTH)[labels] + noise * draw(len(labels), 8, WIDTH, seed=1)
    return Examples(tokens, tokens, labels)


@pytest.mark.parametrize("name", ["otam", "protonet", "trx", "tmal"])
def test_logits_are_the_method_s_own(small_settings, name):
    model = build(small_settings.replace({"model.method": name}).model).eval()
    tokens = draw(len(LABELS), 8 + model.reads_motion, WIDTH)
    text = draw(3, WIDTH, seed=2) if model.reads_text else None
    query = draw(300, 8 + model.reads_motion, WIDTH, seed=3)
    found = logits(model, query, Examples(tokens, tokens, LABELS, text))
    with torch.no_grad():
        wanted = model.head.episode_logits(query, tokens, LABELS, text)
    assert found.shape == (300, 3) and torch.allclose(found, wanted, atol=1e-5)


def test_an_episode_as_a_whole_is_checked_like_any_other(small_settings):
    """Classes may have different numbers of examples; each is named from all others at once."""
    torch.manual_seed(0)
    model = build(small_settings.replace({"model.method": "trx", "model.tuple_width": 32}).model).eval()
    found = check(model, told_apart(0.05))
    assert (found.asked, found.right) == (5, 5) and found.temperature >= 1


def test_names_alone(small_settings):
    model = build(small_settings.replace({"model.method": "zero_shot"}).model).eval()
    text = draw(3, WIDTH)
    examples = Examples(draw(6, 8, WIDTH), draw(6, 8, WIDTH), LABELS, text)
    query = text[:, None].expand(3, 8, WIDTH)
    assert logits(model, query, examples).argmax(1).tolist() == [0, 1, 2]
    assert check(model, examples).asked == 5


def test_an_example_is_not_its_own_evidence(otam):
    """Each class has two unlike clips and each has a near twin in the other class: all are named wrong."""
    frames = draw(2, 8, WIDTH)[torch.tensor([0, 1, 0, 1])] + 0.01 * draw(4, 8, WIDTH, seed=1)
    found = check(otam, Examples(frames, frames, torch.tensor([0, 0, 1, 1])))
    assert (found.asked, found.right) == (4, 0)


def test_examples_without_a_sibling_are_not_asked(otam):
    found = check(otam, told_apart(0.1))
    assert (found.asked, found.right, found.temperature) == (5, 5, 1.0)
    alone = check(otam, told_apart(0.1, torch.arange(3)))
    assert (alone.asked, alone.right, alone.temperature) == (0, 0, 1.0)


def test_confused_examples_lower_the_probabilities(small_settings):
    """Noise with labels: a large scale is sure of it, the temperature takes that back."""
    model = build(small_settings.replace({"model.method": "otam", "model.logit_scale": 30.0}).model).eval()
    frames, labels = draw(12, 8, WIDTH), torch.arange(3).repeat(4)
    examples = Examples(frames, frames, labels)
    found = check(model, examples)
    assert found.right < 9 and found.temperature > 4
    with torch.no_grad():
        sure = logits(model, draw(50, 8, WIDTH, seed=5), examples)
    before, after = (float((sure / t).softmax(1).amax(1).mean()) for t in (1, found.temperature))
    assert before > 0.6 > 0.5 > after


def test_untrained_scale_is_clip_s_per_pair_of_frames(small_settings):
    for name, pairs in (("otam", 16), ("protonet", 1)):
        model = build(small_settings.replace({"model.method": name}).model).eval()
        use_untrained(model, num_frames=8)
        assert model.head.log_scale.exp().item() == pytest.approx(model.encoder.clip.logit_scale.exp().item() / pairs)
