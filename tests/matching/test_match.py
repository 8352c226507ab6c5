"""Frame distances, set matching, and all matchers behind one signature."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tolerances import TOLERANCE

from tmal_core.errors import SettingsError
from tmal_core.matching import (
    MATCHERS,
    bimhm,
    cosine_distance,
    diagonal,
    match,
    match_groups,
    mean_distance,
    otam,
    tuples,
)


@pytest.fixture(scope="module")
def golden(assets):
    return load_file(assets / "matching.safetensors")


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(num, frames, 16, generator=generator) for num, frames in ((4, 8), (3, 6)))


@pytest.fixture
def equally_long(clips):
    """Of six frames each, as every matcher takes them."""
    return clips[0][:, :6], clips[1]


ALL = (*MATCHERS, "otam+diagonal", "bimhm+tuples+otam")
"""Matchers, and sums of them."""


def test_cosine_is_the_reference_s(golden):
    x, y = golden["cosine.x"], golden["cosine.y"]
    expected = 1 - golden["cosine.similarity_eps0.01"]
    torch.testing.assert_close(cosine_distance(x[None], y[None])[0, 0], expected, **TOLERANCE[torch.float32])
    torch.testing.assert_close(
        cosine_distance(x[:, None], y[:, None])[:, :, 0, 0], expected, **TOLERANCE[torch.float32]
    )


def test_bimhm_is_the_reference_s(golden):
    torch.testing.assert_close(bimhm(golden["bimhm.distances"]), golden["bimhm.output"], **TOLERANCE[torch.float32])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, -1e4])
def test_bimhm_over_the_whole_range(dtype, scale):
    """The sums of both sides, 160,000 at most here, are beyond float16, and 8 bits of bfloat16 would round them."""
    generator = torch.Generator().manual_seed(0)
    distances = (scale * torch.rand(4, 3, 8, 8, generator=generator)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = bimhm(distances)
    result.sum().backward()
    assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(result.double(), bimhm(distances.detach().double()), atol=1e-6, rtol=1e-6)
    assert distances.grad.dtype == dtype
    # Every frame has one nearest frame on the other side, or equally near ones that share the gradient.
    torch.testing.assert_close(distances.grad.double().sum((2, 3)), torch.full((4, 3), 16.0).double(), rtol=0, atol=0.1)


def test_cosine_of_every_pair_of_frames(clips):
    query, support = clips
    distances = cosine_distance(query, support)
    assert distances.shape == (4, 3, 8, 6)
    x, y = query[2, 5], support[1, 3]
    expected = 1 - (x @ y) / (x.norm() * y.norm() + 0.01)
    torch.testing.assert_close(distances[2, 1, 5, 3], expected)


def test_mean_distance_is_the_cosine_of_the_means(clips):
    query, support = clips
    x, y = query[3].mean(0), support[2].mean(0)
    torch.testing.assert_close(mean_distance(query, support)[3, 2], 1 - (x @ y) / (x.norm() * y.norm() + 0.01))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mean_distance(query[:, order], support), mean_distance(query, support))


def test_gradcheck():
    generator = torch.Generator().manual_seed(2)
    query, support = (torch.randn(2, 3, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    for name in MATCHERS:
        assert torch.autograd.gradcheck(lambda q, s, name=name: match(q, s, name), (query, support))


def test_a_zero_feature_has_distance_one_and_a_finite_gradient():
    query = torch.zeros(1, 2, 4, requires_grad=True)
    distances = cosine_distance(query, torch.ones(1, 2, 4))
    assert torch.equal(distances, torch.ones(1, 1, 2, 2))
    distances.sum().backward()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_features_are_matched_in_float32(equally_long, dtype):
    query, support = (c.to(dtype) for c in equally_long)
    for name in ALL:
        exact = match(query.float(), support.float(), name)
        got = match(query, support, name)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, exact)
        with torch.autocast("cpu", dtype=dtype):
            torch.testing.assert_close(match(query.float(), support.float(), name), exact)


def test_match_calls_by_name(clips):
    query, support = clips
    distances = cosine_distance(query, support)
    assert torch.equal(match(query, support, "otam"), otam(distances))
    assert torch.equal(match(query, support, "otam", smoothing=0.1), otam(distances, 0.1))
    assert torch.equal(match(query, support, "bimhm"), bimhm(distances))
    assert torch.equal(match(query, support, "mean"), mean_distance(query, support))


@pytest.mark.parametrize("name", ALL)
def test_a_query_s_distances_do_not_depend_on_other_queries(equally_long, name):
    query, support = equally_long
    whole = match(query, support, name)
    torch.testing.assert_close(match(query[1:2], support, name), whole[1:2], **TOLERANCE[torch.float32])
    torch.testing.assert_close(match(query, support.flip(0), name), whole.flip(1), **TOLERANCE[torch.float32])


def test_an_unknown_matcher_is_refused_with_the_known(clips):
    with pytest.raises(
        SettingsError, match=r"among otam, bimhm, mean, diagonal, tuples, or a sum .*, got 'dtw'\. Set model"
    ):
        match(*clips, "dtw")


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("function", [cosine_distance, mean_distance])
@pytest.mark.parametrize(
    ("query", "support", "message"),
    [
        ((2, 8, 4), (2, 8, 5), r"of one width D, got \(2, 8, 4\) and \(2, 8, 5\)"),
        ((8, 4), (2, 8, 4), r"query \(Q, T, D\)"),
        ((2, 8, 4), (8, 4), r"support \(S, U, D\)"),
        ((2, 0, 4), (2, 8, 4), "at least one frame"),
    ],
)
def test_wrong_features_are_named(function, query, support, message):
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(query), torch.zeros(support))


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(8, 8), (2, 3, 0, 8)])
@pytest.mark.parametrize("matcher", [bimhm, diagonal, tuples])
def test_wrong_distances_are_named(matcher, shape):
    with pytest.raises(ValueError, match=r"\(Q, S, T, U\)"):
        matcher(torch.zeros(shape))


@pytest.mark.parametrize("name", MATCHERS)
def test_clips_of_one_frame_are_as_far_apart_as_their_frames(name):
    """From both sides, but for averaged frames."""
    query, support = (torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(n)) for n in range(2))
    wanted = (1 if name == "mean" else 2) * cosine_distance(query, support)[:, :, 0, 0]
    torch.testing.assert_close(match(query, support, name, smoothing=1e-4), wanted, atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_groups_are_parts_of_the_table(equally_long, name):
    query, support = equally_long
    rows, columns = torch.tensor([[0, 3, 1], [3, 2, 2]]), torch.tensor([[2, 0], [0, 1]])
    found = match_groups(query[rows], support[columns], name, smoothing=0.3)
    table = match(query, support, name, smoothing=0.3)
    torch.testing.assert_close(found, table[rows[:, :, None], columns[:, None, :]])


@pytest.mark.parametrize("name", ALL)
def test_groups_of_half_features_are_matched_in_float32(equally_long, name):
    query, support = (c[None].bfloat16() for c in equally_long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = match_groups(query, support, name)[0]
    torch.testing.assert_close(found, match(query[0].float(), support[0].float(), name))


def test_groups_by_no_matcher(clips):
    with pytest.raises(SettingsError, match="expected a matcher among"):
        match_groups(clips[0][None], clips[1][None], "magic")
