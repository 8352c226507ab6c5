"""Attention capture against the blocks' own attention, and rollout on matrices whose product is known."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.functional import linear

from tmal_core.analysis.attention_maps import (
    attention_probabilities,
    attention_shift,
    capture_attention,
    class_token_maps,
    rollout,
)
from tmal_core.config import ModelSettings
from tmal_core.models import blocks_fast
from tmal_core.models.backbone import load_backbone
from tmal_core.models.encoder import BEFORE_FFN
from tmal_core.models.methods.tmal import METHOD as TMAL

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 48, "layers": 3, "head_width": 16, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}
NUM_FRAMES, NUM_TOKENS, NUM_BLOCKS = 4, 17, 3


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")

    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    torch.manual_seed(0)
    clip = load_backbone(str(folder), "random")
    for block in clip.visual.transformer.resblocks:
        # The initial weights are so small that attention is flat and every mistake would look alike.
        block.attn.in_proj_weight.normal_(std=0.3)
        block.attn.in_proj_bias.normal_(std=0.3)
    return clip


def _parts(adapters):
    return ModelSettings(adapters=adapters, bottleneck=8, flow_encoder="none", text=False)


@pytest.fixture(params=["none", "ffn", "both"])
def model(request, backbone):
    model = TMAL.build(backbone, _parts(request.param)).eval()
    torch.manual_seed(1)
    for adapters in model.encoder.adapters.values():
        for adapter in adapters:
            torch.nn.init.normal_(adapter.conv.weight, std=0.5)
    return model


@pytest.fixture
def frames():
    return torch.randn(2, NUM_FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def test_probabilities_reproduce_the_blocks_attention(backbone):
    block = backbone.visual.transformer.resblocks[1]
    tokens = block.ln_1(torch.randn(5, NUM_TOKENS, 48, generator=torch.Generator().manual_seed(3)))
    probabilities = attention_probabilities(block, tokens)
    attn = block.attn
    value = linear(tokens, attn.in_proj_weight, attn.in_proj_bias)[..., -48:].unflatten(-1, (3, 16)).transpose(1, 2)
    output = attn.out_proj((probabilities @ value).transpose(1, 2).flatten(2))
    assert probabilities.shape == (5, 3, NUM_TOKENS, NUM_TOKENS)
    torch.testing.assert_close(output, block.attention(tokens), atol=1e-5, rtol=1e-5)


def test_captured_attention_is_that_of_the_models_own_forward_pass(model, frames, monkeypatch):
    """Each block's attention is asked for its weights in the very call of the model, and compared."""
    expected = []

    def attention(query, key, value):
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        expected.append(weights.mean(1))
        return weights @ value

    monkeypatch.setattr(blocks_fast, "scaled_dot_product_attention", attention)
    captured = capture_attention(model, frames)
    assert captured.shape == (2, NUM_FRAMES, NUM_BLOCKS, NUM_TOKENS, NUM_TOKENS)
    theirs = torch.stack(expected, dim=1).unflatten(0, (2, NUM_FRAMES))
    torch.testing.assert_close(captured, theirs, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(captured.sum(-1), torch.ones(captured.shape[:-1]))


def test_capture_leaves_the_model_as_it_was(model, frames):
    before = model.encoder(frames)
    capture_attention(model, frames)
    assert torch.equal(model.encoder(frames), before)
    assert not any(block.ln_1._forward_hooks for block in model.encoder.clip.visual.transformer.resblocks)


@pytest.mark.parametrize("flow_encoder", ["stem", "clip"])
def test_attention_of_a_model_that_reads_flow_is_that_of_its_frames(backbone, frames, flow_encoder):
    parts = ModelSettings(adapters="none", flow_encoder=flow_encoder, text=False, fusion_width=8)
    fused, frozen = TMAL.build(backbone, parts).eval(), TMAL.build(backbone, _parts("none")).eval()
    flow_px = torch.randn(2, NUM_FRAMES, 2, 32, 32, generator=torch.Generator().manual_seed(4))
    plain = capture_attention(frozen, frames)
    torch.testing.assert_close(capture_attention(fused, frames, flow_px), plain)  # fusion starts as the identity
    for part in fused.encoder.flow_fusion.parameters():
        torch.nn.init.normal_(part, generator=torch.Generator().manual_seed(5))
    moved = capture_attention(fused, frames, flow_px)
    assert moved.shape == plain.shape and attention_shift(moved, plain)[-1] > 0.01


def test_hooks_are_gone_after_an_error(model):
    with pytest.raises(RuntimeError):
        capture_attention(model, torch.zeros(1, NUM_FRAMES, 3, 40, 40))
    assert not any(block.ln_1._forward_hooks for block in model.encoder.clip.visual.transformer.resblocks)


def test_adapters_move_attention_of_later_blocks_only(backbone, frames):
    frozen, adapted = TMAL.build(backbone, _parts("none")), TMAL.build(backbone, _parts("ffn"))
    same = attention_shift(capture_attention(frozen, frames), capture_attention(adapted, frames))
    assert torch.equal(same, torch.zeros(NUM_BLOCKS))  # identity at the start
    torch.nn.init.normal_(adapted.encoder.adapters[BEFORE_FFN][1].conv.weight)
    shift = attention_shift(capture_attention(frozen, frames), capture_attention(adapted, frames))
    assert shift.shape == (NUM_BLOCKS,) and torch.equal(shift[:2], torch.zeros(2)) and 0 < shift[2] <= 1


def test_shift_is_the_share_that_lies_elsewhere():
    first, second = torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)
    first[:, 0, 0], second[:, 0, 0] = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.2, 0.3])
    assert attention_shift(first, second).tolist() == pytest.approx([0.3])


def test_rollout_of_identities_is_the_identity_and_of_one_block_half_of_it():
    identity = torch.eye(5).expand(2, 4, 5, 5)
    assert torch.equal(rollout(identity), torch.eye(5).expand(2, 5, 5))
    attention = torch.rand(1, 5, 5).softmax(-1)
    torch.testing.assert_close(rollout(attention), (torch.eye(5) + attention[0]) / 2)
    assert torch.equal(rollout(attention, residual=1.0), torch.eye(5))


def test_rollout_keeps_rows_summing_to_one_and_the_order_of_blocks():
    attention = torch.rand(3, 6, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    torch.testing.assert_close(rollout(attention).sum(-1), torch.ones(3, 5))
    # Block 1 moves token 2 into token 1, block 2 moves token 1 into token 0: token 0 then comes from token 2.
    swap = torch.eye(3).repeat(2, 1, 1)
    swap[0, 1], swap[1, 0] = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 1, 0])
    assert rollout(swap, residual=0.0)[0].tolist() == [0, 0, 1]


def test_class_token_maps_are_row_by_row_shares():
    attention = torch.zeros(7, 7)
    attention[0] = torch.tensor([0.4, 0.1, 0.0, 0.2, 0.0, 0.3, 0.0])
    picture = class_token_maps(attention, (2, 3))
    torch.testing.assert_close(picture, torch.tensor([[1.0, 0, 2], [0, 3, 0]]) / 6)
    attention[0] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
    assert torch.equal(class_token_maps(attention, (2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: rollout(torch.zeros(4, 4)),
        lambda: rollout(torch.zeros(2, 4, 5)),
        lambda: rollout(torch.zeros(0, 4, 4)),
        lambda: rollout(torch.eye(3)[None], residual=1.5),
        lambda: class_token_maps(torch.zeros(5, 5), (2, 3)),
        lambda: attention_shift(torch.zeros(2, 3, 3), torch.zeros(1, 3, 3)),
    ],
)
def test_wrong_shapes_are_named(call):
    with pytest.raises(ValueError, match="expected"):
        call()
