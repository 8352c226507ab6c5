"""Warping and channel norm: the reference's tensors, known fields, gradients."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tolerances import LAYER_PARITY, assert_parity

from tmal_core.flow.warping import channel_norm, warp


def test_warp_equals_the_reference(assets: Path):
    goldens = load_file(assets / "flownet2.safetensors")
    got = warp(goldens["resample2d.image"], goldens["resample2d.flow"])
    wanted = goldens["resample2d.output"]
    assert_parity(got, wanted, LAYER_PARITY)


def test_warp_fetches_from_where_the_flow_points():
    image = torch.arange(20.0).reshape(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0], flow[:, 1] = 1.0, 2.0
    got = warp(image, flow)
    torch.testing.assert_close(got[0, 0, :2, :4], image[0, 0, 2:, 1:])
    # Beyond the border the border is repeated.
    torch.testing.assert_close(got[0, 0, 3], torch.tensor([16.0, 17, 18, 19, 19]))


def test_warp_of_one_pixel_is_that_pixel():
    assert warp(torch.full((1, 1, 1, 1), 7.0), torch.full((1, 2, 1, 1), 3.5)).item() == 7.0


def test_warp_has_gradients_for_image_and_flow():
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    # Positions away from whole pixels and from the border, where bilinear interpolation has a kink.
    flow = torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64) * 0.6 + 0.2
    assert torch.autograd.gradcheck(warp, (image, flow.requires_grad_()))


def test_warp_computes_positions_in_float32():
    # In bfloat16 the positions beyond 256 are whole even numbers.
    image = torch.arange(300.0).reshape(1, 1, 1, 300)
    flow = torch.zeros(1, 2, 1, 300)
    flow[:, 0] = 0.5
    with torch.autocast("cpu", torch.bfloat16):
        got = warp(image.bfloat16(), flow.bfloat16())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, warp(image.bfloat16().float(), flow))


def test_channel_norm_is_euclidean():
    features = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(channel_norm(features), torch.tensor([5.0, 0.0]).reshape(1, 1, 1, 2))
    assert channel_norm(features.bfloat16()).dtype == torch.float32


def test_channel_norm_has_a_finite_gradient_at_zero():
    features = torch.zeros(1, 2, 1, 1, requires_grad=True)
    channel_norm(features).sum().backward()
    assert torch.equal(features.grad, torch.zeros(1, 2, 1, 1))
