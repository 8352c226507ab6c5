"""TRX's head against loops that read as the paper does, and what must hold of any answer to an episode as a whole."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from tmal_core.models import trx_head
from tmal_core.models.trx_head import TRXHead, positions

WIDTH, TUPLE_WIDTH, FRAMES = 6, 10, 5
LABELS = torch.tensor([0, 1, 2, 1, 0, 1])  # two shots, three, one


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def head() -> TRXHead:
    torch.manual_seed(0)
    head = TRXHead(WIDTH, (2, 3), TUPLE_WIDTH).double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(head.transformers.parameters()):
            parameter.add_(drawn(*parameter.shape, seed=number), alpha=0.3)
    return head


@pytest.fixture
def episode() -> tuple[Tensor, Tensor]:
    return drawn(4, FRAMES, WIDTH, seed=20), drawn(len(LABELS), FRAMES, WIDTH, seed=21)


def one_distance(head: TRXHead, query: Tensor, shots: Tensor) -> Tensor:
    """Of one query (T, d) to one class's shots (K, T, d), by nothing but loops over tuples."""
    found = []
    for one in head.transformers:

        def tuples_of(clip: Tensor, size: int = one.size) -> list[Tensor]:
            frames = clip + positions(FRAMES, WIDTH)
            return [torch.cat([frames[t] for t in chosen]) for chosen in combinations(range(FRAMES), size)]

        def key(frames: Tensor, one: torch.nn.Module = one) -> Tensor:
            return layer_norm(one.k_linear(frames), (TUPLE_WIDTH,), one.norm_k.weight, one.norm_k.bias)

        of_class = [frames for shot in shots for frames in tuples_of(shot)]
        distances = []
        for asked in tuples_of(query):
            scores = torch.stack([key(asked) @ key(frames) / math.sqrt(TUPLE_WIDTH) for frames in of_class])
            values = torch.stack([one.v_linear(frames) for frames in of_class])
            distances.append((one.v_linear(asked) - scores.softmax(0) @ values).square().sum())
        found.append(torch.stack(distances).mean())
    return torch.stack(found).mean()


def test_logits_are_those_of_the_paper_s_loops(head, episode):
    query, support = episode
    head.requires_grad_(False)
    wanted = [[-one_distance(head, clip, support[label == LABELS]) for label in range(3)] for clip in query]
    torch.testing.assert_close(head.episode_logits(query, support, LABELS), torch.tensor(wanted, dtype=torch.float64))


def test_positions_are_sines_and_cosines():
    found = positions(4, 5)
    for t, column in ((2, 0), (3, 4)):
        assert found[t, column].item() == pytest.approx(0.1 * math.sin(t * 10_000 ** (-column / 5)), abs=1e-6)
        if column + 1 < 5:
            assert found[t, column + 1].item() == pytest.approx(0.1 * math.cos(t * 10_000 ** (-column / 5)), abs=1e-6)


def test_nothing_depends_on_orders_names_and_other_queries(head, episode):
    query, support = episode
    logits, order = head.episode_logits(query, support, LABELS), torch.tensor([3, 5, 0, 4, 1, 2])
    torch.testing.assert_close(head.episode_logits(query, support[order], LABELS[order]), logits)
    torch.testing.assert_close(head.episode_logits(query[[2]], support, LABELS), logits[[2]])
    renamed = torch.tensor([2, 0, 1])  # class c is now called renamed[c]
    torch.testing.assert_close(head.episode_logits(query, support, renamed[LABELS])[:, renamed], logits)
    turned = head.episode_logits(query.flip(1), support, LABELS)
    assert (turned - logits).abs().max() > 0.1, "the order of frames counts"


@pytest.mark.parametrize("at_once", [1, 1 << 22])
@pytest.mark.parametrize("text_score", [0.0, 0.4])
def test_groups_are_episodes_one_by_one(head, monkeypatch, at_once, text_score):
    monkeypatch.setattr(trx_head, "_NUMBERS_AT_ONCE_CPU", at_once)
    head.text_score = text_score
    query, support, text = drawn(3, 4, FRAMES, WIDTH), drawn(3, 6, FRAMES, WIDTH, seed=1), drawn(3, 3, WIDTH, seed=2)
    found = head.group_logits(query, support, LABELS, text if text_score else None)
    alone = [head.episode_logits(*one, LABELS, words) for *one, words in zip(query, support, text, strict=True)]
    torch.testing.assert_close(found, torch.stack(alone))


def test_everything_is_learned_from_and_the_gradient_is_right(head, episode):
    query, support = episode
    head.episode_logits(query, support, LABELS).square().sum().backward()
    learned = {name: p for name, p in head.named_parameters() if p.requires_grad}
    assert sorted({name.split(".", 2)[2] for name in learned}) == [
        *("k_linear.bias", "k_linear.weight", "norm_k.bias", "norm_k.weight", "v_linear.bias", "v_linear.weight"),
    ]
    # A bias that the query's value and the prototype have in common falls out of their difference.
    assert all(p.grad.norm() > 1e-6 for name, p in learned.items() if not name.endswith("v_linear.bias"))
    few = query[:1, :3].clone().requires_grad_(), support[:2, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda q, s: head.episode_logits(q, s, torch.arange(2)), few)


def test_frames_are_dropped_in_training_alone(head, episode):
    query, support = episode
    one, other = (head.episode_logits(query, support, LABELS) for _ in range(2))
    assert torch.equal(one, other)
    head.train()
    one, other = (head.episode_logits(query, support, LABELS) for _ in range(2))
    assert (one - other).abs().max() > 1e-3


def test_half_features_are_answered_in_float32(head, episode):
    head, (query, support) = head.float(), (clips.bfloat16() for clips in episode)
    exact = head.episode_logits(query.float(), support.float(), LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        found = head.episode_logits(query, support, LABELS)
    assert found.dtype == torch.float32 and torch.equal(found, exact)


def test_tuples_need_as_many_frames(head, episode):
    query, support = (clips[:, :2] for clips in episode)
    assert head.least_frames == 3
    with pytest.raises(ValueError, match="expected clips of 3 frames or more for such tuples, got 2"):
        head.episode_logits(query, support, LABELS)
