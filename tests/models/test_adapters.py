"""The ST-Adapter against the reference's tensors, and what it must not do."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file
from tolerances import HALF_PARITY, assert_parity

from tmal_core.models import fast_paths
from tmal_core.models.adapters import STAdapter
from tmal_core.models.adapters_fast import over_time

KERNELS = {"k311": (3, 1, 1), "k333": (3, 3, 3)}
NUM_FRAMES = 5


def trained(kernel_size=(3, 1, 1), dtype=torch.float64, width=6, bottleneck=4) -> STAdapter:
    """An adapter with random weights everywhere, its convolution too."""
    adapter = STAdapter(width, bottleneck, kernel_size).to(dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return adapter


def random_tokens(clips: int, num_frames: int, patches: int, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(clips * num_frames, 1 + patches, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_adapter_is_the_reference_s(assets, kernel):
    golden = load_file(assets / "st_adapter.safetensors")
    prefix = f"adapter_{kernel}."
    names = ("fc1.weight", "fc1.bias", "conv.weight", "conv.bias", "fc2.weight", "fc2.bias")
    adapter = STAdapter(48, 24, KERNELS[kernel])
    adapter.load_state_dict({name: golden[prefix + name] for name in names})
    output, expected = adapter(golden[prefix + "input"], NUM_FRAMES), golden[prefix + "output_T5"]
    assert_parity(output, expected)


@pytest.mark.parametrize("extent", [1, 3, 5, 7])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_shifted_products_are_the_convolution(extent, num_frames):
    adapter = trained((extent, 1, 1))
    tokens = random_tokens(2, num_frames, 8).requires_grad_()
    results, gradients = [adapter(tokens, num_frames)], []
    with patch.object(fast_paths, "definitions", True):
        results.append(adapter(tokens, num_frames))
    for result in results:
        gradients.append(torch.autograd.grad(result.square().sum(), [tokens, *adapter.parameters()]))
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kernel_size", KERNELS.values())
def test_it_starts_as_the_identity(kernel_size):
    tokens = random_tokens(2, 3, 4).float()
    assert torch.equal(STAdapter(6, 4, kernel_size)(tokens, 3), tokens)


@pytest.mark.parametrize("kernel_size", KERNELS.values())
def test_clips_of_a_batch_do_not_influence_each_other(kernel_size):
    adapter, tokens = trained(kernel_size), random_tokens(3, 4, 9)
    whole = adapter(tokens, 4)
    torch.testing.assert_close(whole[4:8], adapter(tokens[4:8], 4))
    assert not torch.allclose(whole[4:8], adapter(tokens, 12)[4:8])


@pytest.mark.parametrize("kernel_size", KERNELS.values())
def test_the_cls_token_is_neither_read_nor_written(kernel_size):
    adapter, tokens = trained(kernel_size), random_tokens(1, 4, 9)
    changed = tokens.clone()
    changed[:, 0] += 1
    before, after = adapter(tokens, 4), adapter(changed, 4)
    assert torch.equal(before[:, 0], tokens[:, 0])
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.allclose(before[:, 1:], tokens[:, 1:])


@pytest.mark.parametrize("kernel_size", KERNELS.values())
def test_gradcheck(kernel_size):
    adapter = trained(kernel_size, width=3, bottleneck=2)
    tokens = random_tokens(2, 3, 4, width=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda t, *_: adapter(t, 3), (tokens, *adapter.parameters()))


def test_under_autocast_the_convolution_is_in_half_precision():
    adapter = trained(dtype=torch.float32)
    tokens = random_tokens(1, 4, 9).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = adapter.fc1(tokens).unflatten(0, (1, 4))
        assert over_time(hidden, adapter.conv.weight, adapter.conv.bias).dtype == torch.bfloat16
        output = adapter(tokens, 4)
    exact = adapter(tokens, 4)
    assert_parity(output, exact, HALF_PARITY)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("kernel_size", [(2, 1, 1), (3, 0, 1), (3, 1)])
def test_even_or_short_kernels_are_refused(kernel_size):
    with pytest.raises(ValueError, match="three odd extents"):
        STAdapter(6, 4, kernel_size)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("shape", "num_frames", "message"),
    [
        ((4, 5, 7), 4, r"tokens \(B \* T, 1 \+ P, 6\) .* got \(4, 5, 7\)"),
        ((5, 6), 1, "tokens"),
        ((4, 5, 6), 0, "T = 0"),
        ((4, 5, 6), 3, "whole clips of 3 frames, got 4 frames"),
        ((4, 6, 6), 4, "a square of patches"),
    ],
)
def test_wrong_tokens_are_named(shape, num_frames, message):
    with pytest.raises(ValueError, match=message):
        STAdapter(6, 4, (3, 3, 3))(torch.zeros(shape), num_frames)
