"""TS-FSAR's parts: side blocks, adapter, how they start, and its distillation, against the reference's tensors."""

from __future__ import annotations

import pytest
import torch
from golden_weights import by_rule
from safetensors.torch import load_file
from tolerances import LAYER_PARITY, PARITY, assert_parity

from tmal_core.models.shrinking import shrink
from tmal_core.models.side_network import FrameAdapter, SideBlock, SideNetwork
from tmal_core.models.ts_fsar_scores import distillation_loss, log_fused


@pytest.fixture(scope="module")
def golden(assets):
    return load_file(assets / "ts_fsar_parts.safetensors")


def ruled(module, prefix):
    """The module with weights by rule."""
    module.load_state_dict({name: by_rule(f"{prefix}.{name}", p.shape) for name, p in module.state_dict().items()})
    return module


@pytest.mark.parametrize("kind", ["standard", "temporal"])
def test_a_side_block_is_the_reference_s(golden, kind):
    block = ruled(SideBlock(128, 4, kind == "temporal"), f"block_{kind}")
    tokens = golden[f"block_{kind}.tokens"].clone().requires_grad_()
    found = block(tokens)
    (found * golden[f"block_{kind}.cotangent"]).sum().backward()
    assert_parity(found, golden[f"block_{kind}.output"], LAYER_PARITY, kind)
    assert_parity(tokens.grad, golden[f"block_{kind}.grad"], LAYER_PARITY, f"{kind}, gradient")


@pytest.mark.parametrize("residual", [0.4, 1.6])
def test_the_adapter_is_the_reference_s(golden, residual):
    adapter, features = (
        ruled(FrameAdapter(32, residual), "adapter"),
        golden["adapter.features"].clone().requires_grad_(),
    )
    found = adapter(features)
    (found * golden["adapter.cotangent"]).sum().backward()
    assert_parity(found, golden[f"adapter.residual{residual}.output"], LAYER_PARITY)
    assert_parity(features.grad, golden[f"adapter.residual{residual}.grad"], LAYER_PARITY, "gradient")


@pytest.mark.parametrize(
    "name, kind",
    [("fc1", "weight"), ("fc2", "weight"), ("square", "weight")]
    + [(name, "vector") for name in ("fc1_bias", "third", "two_thirds")],
)
def test_weights_are_shrunk_as_the_reference_shrinks_them(golden, name, kind):
    reduced = golden[f"init.{name}.reduced"]
    assert_parity(shrink(golden[f"init.{name}.{kind}"], *reduced.shape), reduced, PARITY, name)


def test_the_same_shape_stays_and_a_larger_one_is_refused():
    weight = torch.randn(4, 3)
    assert shrink(weight, 4, 3) is weight
    for shape in ((5, 3), (4, 4), (4,)):
        with pytest.raises(ValueError, match=r"expected a shape within \(4, 3\), got"):
            shrink(weight, *shape)


@pytest.mark.parametrize("temperature", [4, 10])
def test_distillation_is_the_reference_s_for_both_sides(golden, temperature):
    sides = [golden[f"distillation.{side}_logits"].clone().requires_grad_() for side in ("student", "teacher")]
    loss, at = distillation_loss(*sides, float(temperature)), f"distillation.temperature{temperature}"
    loss.backward()
    assert_parity(loss[None], golden[f"{at}.loss"], LAYER_PARITY)
    for side, name in zip(sides, ("student", "teacher"), strict=True):
        assert_parity(side.grad, golden[f"{at}.grad_{name}"], LAYER_PARITY, name)


def test_scores_of_power_zero_have_no_say():
    logits = [torch.randn(2, 3) for _ in range(3)]
    wanted = logits[0].softmax(1) ** 0.5 * logits[1].softmax(1) ** 0.2
    torch.testing.assert_close(log_fused(logits, (0.5, 0.2, 0.0)).exp(), wanted)


def test_a_temporal_block_lets_no_place_see_another():
    block, tokens = SideBlock(64, 2, temporal=True), torch.randn(4, 3, 64)
    changed = tokens.clone()
    changed[0, 1] += 1
    moved = (block(changed) - block(tokens)).abs().sum(2) > 1e-6
    assert moved.nonzero().tolist() == [[0, 1], [1, 1]]  # the same place in both frames of that clip


def test_a_network_starts_from_clip_and_learns_in_every_part():
    from open_clip.transformer import VisionTransformer

    visual = VisionTransformer(32, 8, 128, layers=2, heads=2, mlp_ratio=4.0, output_dim=64)
    side = SideNetwork(128, 2, 64, num_frames=2, temporal_blocks=(1,))
    side.start_from(visual)
    theirs, mine = visual.transformer.resblocks[1], side.side_transformer[1]
    torch.testing.assert_close(mine.mlp.fc2.weight, shrink(theirs.mlp.c_proj.weight, 64, 256))
    value = theirs.attn.in_proj_weight[256:]
    torch.testing.assert_close(mine.attn.v_linear.weight, shrink(value, 64, 64))
    assert torch.equal(mine.norm2.weight, torch.ones(64)) and not any(gate.any() for gate in side.side_gate_params)

    stages = [torch.randn(4, 17, 128) for _ in range(3)]
    found = {}
    for low in (False, True):
        side.zero_grad()
        side(stages, low).square().sum().backward()
        found[low] = {name: p.grad.clone() for name, p in side.named_parameters()}
    assert all(gradient.any() for gradient in found[False].values())
    for name, gradient in found[True].items():
        torch.testing.assert_close(gradient, found[False][name], atol=1e-3, rtol=1e-4)


def test_widths_and_blocks_that_cannot_be():
    with pytest.raises(ValueError, match="expected a width divisible by 64, got 96"):
        SideBlock(96, 8)
    with pytest.raises(ValueError, match="expected a width divisible by 8 heads, got 12"):
        FrameAdapter(12, 1.0)
    with pytest.raises(ValueError, match=r"expected temporal blocks out of 0\.\.3, got \[6\]"):
        SideNetwork(128, 4, 64, 8, (1, 6))
