"""Clips as points: distances as the matcher has them, axes as an SVD finds them, classes as counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.analysis.feature_space import class_distances, clip_points, compactness, principal_axes
from tmal_core.errors import DataError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.models.methods import build


@pytest.mark.parametrize("method", ["otam", "tmal"])
def test_half_the_squared_distance_of_two_clips_is_that_of_the_diagonal(method, small_settings):
    model = build(small_settings.replace({"model.method": method, "model.centre": "both"}).model).eval()
    tokens = torch.randn(5, 8 + model.reads_motion, model.encoder.joint_width, generator=torch.manual_seed(0))
    rows = np.array([3, 0, 4])
    points = clip_points(model, Bank(10 * tokens, 10 * tokens, ""), rows)
    with torch.no_grad():
        frames = model.head.modulate(10 * tokens[rows])
        cosines = torch.nn.functional.cosine_similarity(frames[:, None], frames[None], dim=3).mean(2)
    assert points.shape == (3, frames.shape[1] * frames.shape[2])
    squared = np.square(points[:, None] - points[None]).sum(2)
    np.testing.assert_allclose(squared / 2, 1 - cosines.numpy(), atol=1e-5)
    assert not np.allclose(squared, squared[0, 1])


def test_nothing_is_averaged_over_time(small_settings):
    model = build(small_settings.replace({"model.method": "otam"}).model).eval()
    tokens = torch.randn(1, 8, model.encoder.joint_width, generator=torch.manual_seed(0))
    both = torch.cat([tokens, tokens.flip(1)])
    one, other = clip_points(model, Bank(both, both, ""), np.arange(2))
    assert np.linalg.norm(one - other) > 0.5


def test_axes_are_those_of_an_svd_fitted_on_the_points_given():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 50)) * np.linspace(3, 0.1, 50) + 2
    found = principal_axes(points)
    _, singular, directions = np.linalg.svd(points - points.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.shares, singular[:2] ** 2 / (singular**2).sum())
    np.testing.assert_allclose(np.abs(found.directions @ directions[:2].T), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(found(points), (points - points.mean(0)) @ found.directions.T)
    assert (found.directions[[0, 1], np.abs(found.directions).argmax(1)] > 0).all()
    np.testing.assert_allclose(found(points[:3] + 1) - found(points[:3]), np.tile(found.directions.sum(1), (3, 1)))


def test_axes_point_the_way_in_which_they_agree():
    points = np.random.default_rng(0).normal(size=(30, 5)) * [4, 3, 1, 1, 1]
    places = principal_axes(points)(points)
    turned = principal_axes(points, places * [-1, 1] + 7)
    np.testing.assert_allclose(turned(points), places * [-1, 1], atol=1e-9)


def test_points_that_are_all_alike_have_one_place():
    found = principal_axes(np.ones((4, 6)))
    assert np.allclose(found(np.ones((4, 6))), 0) and np.allclose(found.shares, 0)


def test_two_points_have_no_plane():
    with pytest.raises(DataError, match="expected 3 clips or more for two axes, got 2"):
        principal_axes(np.eye(2))


def on_circle(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


CLASSES, GROUPS = np.array(list("aabbcc")), np.array(["x", "x", "x", "x", "y", "y"])


def test_distances_within_and_between_are_means_of_pairs():
    points = on_circle(0, 60, 90, 180, 10, 20)
    table = class_distances(points, CLASSES, np.full(6, "x")).set_index("class_name")
    cos = lambda *degrees: np.cos(np.radians(degrees))  # noqa: E731
    assert table.loc["a", "within"] == pytest.approx(0.5)
    between = 1 - cos(90, 30, 180, 120, 10, 50, 20, 40).mean()
    assert table.loc["a", "between"] == pytest.approx(between)
    assert table.loc["a", "ratio_pct"] == pytest.approx(50 / between)
    grouped = class_distances(
        np.concatenate([points, on_circle(100, 130)]), np.array(list("aabbccdd")), np.array(list("xxxxyyyy"))
    )
    alone = 1 - cos(90, 30, 180, 120).mean()
    assert grouped.set_index("class_name").loc["a", "between"] == pytest.approx(alone)


@pytest.mark.parametrize(("classes", "groups"), [(list("aab"), list("xxx")), (list("aabb"), list("xxyy"))])
def test_a_class_without_pairs_or_others(classes, groups):
    with pytest.raises(DataError, match="expected two clips of each class and some of another, got"):
        class_distances(on_circle(*range(len(classes))), np.array(classes), np.array(groups))


def table(ratios, groups):
    rows = {"class_name": [str(n) for n in range(len(ratios))], "group": groups, "within": 1.0, "between": 2.0}
    return pd.DataFrame(rows).assign(ratio_pct=ratios)


def test_intervals_are_over_classes_or_their_groups_and_changes_are_paired():
    before, after = [90.0, 110, 95, 105], [50.0, 70, 55, 65]
    plain = compactness({"one": table(before, ["x"] * 4), "two": table(after, ["x"] * 4)}, 0, 500, 0.95)
    first, second = plain.to_dict("records")
    assert first["ratio_pct"] == 100 and first["low_pct"] < 95 and first["high_pct"] > 105
    assert (second["change_points"], second["change_low"], second["change_high"]) == (-40, -40, -40)
    assert second["p"] == 0 and first["change_points"] == 0 and second["within"] == 1
    in_pairs = compactness({"one": table(before, ["x", "y", "x", "y"])}, 0, 500, 0.95).iloc[0]
    assert in_pairs["high_pct"] - in_pairs["low_pct"] > 2 * (first["high_pct"] - first["low_pct"])


def test_of_one_class_nothing_is_known_about_others():
    alone = compactness({"one": table([80.0], ["x"])}, 0, 100, 0.95).iloc[0]
    assert alone["ratio_pct"] == 80 and np.isnan([alone["low_pct"], alone["high_pct"]]).all()
