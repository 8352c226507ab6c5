"""Temporal attention: class tokens of a clip alone, the identity at first, in any number of frames."""

from __future__ import annotations

import pytest
import torch

from tmal_core.config import load_settings
from tmal_core.errors import SettingsError
from tmal_core.models.methods import build
from tmal_core.models.temporal_attention import TemporalAttention, numbered

TOKENS = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0))  # two clips of three frames


@pytest.fixture
def attention():
    torch.manual_seed(0)
    found = TemporalAttention(8, 4)
    torch.nn.init.normal_(found.out.weight)
    return found


@torch.no_grad()
def test_it_starts_as_the_identity_and_then_adds_what_the_definition_says(attention):
    assert torch.equal(TemporalAttention(8, 4)(TOKENS, 3), TOKENS)
    found = attention(TOKENS, 3)
    assert torch.equal(found[:, 1:], TOKENS[:, 1:]), "patch tokens are left alone"
    for clip in (0, 1):
        rows = slice(3 * clip, 3 * clip + 3)
        placed = attention.norm(TOKENS[rows, 0]) + numbered(3, 8)
        query, key, value = (part.unflatten(1, (4, 1)) for part in attention.joint(placed).chunk(3, dim=1))
        heads = [(query[:, h] @ key[:, h].T).softmax(1) @ value[:, h] for h in range(4)]
        torch.testing.assert_close(found[rows, 0], TOKENS[rows, 0] + attention.out(torch.cat(heads, 1)))


@torch.no_grad()
def test_clips_do_not_see_each_other_and_frames_know_their_order(attention):
    torch.testing.assert_close(attention(TOKENS[3:], 3), attention(TOKENS, 3)[3:])
    turned = attention(TOKENS[:3].flip(0), 3).flip(0)
    assert (turned - attention(TOKENS[:3], 3)).abs().max() > 1e-2
    assert attention(TOKENS, 6).shape == attention(TOKENS, 1).shape == TOKENS.shape
    with pytest.raises(ValueError, match="expected whole clips of 4 frames, got 6 frames"):
        attention(TOKENS, 4)


def test_gradients_reach_every_parameter(attention):
    attention(TOKENS, 3)[:, 0].square().sum().backward()
    assert all(parameter.grad.any() for parameter in attention.parameters())


def test_it_stands_in_the_last_blocks_and_in_no_more_than_there_are():
    parts = load_settings("tiny", {"model.temporal_attention": 2}).model
    assert list(build(parts).encoder.frame_attention) == ["3", "4"]
    with pytest.raises(SettingsError, match=r"temporal_attention up to the tower's 4 blocks, got 5\. Lower it"):
        build(parts.model_copy(update={"temporal_attention": 5}))
