"""Pictures of estimators: the right fields in the right place, and dots where the numbers are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tmal_core.errors import DataError
from tmal_core.viz.flow_colours import flow_to_rgb
from tmal_core.viz.flow_plots import FlowRow, error_against_time, flow_comparison


def field(dx, dy):
    return np.stack([np.full((6, 8), float(dx)), np.full((6, 8), float(dy))])


def row(**flows):
    return FlowRow(np.full((12, 16, 3), 99, np.uint8), flows)


def pictures(figure):
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def test_each_row_shows_its_frame_its_fields_and_its_wheel():
    rows = {"slow": row(truth=field(1, 0), dis=field(0, 1)), "fast": row(truth=field(9, 0), dis=field(9, 3))}
    figure = flow_comparison(rows)
    shown = pictures(figure)
    assert len(shown) == 2 * 4 and (shown[0] == 99).all()
    assert np.array_equal(shown[1], flow_to_rgb(field(1, 0), 1.2)) and np.array_equal(
        shown[6], flow_to_rgb(field(9, 3), 1.2 * 9)
    )
    assert [sub.get_suptitle() for sub in figure.subfigs] == ["slow", "fast"]
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["frame", "truth", "dis"]
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["rim: 1.2 px", "rim: 10.8 px"]


def test_errors_stand_beside_the_names_of_what_has_one():
    known = FlowRow(row().frame, {"truth": field(1, 0), "dis": field(0, 1)}, {"dis": 1.41421})
    figure = flow_comparison({"known": known, "unknown": row(truth=field(1, 0), dis=field(0, 1))})
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert labels == ["frame", "truth", "dis: 1.41 px", "frame", "truth", "dis"]


def test_without_truth_the_fastest_field_sets_the_scale_and_rest_is_no_error():
    figure = flow_comparison(
        {"a": row(dis=field(1, 0), raft=field(3, 4)), "rest": row(dis=field(0, 0), raft=field(0, 0))}
    )
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["rim: 6.0 px", "rim: 0.1 px"]


def test_dots_are_where_the_numbers_are():
    errors = pd.DataFrame(
        {"estimator": ["dis", "raft", "dis", "raft"], "clip": list("aabb"), "epe_px": [0.1, 0.2, 0.3, 0.4]}
    )
    speed = pd.DataFrame(
        {"estimator": ["dis", "raft", "other"], "ms_24x32": [1.0, 2.0, 3.0], "ms_64x64": [5.0, 50.0, 9]}
    )
    axes = error_against_time(errors, speed).axes[0]
    points = [tuple(map(float, at)) for dots in axes.collections for at in dots.get_offsets()]
    expected = [(5, 0.1), (5, 0.3), (5, 0.2), (50, 0.2), (50, 0.4), (50, 0.3)]
    assert np.allclose(points, expected) and "64x64" in axes.get_xlabel()
    assert [text.get_text() for text in axes.texts] == ["dis", "raft"]
    assert axes.texts[0].xyann[1] > 0 > axes.texts[1].xyann[1], "names of neighbours do not meet"


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(DataError, match="at least one row of flow, got none"):
        flow_comparison({})
    with pytest.raises(DataError, match="the fields dis in each row"):
        flow_comparison({"a": row(dis=field(1, 0)), "b": row(raft=field(1, 0))})
    errors = pd.DataFrame({"estimator": ["dis"], "clip": ["a"], "epe_px": [0.1]})
    with pytest.raises(DataError, match="a time for each estimator, got none for dis"):
        error_against_time(errors, pd.DataFrame({"estimator": ["raft"], "ms_2x2": [1.0]}))
