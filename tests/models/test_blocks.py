"""A block of CLIP computed in few passes gives what open_clip's own code gives, and the same gradients."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from tolerances import TOLERANCE
from torch import nn

from tmal_core.models import fast_paths
from tmal_core.models.blocks import attend, feed_forward
from tmal_core.models.blocks_fast import attended


@pytest.fixture(params=[QuickGELU, nn.GELU], ids=["QuickGELU", "GELU"])
def block(request):
    torch.manual_seed(0)
    block = ResidualAttentionBlock(16, 4, act_layer=request.param, ls_init_value=0.7).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def _gradients(out, block, tokens):
    direction = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad(out, [tokens, *block.parameters()], direction)


def test_block_and_its_gradients_are_open_clips(block):
    tokens = torch.randn(3, 7, 16, dtype=torch.float64, requires_grad=True)
    mine, theirs = feed_forward(block, attend(block, tokens)), block(tokens)
    with patch.object(fast_paths, "definitions", True):
        assert torch.equal(feed_forward(block, attend(block, tokens)), theirs)
    torch.testing.assert_close(mine, theirs)
    for got, wanted in zip(_gradients(mine, block, tokens), _gradients(theirs, block, tokens), strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_class_token_alone_is_the_first_of_all(block):
    tokens = torch.randn(3, 7, 16, dtype=torch.float64)
    alone, whole = attend(block, tokens, class_token_only=True), attend(block, tokens)
    torch.testing.assert_close(alone, whole[:, :1])
    with patch.object(fast_paths, "definitions", True):
        torch.testing.assert_close(attend(block, tokens, class_token_only=True), alone)


def test_half_precision_under_autocast(block):
    block, tokens = block.float(), torch.randn(3, 7, 16)
    with torch.autocast("cpu", torch.bfloat16):
        mine = feed_forward(block, attend(block, tokens))
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, block(tokens), atol=0.3, rtol=0.02)
    assert not torch.equal(mine, feed_forward(block, attend(block, tokens)))


@pytest.mark.parametrize("asking", [7, 1])
def test_attention_in_bfloat16_is_torch_s(asking):
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(3, 2, length, 16, generator=draw) for length in (asking, 7, 7)]
    exact = [part.clone().requires_grad_() for part in parts]
    half = [part.bfloat16().requires_grad_() for part in parts]
    wanted, got = torch.nn.functional.scaled_dot_product_attention(*exact), attended(*half)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, **TOLERANCE[torch.bfloat16])
    direction = torch.randn(wanted.shape, generator=draw)
    gradients = (
        torch.autograd.grad(out, inputs, direction.to(out.dtype)) for out, inputs in ((wanted, exact), (got, half))
    )
    for wanted_grad, got_grad in zip(*gradients, strict=True):
        torch.testing.assert_close(got_grad.float(), wanted_grad, atol=0.05, rtol=0.05)
