"""A distance taken apart: the parts add up to it, and name the pairs that decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.errors import SettingsError
from tmal_core.matching import breakdown, match, register_matcher

NAMES = ("otam", "bimhm", "mean", "tuples", "otam+tuples")


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 16, generator=generator), torch.randn(7, 16, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_parts_and_rest_are_the_distance_that_the_matcher_gives(clips, name):
    found = breakdown(*clips, name, 0.2)
    assert found.distance == match(clips[0][None], clips[1][None], name, smoothing=0.2).item()
    assert found.added.sum() + found.rest == pytest.approx(found.distance, abs=1e-5)
    assert found.matched.shape == found.added.shape == found.between_frames.shape == (5, 7)


def test_bimhm_and_means_leave_no_rest(clips):
    assert all(abs(breakdown(*clips, name).rest) < 1e-5 for name in ("bimhm", "mean", "tuples"))


def test_otam_s_rest_is_its_softmin_s_and_goes_with_it(clips):
    rests = [breakdown(*clips, "otam", smoothing).rest for smoothing in (0.5, 0.1, 0.001)]
    assert rests[0] < rests[1] < rests[2] <= 1e-5 and rests[2] > -0.02


@pytest.mark.parametrize("name", ["otam", "bimhm"])
def test_paths_are_where_a_sharp_matcher_matches(clips, name):
    found = breakdown(*clips, name, 1e-4)
    counted = np.zeros_like(found.matched)
    for path in found.paths:
        np.add.at(counted, tuple(path.T), 1)
    if name == "otam":  # waiting in the first column is on no path
        inner = np.s_[1:, 1:]
        counted, matched = counted[inner], found.matched[inner]
    else:
        matched = found.matched
    np.testing.assert_allclose(counted, matched, atol=1e-3)


def test_every_pair_counts_the_same_in_means(clips):
    found = breakdown(*clips, "mean")
    assert np.unique(found.matched).tolist() == [np.float32(1 / 35)] and found.paths == ()


def test_a_matcher_of_one_s_own_is_taken_apart_by_its_derivative(clips):
    register_matcher("first", lambda distances: 3 * distances[:, :, 0, 0])
    try:
        found = breakdown(*clips, "first")
    finally:
        register_matcher("first", None)
    assert found.matched[0, 0] == 3 and found.matched.sum() == 3 and found.rest == pytest.approx(0, abs=1e-6)


def test_an_unknown_matcher(clips):
    with pytest.raises(SettingsError, match="expected a matcher among otam, bimhm, mean, diagonal"):
        breakdown(*clips, "magic")
