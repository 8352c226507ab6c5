"""Correlation: the reference's tensors, the definition as a loop, gradients, memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tolerances import HALF_PARITY, LAYER_PARITY, TOLERANCE, assert_parity
from torch import Tensor
from torch.nn import functional as F

from tmal_core.errors import DataError, SettingsError
from tmal_core.flow.correlation_layer import correlation

BENCH = Path(__file__).parents[1] / "benchmarks" / "bench_correlation.py"


def definition(first: Tensor, second: Tensor, max_displacement: int, stride: int) -> Tensor:
    height, width = first.shape[-2:]
    reach = max_displacement // stride * stride
    padded = F.pad(second, (reach,) * 4)
    steps = range(0, 2 * reach + 1, stride)
    parts = [(first * padded[:, :, y : y + height, x : x + width]).mean(dim=1) for y in steps for x in steps]
    return torch.stack(parts, dim=1)


def random_pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype), torch.randn(shape, generator=generator, dtype=dtype)


@pytest.fixture(scope="module")
def goldens(assets: Path) -> dict[str, Tensor]:
    return load_file(assets / "flownet2.safetensors")


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_correlation", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("max_displacement", "stride"), [(20, 2), (4, 1)])
def test_equals_the_reference(goldens, max_displacement, stride):
    got = correlation(goldens["correlation.first"], goldens["correlation.second"], max_displacement, stride)
    wanted = goldens[f"correlation.output_maxdisp{max_displacement}_stride{stride}"]
    assert_parity(got, wanted, LAYER_PARITY)


# More than one block of rows and of columns, sides that are no multiple of the stride, a reach beyond the map, a
# displacement that is no multiple of the stride, no displacement at all, one pixel.
CASES = [
    ((2, 3, 11, 37), 4, 1),
    ((1, 2, 13, 70), 6, 2),
    ((1, 4, 7, 8), 9, 3),
    ((1, 2, 3, 4), 20, 2),
    ((1, 2, 6, 5), 5, 2),
    ((1, 3, 4, 5), 0, 1),
    ((2, 3, 1, 1), 4, 2),
    ((1, 1, 2, 2), 3, 3),
]


@pytest.mark.parametrize(("shape", "max_displacement", "stride"), CASES)
def test_equals_the_definition(shape, max_displacement, stride):
    first, second = random_pair(shape)
    got = correlation(first, second, max_displacement, stride)
    torch.testing.assert_close(got, definition(first, second, max_displacement, stride), **TOLERANCE[torch.float64])


@pytest.mark.parametrize(("shape", "max_displacement", "stride"), CASES)
def test_gradients_equal_those_of_the_definition(shape, max_displacement, stride):
    pair = [features.requires_grad_() for features in random_pair(shape)]
    wanted = definition(*pair, max_displacement, stride)
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=wanted.dtype)
    got = correlation(*pair, max_displacement, stride)
    for ours, theirs in zip(*(torch.autograd.grad(out, pair, weights) for out in (got, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, **TOLERANCE[torch.float64])


def test_gradcheck():
    pair = [features.requires_grad_() for features in random_pair((1, 2, 3, 4))]
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, max_displacement=2, stride=2), pair)


@pytest.mark.parametrize("wanted", [0, 1])
def test_gradient_for_one_input_alone(wanted):
    pair = random_pair((1, 2, 5, 6))
    pair[wanted].requires_grad_()
    correlation(*pair, 2, 1).sum().backward()
    both = [features.detach().clone().requires_grad_() for features in pair]
    correlation(*both, 2, 1).sum().backward()
    assert torch.equal(pair[wanted].grad, both[wanted].grad)
    assert pair[1 - wanted].grad is None


def test_inputs_need_not_be_contiguous():
    pair = random_pair((1, 3, 6, 8))
    transposed = [features.transpose(2, 3).contiguous().transpose(2, 3) for features in pair]
    torch.testing.assert_close(correlation(*transposed, 4, 2), correlation(*pair, 4, 2))


def test_autocast_keeps_the_dtype_of_the_features():
    pair = random_pair((1, 16, 4, 4), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        got = correlation(*pair, 2, 1)
    assert torch.equal(got, correlation(*pair, 2, 1))
    low = [features.bfloat16() for features in pair]
    assert correlation(*low, 2, 1).dtype == torch.bfloat16
    assert_parity(correlation(*low, 2, 1).float(), got, HALF_PARITY)


def test_memory_is_bounded(bench):
    assert bench.forward_memory_ratio() <= 1.5
    assert bench.backward_memory_ratio() <= 1.5


def test_the_benchmark_sees_what_the_loop_holds(bench):
    # Proves that the measure counts: the loop's parts and their stack alone are twice the output, beside the padding.
    pair = [features[:, :8] for features in bench.pair()]
    assert bench.peak_bytes(lambda: bench.loop(*pair)) > 2 * correlation(*pair).nbytes


def test_unlike_inputs_are_refused():
    first, second = random_pair((1, 2, 4, 4))
    with pytest.raises(
        DataError, match=r"two feature maps alike \(\(1, 2, 4, 4\) float64 on cpu\), got \(1, 2, 4, 3\)"
    ):
        correlation(first, second[..., :3])
    with pytest.raises(DataError, match="float32 on cpu as the second"):
        correlation(first, second.float())


@pytest.mark.parametrize("first", [torch.zeros(2, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.int64)])
def test_other_than_features_is_refused(first):
    with pytest.raises(DataError, match=r"floating-point features \(B, C, H, W\)"):
        correlation(first, first)


@pytest.mark.parametrize(("max_displacement", "stride"), [(4, 0), (-1, 1)])
def test_impossible_displacements_are_refused(max_displacement, stride):
    with pytest.raises(SettingsError, match=f"stride {stride} and max_displacement {max_displacement}"):
        correlation(*random_pair((1, 2, 4, 4)), max_displacement, stride)
