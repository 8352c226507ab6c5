"""TS-FSAR's distances among channels: the reference's numbers and gradients, and what must hold of them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tolerances import TOLERANCE, assert_parity

from tmal_core.matching.channel_distances import correlation, distance_correlation, distance_representation

GRADIENT = 2e-4
"""Of the largest value: in float32 the reference's own gradients are rounded so far on the diagonal."""
ALPHAS = (0.4, 0.5, 0.7, 1.0)


@pytest.fixture(scope="module")
def golden(assets):
    return load_file(assets / "ts_fsar_matching.safetensors")


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("case", ["exact", "square", "tall", "wide", "zero"])
def test_representations_are_the_reference_s(golden, case, alpha):
    tokens = golden[f"representation.{case}.tokens"].clone().requires_grad_()
    found, at = distance_representation(tokens, alpha), f"representation.{case}.alpha{alpha}"
    torch.testing.assert_close(found, golden[f"{at}.output"], **TOLERANCE[torch.float32])
    if f"{at}.grad" in golden:
        (found * golden.get(f"representation.{case}.cotangent", torch.ones_like(found))).sum().backward()
        if golden[f"{at}.grad"].any():
            assert_parity(tokens.grad, golden[f"{at}.grad"], GRADIENT, at)
        else:
            assert not tokens.grad.any()


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("case", ["same", "unequal_frames"])
def test_correlations_are_the_reference_s(golden, case, alpha):
    sides = [golden[f"correlation.{case}.{side}"].clone().requires_grad_() for side in ("query", "support")]
    found, at = distance_correlation(*sides, alpha), f"correlation.{case}.alpha{alpha}"
    torch.testing.assert_close(found, golden[f"{at}.similarity"], **TOLERANCE[torch.float32])
    found.sum().backward()
    for side, name in zip(sides, ("query", "support"), strict=True):
        assert_parity(side.grad, golden[f"{at}.grad_{name}"], GRADIENT, f"{at} {name}")


@pytest.fixture
def frames():
    return torch.randn(3, 2, 7, 5, generator=torch.Generator().manual_seed(0))


def test_written_out_for_one_frame(frames):
    """Distances of channels one by one, and means taken off row by row."""
    tokens, alpha = frames[0, 0].double(), 0.4
    width = tokens.shape[1]
    raised = torch.zeros(width, width, dtype=torch.float64)
    for i in range(width):
        for j in range(width):
            apart = (tokens[:, i] - tokens[:, j]).square().sum() / (2 * len(tokens))
            raised[i, j] = (apart + 1e-5) ** alpha
    rows, columns, whole = raised.mean(1), raised.mean(0), raised.mean()
    wanted = [raised[i, j] - rows[i] - columns[j] + whole for i in range(width) for j in range(i, width)]
    torch.testing.assert_close(distance_representation(tokens, alpha), torch.stack(wanted), **TOLERANCE[torch.float64])


def test_neither_order_of_patches_nor_scale_nor_a_shift_of_all_channels_changes_a_correlation(frames):
    query, support = frames[:1], frames[1:]
    plain = distance_correlation(query, support, eps=0.0)
    others = query[:, :, torch.randperm(7)], query + torch.randn(1, 2, 7, 1)
    for other in others:
        torch.testing.assert_close(distance_correlation(other, support, eps=0.0), plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(distance_correlation(100 * query, support, eps=0.0), plain, atol=1e-3, rtol=1e-3)
    assert plain.abs().max() <= 1 + 1e-5
    itself = distance_correlation(query, query, eps=0.0)[0, 0].diagonal()
    torch.testing.assert_close(itself, torch.ones(2), **TOLERANCE[torch.float32])


def test_groups_are_episodes_side_by_side(frames):
    described = distance_representation(frames)
    whole = correlation(described[None, :1], described[None, 1:])
    torch.testing.assert_close(whole[0], distance_correlation(frames[:1], frames[1:]))


def test_half_precision_is_computed_in_float32(frames):
    assert distance_representation(frames.bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        found = distance_correlation(frames, frames)
    torch.testing.assert_close(found, distance_correlation(frames, frames))


def test_the_gradient_is_that_of_differences(frames):
    tokens = frames[0].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: distance_representation(t, 0.7), tokens)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape, alpha", [((5,), 0.4), ((0, 5), 0.4), ((4, 0), 0.4), ((4, 5), 0.0)])
def test_what_is_no_frame_is_refused(shape, alpha):
    with pytest.raises(ValueError, match=r"expected tokens \(\.\.\., P, D\) with P, D >= 1 and alpha above 0, got \("):
        distance_representation(torch.zeros(shape), alpha)


@pytest.mark.usefixtures("shapes_unchecked")
def test_tokens_of_two_widths_are_refused(frames):
    with pytest.raises(ValueError, match=r"expected query \(Q, T, P, D\) and support \(S, U, P, D\) of one width D"):
        distance_correlation(frames, frames[..., :4])
