"""Matching that knows its task: the sum of the definition, of this query and the whole support set."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tmal_core.matching import cosine_distance
from tmal_core.models.task_conditioning import MOMENTS, TaskConditioning
from tmal_core.models.tmal_head import TMALHead

DRAW = torch.Generator().manual_seed(0)
QUERY, SUPPORT = (100 * torch.randn(count, MOMENTS, 6, generator=DRAW) for count in (4, 3))


@pytest.fixture
def conditioning():
    found = TaskConditioning(6)
    torch.nn.init.normal_(found.generator.weight, generator=torch.Generator().manual_seed(1))
    return found


@torch.no_grad()
def test_it_is_the_sum_over_pairs_of_frames(conditioning):
    found = conditioning(QUERY, SUPPORT, cosine_distance(QUERY, SUPPORT)).sum((2, 3))
    unit = [clips / clips.norm(dim=-1, keepdim=True) for clips in (QUERY, SUPPORT)]
    for q in range(4):
        task = unit[0][q].mean(0) + unit[1].flatten(0, 1).mean(0)
        matrix = (conditioning.generator.weight @ task).view(MOMENTS, MOMENTS)
        for s in range(3):
            cosines = cosine_similarity(QUERY[q][:, None], SUPPORT[s][None], dim=-1)
            assert found[q, s].item() == pytest.approx((cosines * matrix).sum().item(), abs=1e-3)


@torch.no_grad()
def test_other_numbers_of_frames_stand_between_the_moments(conditioning):
    task = torch.randn(2, 6, generator=DRAW)
    whole = conditioning.matrix(task, MOMENTS, MOMENTS)
    assert torch.equal(whole[1], conditioning.generator(task[1]).view(MOMENTS, MOMENTS))
    finer = conditioning.matrix(task, 2 * MOMENTS - 1, 2 * MOMENTS - 1)  # every second one is a moment
    share = (MOMENTS / (2 * MOMENTS - 1)) ** 2
    torch.testing.assert_close(finer[:, ::2, ::2], share * whole)
    torch.testing.assert_close(finer[:, 1, 0], share * (whole[:, 0, 0] + whole[:, 1, 0]) / 2)


@pytest.mark.parametrize("centre", ["none", "both", "gate"])
def test_it_lessens_the_matcher_s_distance_episode_by_episode(conditioning, centre):
    options = {"smoothing": 0.1, "centre": centre}
    head = TMALHead("otam", None, False, False, conditioning, **options)
    plain = TMALHead("otam", None, False, False, TaskConditioning(6), **options)
    with torch.no_grad():
        query, support = head.modulate(QUERY), head.modulate(SUPPORT)
        found, less = plain.distances(query, support), head.distances(query, support)
        wanted = conditioning(QUERY, SUPPORT, cosine_distance(*head.in_episode(query, support))).sum((2, 3))
        torch.testing.assert_close(found - less, wanted, atol=1e-2, rtol=1e-3)
        groups = head.group_distances(torch.stack([query, query]), torch.stack([support, support.flip(0)]))
        torch.testing.assert_close(groups[0], less, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(groups[1], less.flip(1), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(head.distances(query, support[:2]), less[:, :2]), "all of the support set counts"
    torch.testing.assert_close(head.agreed(query, support).sum((2, 3)), wanted, atol=1e-5, rtol=1e-4)
    assert head.by_support
    assert head.rematched("mean").agreed(query, support) is None and not head.rematched("mean").by_support


def test_it_learns_from_zero_on():
    conditioning = TaskConditioning(6)
    head = TMALHead("otam", None, False, False, conditioning, smoothing=0.1)
    head.episode_logits(QUERY, SUPPORT, torch.arange(3))[:, 0].sum().backward()
    assert conditioning.generator.weight.grad.any(1).all()
