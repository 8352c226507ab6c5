"""Motion encoders: tokens on the patch grid, independent of the picture's size, and colours that say the direction."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch

from tmal_core.models import fast_paths
from tmal_core.models.motion import FLOW_UNIT, GREY_UNIT, DifferenceEncoder, StemEncoder, flow_picture


def _uniform(dx, dy, side=32):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, side, side)


@pytest.mark.parametrize(("patch", "side"), [(16, 64), (14, 56), (32, 64), (15, 45)])
def test_tokens_lie_on_the_patch_grid(patch, side):
    motion = StemEncoder(patch, width=8, joint_width=12, blocks=(1, 3))(torch.randn(2, 3, 2, side, side))
    assert set(motion.levels) == {1, 3} and motion.clip.shape == (2, 12)
    assert motion.levels[1].shape == (2 * 3, (side // patch) ** 2, 8)


@pytest.mark.parametrize(("patch", "side"), [(16, 64), (14, 56), (32, 64), (15, 45), (16, 70)])
def test_products_of_matrices_are_the_convolutions_of_the_stem(patch, side):
    torch.manual_seed(0)
    encoder = StemEncoder(patch, width=8, joint_width=None, blocks=(1,)).double()
    flow_px = torch.randn(1, 3, 2, side, side, dtype=torch.float64)
    mine = encoder(flow_px).levels[1]
    with mock.patch.object(fast_paths, "definitions", True):
        wanted = encoder(flow_px).levels[1]
    assert torch.equal(wanted, encoder.stem(flow_px[0] / (FLOW_UNIT * side)).flatten(2).transpose(1, 2))
    torch.testing.assert_close(mine, wanted)
    sides = [torch.autograd.grad(tokens.square().sum(), [*encoder.stem.parameters()]) for tokens in (mine, wanted)]
    torch.testing.assert_close(*sides)


@pytest.mark.parametrize(("patch", "side"), [(16, 64), (15, 45)])
def test_differences_go_through_the_same_stem(patch, side):
    torch.manual_seed(0)
    encoder = DifferenceEncoder(patch, width=8, joint_width=12, blocks=(1, 2)).double()
    of_flow = StemEncoder(patch, width=8, joint_width=12, blocks=(1, 2))
    shapes = [{name: p.shape for name, p in one.named_parameters()} for one in (encoder, of_flow)]
    assert [name for name in shapes[0] if shapes[0][name] != shapes[1][name]] == ["stem.0.weight"]
    grey = torch.rand(1, 3, 1, side, side, dtype=torch.float64) - 0.5
    found = encoder(grey)
    wanted = encoder.stem(grey[0] / GREY_UNIT).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found.levels[2], wanted)
    torch.testing.assert_close(found.clip, encoder.to_joint(wanted.mean((0, 1), keepdim=True))[:, 0])


def test_a_patch_moves_its_own_token_and_its_neighbours():
    torch.manual_seed(0)
    stem = StemEncoder(16, width=8, joint_width=None, blocks=(1,))
    still = torch.zeros(1, 1, 2, 96, 96)
    moved = still.clone()
    moved[..., :16, :16] = 3.0
    changed = (stem(moved).levels[1] - stem(still).levels[1]).abs().sum(-1)[0].view(6, 6) > 1e-6
    assert changed[:2, :2].all() and not changed[2:].any() and not changed[:, 2:].any()


def test_the_same_motion_in_shares_of_the_picture_gives_the_same_tokens():
    torch.manual_seed(0)
    stem = StemEncoder(16, width=8, joint_width=4, blocks=(1,))
    small, large = _uniform(1.0, 2.0, 64)[None], _uniform(2.0, 4.0, 128)[None]
    # In the middle, where no border is near: every token there sees the same.
    torch.testing.assert_close(stem(small).levels[1][0, 5], stem(large).levels[1][0, 27])


def test_no_motion_is_white_and_fast_motion_is_saturated():
    assert (flow_picture(_uniform(0.0, 0.0)) == 1).all()
    fast = 4 * FLOW_UNIT * 32
    colour = flow_picture(_uniform(fast, 0.0))[0, :, 0, 0]
    torch.testing.assert_close(colour, torch.tensor([1.0, 0.25, 0.25]))
    torch.testing.assert_close(flow_picture(_uniform(2 * fast, 0.0))[0, :, 0, 0], colour)


def test_every_direction_has_its_own_colour():
    directions = [2 * math.pi * i / 8 for i in range(8)]
    colours = torch.stack([flow_picture(_uniform(2 * math.cos(a), 2 * math.sin(a)))[0, :, 0, 0] for a in directions])
    assert torch.cdist(colours, colours).add(torch.eye(8)).min() > 0.1
    assert (colours >= 0).all() and (colours <= 1).all()
