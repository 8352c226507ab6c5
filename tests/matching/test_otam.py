"""OTAM against the reference's tensors, against itself cell by cell, and at the ends of its range."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from tolerances import TOLERANCE
from torch.nn.functional import pad

from tmal_core.matching import otam, otam_distance
from tmal_core.matching.otam_distance import _Alignment, _arithmetic, _Linear, _Log

CASES = [(case, smoothing) for case in ("single", "square", "tall", "wide") for smoothing in (0.1, 0.5)]
SHAPES = [(1, 1), (1, 4), (4, 1), (2, 2), (5, 3), (3, 5), (8, 8)]


def cell_by_cell(distances: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The definition, read aloud: query to support, (Q, S, T, U) to (Q, S)."""
    num_rows, num_columns = distances.shape[2:]
    d = pad(distances, (1, 1))
    zero = torch.zeros_like(d[:, :, 0, 0])
    cost = {(0, m): d[:, :, 0, : m + 1].sum(2) for m in range(num_columns + 2)}
    for row in range(1, num_rows):
        cost[row, 0] = zero
        for m in range(1, num_columns + 2):
            before = [cost[row - 1, m - 1], cost[row, m - 1]]
            if m in (1, num_columns + 1):
                before.append(cost[row - 1, m])
            cost[row, m] = d[:, :, row, m] - smoothing * torch.logsumexp(-torch.stack(before) / smoothing, 0)
    return cost[num_rows - 1, num_columns + 1]


def random_distances(*shape: int) -> torch.Tensor:
    return 2 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(scope="module")
def golden(assets):
    return load_file(assets / "matching.safetensors")


@pytest.mark.parametrize(("case", "smoothing"), CASES)
def test_values_are_the_reference_s(golden, case, smoothing):
    distances, key = golden[f"{case}.distances"], f"{case}.lambda{smoothing}"
    for direction, bidirectional in (("forward", False), ("bidirectional", True)):
        torch.testing.assert_close(
            otam(distances, smoothing, bidirectional), golden[f"{key}.{direction}"], **TOLERANCE[torch.float32]
        )


@pytest.mark.parametrize(("case", "smoothing"), CASES)
def test_gradients_are_the_reference_s(golden, case, smoothing):
    distances = golden[f"{case}.distances"].clone().requires_grad_()
    otam(distances, smoothing).sum().backward()
    expected = golden[f"{case}.lambda{smoothing}.bidirectional_grad"]
    # The reference itself overflows in one pair of `tall` at 0.1; ours must not, and the sum over paths is the check.
    defined = expected.isfinite()
    assert defined.all() or (case, smoothing) == ("tall", 0.1)
    assert (~defined).sum() <= 18
    assert distances.grad.isfinite().all()
    torch.testing.assert_close(distances.grad[defined], expected[defined], **TOLERANCE[torch.float32])


@pytest.mark.parametrize(("num_rows", "num_columns"), SHAPES)
@pytest.mark.parametrize("ring", [_Linear, _Log])
def test_both_arithmetics_are_the_definition(num_rows, num_columns, ring):
    distances = random_distances(3, 2, num_rows, num_columns).requires_grad_()
    expected = cell_by_cell(distances, 0.5) + cell_by_cell(distances.transpose(2, 3), 0.5)
    (expected_grad,) = torch.autograd.grad(expected.square().sum(), distances)
    d_TUM = distances.permute(2, 3, 0, 1).flatten(2)
    got = _Alignment.apply(d_TUM, 0.5, True, ring).view(3, 2)
    (grad,) = torch.autograd.grad(got.square().sum(), distances)
    torch.testing.assert_close(got, expected, **TOLERANCE[torch.float64])
    torch.testing.assert_close(grad, expected_grad, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("smoothing", [0.5, 0.001])  # sums of p, and of log p
def test_gradcheck(num_rows, num_columns, smoothing, bidirectional):
    distances = random_distances(2, 2, num_rows, num_columns).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: otam(d, smoothing, bidirectional), distances, eps=1e-7, atol=1e-5)


def test_the_arithmetic_follows_the_range():
    distances = torch.rand(1, 1, 8, 8)
    assert _arithmetic(2 * distances, 0.5) == (_Linear, torch.float32)
    assert _arithmetic(2 * distances, 0.1) == (_Linear, torch.float64)
    assert _arithmetic(1e4 * distances, 0.1) == (_Log, torch.float64)
    assert _arithmetic(-30 * distances, 0.5) == (_Log, torch.float64)
    assert _arithmetic(distances * math.nan, 0.5) == (_Log, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4, -1e4])
@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_finite_over_the_whole_range(dtype, scale, smoothing):
    distances = (scale * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
    result = otam(distances, smoothing)
    result.sum().backward()
    assert result.isfinite().all() and distances.grad.isfinite().all()
    assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert distances.grad.dtype == dtype
    exact = otam(distances.detach().double(), smoothing)
    torch.testing.assert_close(result.double(), exact, atol=1e-5, rtol=1e-6)


def test_bad_and_good_paths_in_one_matrix():
    """What one huge distance hides in p = exp(-c / s) must still be found where it is the only way."""
    distances = torch.full((1, 1, 3, 3), 1e4)
    distances[0, 0].fill_diagonal_(0.0)
    expected = cell_by_cell(distances.double(), 0.5)
    torch.testing.assert_close(otam(distances, 0.5, bidirectional=False).double(), expected, **TOLERANCE[torch.float32])


def test_under_autocast():
    distances = torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(otam(distances), otam(distances.clone()))
        result = otam(distances.bfloat16())
    assert result.dtype == torch.float32 and result.isfinite().all()


def test_the_second_direction_is_the_transposed_matrix():
    distances = random_distances(2, 3, 5, 4)
    there, back = (otam(d, bidirectional=False) for d in (distances, distances.transpose(2, 3)))
    torch.testing.assert_close(otam(distances), there + back)


def test_order_counts():
    ordered = 1 - torch.eye(8)[None, None]
    assert otam(ordered) < otam(ordered.flip(3)) - 1


def test_pairs_are_independent_of_each_other_and_of_the_chunk(monkeypatch):
    distances = torch.rand(7, 5, 6, 8)
    whole = otam(distances)
    monkeypatch.setattr(otam_distance, "PAIRS_AT_ONCE_CPU", 4)
    torch.testing.assert_close(otam(distances), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(otam(distances[3:4, 2:3]), whole[3:4, 2:3], atol=1e-6, rtol=0)


def test_no_pairs():
    assert otam(torch.zeros(0, 5, 8, 8)).shape == (0, 5)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(8, 8), (2, 3, 0, 8), (2, 3, 8, 0), (1, 2, 3, 4, 5)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"\(Q, S, T, U\) with T, U >= 1, got \("):
        otam(torch.zeros(shape))


@pytest.mark.parametrize("smoothing", [0.0, -1.0, math.nan])
def test_smoothing_must_be_positive(smoothing):
    with pytest.raises(ValueError, match="smoothing > 0, got"):
        otam(torch.zeros(1, 1, 2, 2), smoothing)
