"""Colours of flow against values of the Middlebury code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image

from tmal_core.errors import DataError
from tmal_core.viz.flow_colours import color_wheel, flow_to_rgb


def constant(dx, dy):
    return np.stack([np.full((4, 5), float(dx)), np.full((4, 5), float(dy))])


def test_colours_are_torchvisions():
    """torchvision's flow_to_image is the same code, scaled by the fastest vector."""
    flow = np.random.default_rng(0).normal(0, 5, (2, 40, 50)).astype(np.float32)
    theirs = flow_to_image(torch.from_numpy(flow)).permute(1, 2, 0).numpy()
    assert np.abs(flow_to_rgb(flow).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("vector", "colour"), [((1, 0), "red"), ((0, 1), "yellow"), ((-1, 0), "cyan"), ((0, -1), "blue")]
)
def test_directions(vector, colour):
    red, green, blue = flow_to_rgb(constant(*vector), max_px=1.0)[0, 0].astype(int)
    pure = {
        "red": red > 200 > 60 > max(green, blue),
        "yellow": min(red, green) > 150 and blue < 60,
        "cyan": min(green, blue) > 120 and red < 60,
        "blue": blue > 200 > 130 > green,
    }
    assert pure[colour], (red, green, blue)


def test_rest_is_white_speed_saturates_and_more_is_darker():
    assert (flow_to_rgb(constant(0, 0)) == 255).all()
    half, full, over = (flow_to_rgb(constant(v, 0), max_px=2.0)[0, 0].astype(int) for v in (1, 2, 3))
    assert half.min() > full.min() and full.max() == 255 and over.max() == 191


def test_fields_of_one_call_share_the_scale():
    pair = flow_to_rgb(np.stack([constant(1, 0), constant(4, 0)]))
    assert pair.shape == (2, 4, 5, 3) and pair.dtype == np.uint8
    assert np.array_equal(pair[1], flow_to_rgb(constant(4, 0))) and pair[0].min() > pair[1].min()


def test_unknown_flow_is_black():
    flow = constant(1, 1)
    flow[0, 0, 0] = np.nan
    picture = flow_to_rgb(flow)
    assert (picture[0, 0] == 0).all() and picture[1, 1].max() == 255


def test_wheel_shows_each_direction_where_it_points():
    wheel = color_wheel(101)
    assert wheel.shape == (101, 101, 3) and (wheel[0, 0] == 255).all() and (wheel[50, 50] == 255).all()
    right = flow_to_rgb(constant(1, 0), max_px=1.0)[0, 0].astype(int)
    down = flow_to_rgb(constant(0, 1), max_px=1.0)[0, 0].astype(int)
    assert np.abs(wheel[50, 100] - right).max() < 6 and np.abs(wheel[100, 50] - down).max() < 6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flow_to_rgb(np.zeros((3, 4, 5))), r"flow of shape \(\.\.\., 2, H, W\), got \(3, 4, 5\)"),
        (lambda: flow_to_rgb(np.zeros((2, 4, 5)), max_px=0), "expected max_px above 0, got 0"),
        (lambda: color_wheel(1), "a wheel of at least 2 pixels, got 1"),
    ],
)
def test_wrong_input_is_named(call, words):
    with pytest.raises(DataError, match=words):
        call()
