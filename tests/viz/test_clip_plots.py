"""Pictures of clips: the right pixels in the right place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.data.video.transforms import ClipTransform
from tmal_core.errors import DataError
from tmal_core.viz.clip_plots import (
    as_pictures,
    direction_cloud,
    episode,
    film_strips,
    flow_strips,
    hidden_motion,
    mean_change,
    temporal_grid,
)
from tmal_core.viz.flow_colours import flow_to_rgb


def frames(num=3, side=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


def pictures(figure):
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def texts(figure):
    inner = [figure, *figure.subfigs, *(sub for one in figure.subfigs for sub in one.subfigs)]
    titles = [part.get_suptitle() for part in inner]
    return titles + [t for axes in figure.axes for t in (axes.get_xlabel(), axes.get_title(loc="left"))]


def test_normalised_frames_come_back():
    clip, transform = frames(2, 16), ClipTransform(16, 16)
    assert np.array_equal(as_pictures(transform.apply_frames(clip, transform.plan(16, 16))), clip)
    assert as_pictures(torch.full((3, 4, 4), 99.0)).max() == 255  # out of range is cut, not wrapped


def test_film_strip_shows_every_frame_under_its_title():
    one, two = frames(3), frames(2, seed=1)
    figure = film_strips({"first": one, "second": two}, {"first": [0, 4, 9], "second": [5, 7]})
    shown = pictures(figure)
    assert len(shown) == 5 and np.array_equal(shown[2], one[2]) and np.array_equal(shown[4], two[1])
    assert {"first", "second", "frame 9", "frame 7"} <= set(texts(figure))
    assert [axes.axison for axes in figure.axes] == [True] * 5 + [False]


def test_temporal_grid_marks_positions():
    test, draws = np.array([2, 8]), [np.array([1, 9]), np.array([3, 7])]
    figure = temporal_grid(12, np.arange(0, 12, 2), test, draws)
    rows = figure.axes[0].collections[1:]  # the first one is the segments' bounds
    assert [sorted(row.get_offsets()[:, 0]) for row in rows[2:]] == [[2, 8], [1, 9], [3, 7]]
    assert len(rows[0].get_offsets()) == 12 and len(rows[1].get_offsets()) == 6


def test_hidden_motion_compares_sampled_with_native_frames():
    clip = frames(6)
    clip[1::2] = clip[0::2]  # frames 0-1, 2-3, 4-5 are equal
    assert mean_change(clip[:2]).max() == 0
    assert mean_change(clip[1:3])[0, 0] == pytest.approx(np.abs(clip[1, 0, 0].astype(int) - clip[2, 0, 0]).mean())
    middle, sampled, native = pictures(hidden_motion(clip, np.array([0, 2, 4])))[:3]
    assert np.array_equal(middle, clip[2])
    assert np.allclose(sampled, mean_change(clip[::2])) and np.allclose(native, mean_change(clip))


def test_episode_has_a_row_per_class_and_frames_side_by_side():
    clips = frames(2 * 3 * 4, 8).reshape(2, 3, 4, 8, 8, 3)  # way 2, 1 support and 2 queries, 4 frames
    figure = episode(clips[:, :1], clips[:, 1:], ["walk", "run"])
    shown = pictures(figure)
    assert len(shown) == 6 and shown[0].shape == (8, 32, 3)
    assert np.array_equal(shown[4], np.concatenate(list(clips[1, 1]), axis=1))
    assert texts(figure).count("query") == 2 and {"walk", "run", "support"} <= set(texts(figure))


def test_flow_lies_below_its_frames_in_one_scale():
    clip, flow = frames(2), np.zeros((2, 2, 6, 6), np.float32)
    flow[:, 0] = 3.0
    shown = pictures(flow_strips({"a": (clip, flow), "b": (clip, flow / 3)}, max_px=3.0))
    found = [any(s.shape == w.shape and np.array_equal(s, w) for s in shown) for w in flow_to_rgb(flow / 3, 3.0)]
    assert len(shown) == 9 and all(found)


def test_flow_scale_defaults_to_the_fastest_shown():
    flow = np.full((1, 2, 6, 6), 3.0, np.float32)
    title = flow_strips({"a": (frames(1), flow)}).axes[-1].get_title()
    assert title == f"rim: {3 * 2**0.5:.1f} px per frame"


def test_cloud_puts_points_where_the_motion_is():
    wanted, measured = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.1], [0.0, 1.5]])
    axes = direction_cloud(wanted, measured).axes[0]
    assert np.allclose(axes.collections[0].get_offsets(), measured)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # y points down
    red, yellow = axes.collections[0].get_facecolors()[:, :3]
    assert red[0] > 0.8 > 0.3 > red[2] and yellow[0] > 0.8 and yellow[1] > 0.6


@pytest.mark.parametrize(("draw", "words"), [(film_strips, "its frames"), (flow_strips, "its frames and its flow")])
def test_nothing_to_show_is_named(draw, words):
    with pytest.raises(DataError, match=f"at least one clip to show, got none. Pass a title.*{words}"):
        draw({})
