"""The temporal grid: issue's formula, mirror symmetry, uniform draws with a distance."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tmal_core.data.video import sampling
from tmal_core.data.video.sampling import grid_positions, train_positions
from tmal_core.errors import SettingsError


@pytest.mark.parametrize("grid", [8, 16, 32])
def test_grid_follows_the_formula_and_mirrors(grid):
    for num_frames in range(1, 201):
        positions = grid_positions(num_frames, grid)
        assert positions.dtype == np.int64 and positions.shape == (grid,)
        exact = (np.arange(grid) + 0.5) * (num_frames - 1) / grid - 0.5
        assert (np.abs(positions - exact) <= 0.5 + 1e-9).all()
        assert (positions >= 0).all() and (positions <= max(num_frames - 2, 0)).all()
        assert (np.diff(positions) >= 0).all()
        if num_frames >= 2:
            assert (positions + positions[::-1] == num_frames - 2).all(), num_frames


def test_grid_all_and_odd_sizes():
    assert grid_positions(6, "all").tolist() == [0, 1, 2, 3, 4]
    assert grid_positions(1, "all").tolist() == [0]
    assert grid_positions(1, 4).tolist() == [0, 0, 0, 0]
    assert grid_positions(2, 4).tolist() == [0, 0, 0, 0]
    assert grid_positions(9, 3).tolist() == [1, 3, 6]
    assert grid_positions(5, 1).tolist() == [1]


@pytest.mark.parametrize("num_segments", [2, 4, 8])
@pytest.mark.parametrize("grid", [8, 16, 32, "all"])
def test_test_positions_are_middles_and_mirror(num_segments, grid):
    for num_frames in range(2, 130):
        chosen = sampling.test_positions(num_frames, num_segments, grid)
        assert chosen.shape == (num_segments,)
        assert (chosen + chosen[::-1] == num_frames - 2).all(), num_frames
        assert set(chosen) <= set(grid_positions(num_frames, grid))


def test_test_position_is_earlier_middle_first_then_later():
    positions = grid_positions(49, 32)
    expected = [positions[4 * j + (1 if j < 4 else 2)] for j in range(8)]
    assert sampling.test_positions(49, 8, 32).tolist() == expected


def test_twin_of_a_clip_shows_the_same_frames_at_test():
    """The twin as the `order` family builds it: frames 0..F-2 reversed, then one further frame."""
    for num_frames in (24, 48, 49):
        clip = np.arange(num_frames)
        twin = np.concatenate([clip[:-1][::-1], clip[-1:]])
        chosen = sampling.test_positions(num_frames, 8, 32)
        assert sorted(clip[chosen]) == sorted(twin[chosen])
        assert (clip[chosen] == twin[chosen][::-1]).all()


@pytest.mark.parametrize("grid", [32, "all"])
def test_train_positions_stay_in_their_segments(grid):
    generator = np.random.default_rng(0)
    for num_frames in (1, 2, 5, 9, 48, 131):
        positions = grid_positions(num_frames, grid)
        drawn = np.stack([train_positions(num_frames, 8, grid, generator) for _ in range(50)])
        assert set(drawn.ravel()) <= set(positions)
        if grid == 32:
            for j in range(8):
                assert set(drawn[:, j]) <= set(positions[4 * j : 4 * j + 4])
        if num_frames == 131:
            assert len({tuple(row) for row in drawn}) == 50


def test_train_draws_are_uniform_among_the_admissible():
    num_frames, gap = 13, 3
    segments = np.split(grid_positions(num_frames, 12), 4)
    admissible = [draw for draw in product(*segments) if (np.diff(draw) >= gap).all()]
    assert 5 < len(admissible) < 3**4
    generator = np.random.default_rng(1)
    draws = [tuple(train_positions(num_frames, 4, 12, generator, min_gap=gap)) for _ in range(3000)]
    counts = np.array([draws.count(draw) for draw in admissible])
    assert counts.sum() == 3000
    expected = 3000 / len(admissible)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    degrees = len(admissible) - 1
    assert chi_square < degrees + 4 * np.sqrt(2 * degrees)


def test_train_draws_depend_on_the_generator_alone():
    draws = [train_positions(48, 8, 32, np.random.default_rng(7), min_gap=4).tolist() for _ in range(2)]
    assert draws[0] == draws[1]
    assert train_positions(48, 8, 32, np.random.default_rng(8), min_gap=4).tolist() != draws[0]


def test_gap_is_kept_where_the_clip_is_long_enough_and_else_as_wide_as_it_allows():
    generator = np.random.default_rng(2)
    for _ in range(200):
        assert np.diff(train_positions(48, 8, 32, generator, min_gap=4)).min() >= 4
        assert np.diff(train_positions(17, 8, 16, generator, min_gap=4)).min() == 2
        assert np.diff(train_positions(4, 8, 32, generator, min_gap=4)).min() == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: grid_positions(0, 8), "expected num_frames of at least 1, got 0"),
        (lambda: grid_positions(9, 0), "expected a grid of at least 1 position"),
        (lambda: grid_positions(9, "some"), "got 'some'"),
        (lambda: sampling.test_positions(9, 0, 8), "expected at least 1 frame per clip, got 0"),
        (lambda: sampling.test_positions(9, 8, 12), "expected a grid that 8 frames divide evenly, got grid 12"),
        (lambda: train_positions(9, 8, 8, np.random.default_rng(0), min_gap=-1), "sampling.min_gap of at least 0"),
    ],
)
def test_wrong_settings_are_named(call, words):
    with pytest.raises(SettingsError, match=words):
        call()
