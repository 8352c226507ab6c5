"""The gate between frames as they are and centred ones: what it looks at, what it says, and that it says it for all."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from tmal_core.models.heads import MatchingHead
from tmal_core.models.support_gate import SupportGate, spread_ratio

DRAW = torch.Generator().manual_seed(0)
SUPPORT = torch.randn(3, 4, 6, generator=DRAW) + 2 * torch.randn(3, 1, 6, generator=DRAW)
QUERY = torch.randn(5, 4, 6, generator=DRAW) + 2 * torch.randn(5, 1, 6, generator=DRAW)
LABELS = torch.arange(3)


def head(centre: str = "gate", sharpness: float = 4.0, matching: str = "otam") -> MatchingHead:
    return MatchingHead(matching, 0.1, centre=centre, gate_sharpness=sharpness)


def test_the_ratio_is_that_of_the_definition():
    frames = normalize(SUPPORT, dim=-1)
    means = frames.mean(1)
    apart = [0.5 * (means[i] - means[j]).square().sum() for i in range(3) for j in range(3) if i != j]
    within = [(frames[i, t] - means[i]).square().sum() for i in range(3) for t in range(4)]
    wanted = math.log(torch.stack(apart).mean()) - math.log(torch.stack(within).mean())
    assert spread_ratio(frames).item() == pytest.approx(wanted, abs=2e-3)  # the least spread, on either side


def test_two_still_clips_lie_apart_and_two_that_show_the_same_change():
    still = torch.eye(2)[:, None].expand(2, 2, 2)
    shown, changing = SupportGate(50.0)(still), SupportGate(50.0)(still.transpose(0, 1))
    torch.testing.assert_close(shown, torch.tensor([2.0**0.5, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(changing, torch.tensor([0.0, 2.0**0.5]), atol=1e-4, rtol=0)


def test_where_the_ratio_is_the_usual_one_both_count_the_same():
    gate, frames = SupportGate(3.0), normalize(SUPPORT, dim=-1)
    with torch.no_grad():
        gate.usual.copy_(spread_ratio(frames))
        torch.testing.assert_close(gate(frames), torch.ones(2))
        gate.usual.sub_(1.0)
        torch.testing.assert_close(gate(frames)[0], (2 * torch.sigmoid(torch.tensor(3.0))).sqrt())
    assert torch.equal(gate(frames[:1]), torch.ones(2)), "a single clip lies apart from nothing"


@pytest.mark.parametrize("matching", ["otam", "bimhm"])
def test_a_blunt_gate_is_both_and_a_sharp_one_is_one_of_the_two(matching):
    with torch.no_grad():
        answers = {c: head(c, matching=matching).episode_logits(QUERY, SUPPORT, LABELS) for c in ("none", "both")}
        blunt = head(sharpness=1e-6, matching=matching).episode_logits(QUERY, SUPPORT, LABELS)
        torch.testing.assert_close(blunt, answers["both"], atol=1e-4, rtol=0)
        sharp = head(sharpness=100.0, matching=matching)
        for clips, centre in ((SUPPORT, "none"), (SUPPORT - SUPPORT.mean(1, keepdim=True), "clip")):
            one = head(centre, matching=matching)
            query = 100 * QUERY, 100 * clips, LABELS  # beside which the 0.01 of the cosine is nothing
            torch.testing.assert_close(sharp.episode_logits(*query), one.episode_logits(*query), atol=0.15, rtol=0)


def test_it_looks_at_the_support_set_alone_in_any_order_and_group_by_group():
    gated, frames = head(), torch.stack([SUPPORT, SUPPORT.roll(1, 2) + 1, SUPPORT * SUPPORT])
    with torch.no_grad():
        whole = gated.episode_logits(QUERY, SUPPORT, LABELS)
        torch.testing.assert_close(gated.episode_logits(QUERY[[2]], SUPPORT, LABELS), whole[[2]])
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(gated.episode_logits(QUERY, SUPPORT[order], LABELS[order]), whole)
        queries, prototypes = gated.modulate(QUERY), torch.stack([gated.modulate(clips) for clips in frames])
        groups = gated.group_distances(queries.expand(3, -1, -1, -1), prototypes)
        for group, clips in zip(groups, prototypes, strict=True):
            torch.testing.assert_close(group, gated.distances(queries, clips), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sharpness", [0.1, 4.0, 1e4])
def test_gradients_are_finite_even_where_it_has_made_up_its_mind(sharpness):
    gated = head(sharpness=sharpness)
    clips = SUPPORT.clone().requires_grad_()
    gated.episode_logits(QUERY, clips, LABELS)[:, 0].sum().backward()
    found = [clips.grad, gated.gate.log_sharpness.grad, gated.gate.usual.grad]
    assert all(gradient.isfinite().all() for gradient in found)
    assert sharpness > 100 or all(gradient.any() for gradient in found)


def test_under_another_matcher_it_stays_and_averaged_frames_have_none():
    gated = head()
    assert gated.rematched("bimhm").by_support and gated.by_support and not gated.rematched("mean").by_support
    mean = MatchingHead("mean", centre="gate")
    assert mean.gate is None and not mean.by_support and not mean.is_measured
    assert gated.is_measured and not head("both").is_measured
