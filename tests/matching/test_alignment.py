"""The alignment behind an OTAM distance: its sums, its limit, and clips whose alignment is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tmal_core.matching import best_path, cosine_distance, otam, otam_alignment


def random_distances(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def all_paths(num_rows, num_columns):
    """Every path of OTAM's query direction that takes no step down in the first column, as lists of rows."""
    for start in range(num_rows):
        for steps in itertools.product((0, 1), repeat=num_columns - 1):
            rows = np.cumsum([start, *steps])
            if rows[-1] < num_rows:
                yield rows


def test_alignment_is_the_derivative_of_the_distance():
    distances = random_distances(1, 1, 4, 3)
    alignment = otam_alignment(distances, 0.5, bidirectional=True)
    step = 1e-6
    for t, u in itertools.product(range(4), range(3)):
        moved = distances.clone()
        moved[0, 0, t, u] += step
        slope = (otam(moved) - otam(distances)) / step
        # The distance is the sum of two directions, the alignment their mean.
        assert abs(slope.item() - 2 * alignment[0, 0, t, u].item()) < 1e-5


def test_every_support_frame_is_matched_once():
    alignment = otam_alignment(random_distances(3, 2, 8, 6), 0.3, bidirectional=False)
    assert alignment.shape == (3, 2, 8, 6) and (alignment >= 0).all()
    columns = alignment.sum(2)
    torch.testing.assert_close(columns[..., 1:], torch.ones_like(columns[..., 1:]))
    assert (columns[..., 0] >= 1 - 1e-9).all()


def test_both_directions_are_the_mean_of_one_and_the_transposed_other():
    distances = random_distances(2, 2, 5, 7)
    there = otam_alignment(distances, bidirectional=False)
    back = otam_alignment(distances.transpose(2, 3), bidirectional=False).transpose(2, 3)
    torch.testing.assert_close(otam_alignment(distances), (there + back) / 2)


def test_alignment_works_where_gradients_are_off_and_leaves_none_behind():
    features = random_distances(1, 4, 6, dtype=torch.float32).requires_grad_()
    with torch.no_grad():
        alignment = otam_alignment(cosine_distance(features, features))
    assert not alignment.requires_grad and features.grad is None and alignment.dtype == torch.float32


@pytest.mark.parametrize("seed", range(5))
def test_best_path_is_the_cheapest_of_all(seed):
    distances = random_distances(5, 4, seed=seed).numpy()
    cheapest = min(all_paths(5, 4), key=lambda rows: distances[rows, range(4)].sum())
    assert np.array_equal(best_path(distances), np.stack([cheapest, range(4)], axis=1))


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8), (1, 4), (4, 1)])
def test_best_path_is_the_limit_of_the_soft_alignment(shape):
    distances = random_distances(*shape, seed=7)
    path = best_path(distances)
    indicator = torch.zeros(shape, dtype=torch.float64)
    indicator[path[:, 0], path[:, 1]] = 1
    soft = otam_alignment(distances[None, None], smoothing=1e-4, bidirectional=False)[0, 0]
    torch.testing.assert_close(soft, indicator, atol=1e-3, rtol=0)
    cost = otam(distances[None, None], smoothing=1e-4, bidirectional=False).item()
    assert cost == pytest.approx(distances[path[:, 0], path[:, 1]].sum().item(), abs=0.02)


def test_a_clip_aligns_with_itself_on_the_diagonal_and_with_its_late_start_below_it():
    clip = torch.eye(8)[None]
    assert np.array_equal(best_path(cosine_distance(clip, clip)[0, 0]), np.stack([np.arange(8)] * 2, axis=1))
    late = cosine_distance(clip, clip[:, 3:])[0, 0]
    assert np.array_equal(best_path(late), np.stack([np.arange(3, 8), np.arange(5)], axis=1))
    reversed_soft = otam_alignment(cosine_distance(clip, clip.flip(1)), smoothing=0.1)[0, 0]
    forward_soft = otam_alignment(cosine_distance(clip, clip), smoothing=0.1)[0, 0]
    assert forward_soft.diagonal().sum() > 7.9 and reversed_soft.flip(1).diagonal().sum() < 4


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("wrong", [np.zeros((2, 2, 2)), np.zeros((0, 3)), np.array([[0.5, -0.1]]), [[np.nan]]])
def test_best_path_says_what_it_wants(wrong):
    with pytest.raises(ValueError, match="expected distances"):
        best_path(wrong)
