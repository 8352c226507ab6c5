"""A side network beside TMAL's tower: zero at first, fed by every stage, in any number of frames."""

from __future__ import annotations

import pytest
import torch

from tmal_core.config import load_settings
from tmal_core.errors import SettingsError
from tmal_core.models.methods import build
from tmal_core.models.side_network import beside

PARTS = load_settings("tiny", {"model.method": "tmal", "model.side_width": 64}).model
FRAMES = torch.randn(3, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def built(**changes):
    torch.manual_seed(0)
    return build(PARTS.model_copy(update=changes)).encoder


def woken(encoder):
    torch.nn.init.normal_(encoder.side.raised.weight, generator=torch.Generator().manual_seed(1))
    return encoder


@torch.no_grad()
def test_it_adds_nothing_at_first_and_then_what_its_class_token_says():
    plain = {"adapters": "none", "flow_encoder": "none", "text": False}
    encoder = built(**plain)
    before = encoder(FRAMES)
    torch.testing.assert_close(before, built(**plain, side_width=0)(FRAMES))
    woken(encoder)
    tokens, features = beside(encoder.clip.visual, with_frames(encoder.side.side, 4), FRAMES)
    raised = encoder.side.raised(encoder.side.norm(tokens[:, :, 0]))
    torch.testing.assert_close(encoder(FRAMES), features + raised)


def with_frames(side, num_frames):
    """As TS-FSAR has it: the number of frames is set once."""
    for block in side.side_transformer:
        block.num_frames = num_frames
    return side


@torch.no_grad()
def test_it_sees_what_joins_inside_the_tower_and_its_frames_in_time():
    encoder = woken(built(flow_encoder="none"))
    texts = torch.randn(3, encoder.joint_width, generator=torch.Generator().manual_seed(2))
    for fusion in encoder.text_fusion.values():
        torch.nn.init.normal_(fusion.up.weight, std=0.1)
    query, support = encoder.encode_roles(FRAMES, text=texts, num_support=2)
    torch.testing.assert_close(query, encoder(FRAMES))
    torch.testing.assert_close(support, encoder(FRAMES[:2], text=texts[:2]))
    said = [encoder.side(encoder.tokens(FRAMES[:2], text=text), 4) for text in (None, texts[:2])]
    assert (said[0] - said[1]).abs().max() > 1e-3
    turned = encoder(FRAMES.flip(1)).flip(1)
    assert (turned - encoder(FRAMES)).abs().max() < 1e-3, "no position over time: TS-FSAR's attention has none"
    still = FRAMES[:, :1].expand(-1, 4, -1, -1, -1)
    assert (encoder(still)[:, 0] - encoder(FRAMES)[:, 0]).abs().max() > 1e-3, "a frame hears of the others"
    torch.testing.assert_close(encoder(FRAMES[:1]), encoder(FRAMES)[:1])
    assert encoder(FRAMES[:, :2]).shape == (3, 2, encoder.joint_width)


@pytest.mark.parametrize("low_memory", [False, True])
def test_gradients_reach_all_of_it(low_memory):
    encoder = woken(built(flow_encoder="none", text=False)).train()
    encoder.low_memory = low_memory
    encoder(FRAMES).square().sum().backward()
    assert all(parameter.grad.any() for parameter in encoder.side.parameters())


@pytest.mark.parametrize("width", [32, 192])
def test_a_width_that_the_tower_cannot_have_is_refused(width):
    with pytest.raises(SettingsError, match=f"multiple of 64, up to the tower's 128, got {width}"):
        built(side_width=width)
