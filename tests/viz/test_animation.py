"""Moving pictures: read back with PIL, frame by frame."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tmal_core.errors import DataError
from tmal_core.viz.animation import animated_webp, data_uri


def steps(num_frames, height, width):
    return np.broadcast_to(
        (20 * np.arange(num_frames, dtype=np.uint8))[:, None, None, None], (num_frames, height, width, 3)
    )


def test_frames_their_speed_and_their_order_come_back():
    picture = Image.open(io.BytesIO(animated_webp(steps(5, 24, 32), fps=8.0)))
    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]
    assert picture.size == (32, 24) and picture.info["loop"] == 0 and len(frames) == 5
    assert picture.info["duration"] == 125
    assert np.abs(np.array([frame.mean() for frame in frames]) - [0, 20, 40, 60, 80]).max() < 3


def test_large_frames_shrink_and_keep_their_shape():
    assert Image.open(io.BytesIO(animated_webp(steps(2, 90, 320), 1.0, max_side=160))).size == (160, 45)


def test_one_frame_is_a_picture_too():
    assert Image.open(io.BytesIO(animated_webp(steps(1, 8, 8), 24.0))).size == (8, 8)


def test_data_uri_holds_the_bytes():
    assert base64.b64decode(data_uri(b"abc").removeprefix("data:image/webp;base64,")) == b"abc"


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3))]
)
def test_frames_are_checked(frames):
    with pytest.raises(DataError, match="expected uint8 frames"):
        animated_webp(frames, 24.0)


def test_fps_is_checked():
    with pytest.raises(DataError, match=r"expected fps above 0, got 0\.0"):
        animated_webp(steps(2, 8, 8), 0.0)
