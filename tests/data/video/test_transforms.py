"""Frames against open_clip's PIL pipeline, flow against known fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD, ClipTransform, resize_flow
from tmal_core.errors import DataError, SettingsError

GREY_LEVEL = 1 / 255
PLAN = ClipTransform(8, 8).plan(9, 9)


def make_frames(height, width, num_frames=2, seed=0):
    """Smooth structure, an edge and some noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 127 + 90 * np.sin(x / 7 + np.arange(num_frames)[:, None, None]) * np.cos(y / 11)
    frames = np.repeat(waves[..., None], 3, axis=-1) + generator.normal(0, 12, (num_frames, height, width, 3))
    frames[:, :, width // 3 : width // 3 + 9] = [250, 20, 90]
    return frames.clip(0, 255).astype(np.uint8)


def cropped(transform, frames, generator=None):
    """The frames by a plan of their own."""
    height, width = frames.shape[1:3]
    return transform.apply_frames(frames, transform.plan(height, width, generator))


def ramp_flow(num_frames, height, width, frame):
    """Field whose value tells where it was sampled: (x, y) of the sample's centre, in pixels of `frame`."""
    y = (np.arange(height) + 0.5) * frame[0] / height
    x = (np.arange(width) + 0.5) * frame[1] / width
    field = np.stack(np.broadcast_arrays(x[None, :], y[:, None])).astype(np.float32)
    return np.repeat(field[None], num_frames, axis=0)


@pytest.mark.parametrize("size", [(240, 320), (333, 250), (256, 340), (120, 160), (720, 1280)])
def test_evaluation_is_open_clips_pipeline(size):
    frames = make_frames(*size, num_frames=1)
    # open_clip resizes straight to its crop; the suite's presets resize to 256 and crop 224.
    ours = cropped(ClipTransform(resize=224, crop=224), frames)
    pipeline = image_transform(224, is_train=False, mean=CLIP_MEAN, std=CLIP_STD)
    theirs = pipeline(Image.fromarray(frames[0]))[None]
    levels = (ours - theirs) * torch.tensor(CLIP_STD).view(3, 1, 1) / GREY_LEVEL
    assert ours.shape == (1, 3, 224, 224) and ours.dtype == torch.float32
    assert levels.abs().max() <= 2.01
    assert levels.abs().mean() <= 0.1


def test_no_resize_when_the_short_side_fits():
    frames = make_frames(64, 96)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    pixels = (cropped(ClipTransform(resize=64, crop=48), frames) * std + mean) * 255
    assert torch.equal(pixels.round().to(torch.uint8), torch.from_numpy(frames[:, 8:56, 24:72]).permute(0, 3, 1, 2))


def test_training_crops_all_frames_alike_and_by_the_generator():
    frames = np.repeat(make_frames(70, 90, num_frames=1), 3, axis=0)
    transform = ClipTransform(resize=64, crop=48, flip=True)
    clips = [cropped(transform, frames, np.random.default_rng(seed)) for seed in range(20)]
    assert all(torch.equal(clip[0], clip[2]) for clip in clips)
    assert torch.equal(clips[3], cropped(transform, frames, np.random.default_rng(3)))
    plans = [transform.plan(70, 90, np.random.default_rng(seed)) for seed in range(300)]
    assert {plan.top for plan in plans} == set(range(17))
    assert {plan.left for plan in plans} == set(range(82 - 48 + 1))
    assert 100 < sum(plan.flip for plan in plans) < 200
    without = ClipTransform(resize=64, crop=48)
    assert not any(without.plan(70, 90, np.random.default_rng(seed)).flip for seed in range(50))
    assert without.plan(70, 90, np.random.default_rng(3)).top == plans[3].top


@pytest.mark.parametrize("flow_size", [(120, 160), (60, 80), (61, 79)])
@pytest.mark.parametrize("flip", [False, True])
def test_flow_is_cropped_where_the_frames_are(flow_size, flip):
    """A ramp reads back its own place, so crop offset, scale, flip and half resolution are all pinned."""
    height, width = 120, 160
    transform = ClipTransform(resize=96, crop=64, flip=True)
    plan = next(
        p for seed in range(99) if (p := transform.plan(height, width, np.random.default_rng(seed))).flip == flip
    )
    # Away from the border, where bilinear sampling of a coarse ramp has to stop at its last sample.
    assert plan.top > 0 and plan.left > 0
    flow = transform.apply_flow(ramp_flow(3, *flow_size, (height, width)), plan, (height, width))
    assert flow.shape == (3, 2, 64, 64)
    cells = torch.arange(64) + 0.5
    expected_x = plan.left + (64 - cells if flip else cells)
    expected_y = plan.top + cells
    inner = slice(2, -2)
    torch.testing.assert_close(
        flow[0, 0, 5].abs()[inner], expected_x[inner], atol=2e-3, rtol=0, msg="x of the window is off"
    )
    torch.testing.assert_close(flow[0, 1, :, 5][inner], expected_y[inner], atol=2e-3, rtol=0)
    assert (flow[:, 0] < 0).all() if flip else (flow[:, 0] > 0).all()


def test_flow_vectors_point_where_the_pixels_go():
    """A picture moved by a known vector: after resize, crop and flip, the flow still leads from frame to frame."""
    picture = make_frames(160, 200, num_frames=1, seed=3)[0]
    first, second = picture[20:140, 20:180], picture[20 - 4 : 140 - 4, 20 - 8 : 180 - 8]  # moves by (8, 4)
    flow_px = np.tile(np.array([8, 4], np.float32).reshape(1, 2, 1, 1), (2, 1, 60, 80))
    transform = ClipTransform(resize=60, crop=48, flip=True)
    plan = transform.plan(120, 160, np.random.default_rng(1))
    flipped = transform.plan(120, 160, np.random.default_rng(2))
    assert {plan.flip, flipped.flip} == {True, False}
    for each in (plan, flipped):
        frames = transform.apply_frames(np.stack([first, second]), each)
        flow = transform.apply_flow(flow_px, each, (120, 160))
        dx, dy = flow[0, :, 20, 20].tolist()
        assert (dx, dy) == (-4.0 if each.flip else 4.0, 2.0)
        inner = frames[0][:, 10:-10, 10:-10]
        moved = frames[1][:, 10 + int(dy) : 38 + int(dy), 10 + int(dx) : 38 + int(dx)]
        assert (inner - moved).abs().mean() < 0.02
        assert (inner - frames[1][:, 10:-10, 10:-10]).abs().mean() > 0.2


def test_flow_measured_in_another_frame_size():
    """Flow computed on a smaller frame than the one now decoded: its pixels are larger."""
    transform = ClipTransform(resize=256, crop=224)
    flow_px = np.full((2, 2, 64, 80), 3.0, np.float32)
    flow = transform.apply_flow(flow_px, transform.plan(512, 640), (128, 160))
    torch.testing.assert_close(flow, torch.full((2, 2, 224, 224), 6.0))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ClipTransform(resize=64, crop=65), SettingsError, "got crop 65 of resize 64"),
        (lambda: cropped(ClipTransform(), np.zeros((2, 9, 9, 3))), DataError, "got float64"),
        (lambda: cropped(ClipTransform(), np.zeros((0, 9, 9, 3), np.uint8)), DataError, "expected uint8 frames"),
        (
            lambda: ClipTransform(8, 8).apply_flow(np.zeros((1, 9, 9, 2)), PLAN, (9, 9)),
            DataError,
            r"flow of shape \(T, 2, h, w\)",
        ),
    ],
)
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(("samples", "size"), [((60, 80), (120, 160)), ((30, 40), (120, 160)), ((60, 80), (60, 80))])
def test_resized_flow_keeps_its_place(samples, size):
    """A ramp over a frame of 120 x 160 reads back its own place, in pixels of the new frame."""
    flow = resize_flow(ramp_flow(2, *samples, (120, 160)), (120, 160), size)
    assert flow.shape == (2, 2, *size) and flow.dtype == torch.float32
    edge = slice(3, -3)  # the border repeats the outermost sample
    torch.testing.assert_close(flow[1, 0, 5][edge], (torch.arange(size[1]) + 0.5)[edge], atol=1e-3, rtol=0)
    torch.testing.assert_close(flow[1, 1, :, 5][edge], (torch.arange(size[0]) + 0.5)[edge], atol=1e-3, rtol=0)


def test_smaller_flow_is_a_mean_not_a_pick():
    """Half of the columns move by 4, those halfway between two samples of the smaller field, whose pixels are wide."""
    flow = np.zeros((1, 2, 32, 32), np.float32)
    flow[:, 0, :, 0::4] = flow[:, 0, :, 3::4] = 4.0
    smaller = resize_flow(flow, (32, 32), (8, 8))[0, 0]
    assert (smaller - 0.5).abs().max() < 0.1


def test_flow_of_another_form_is_not_resized():
    with pytest.raises(DataError, match=r"flow of shape \(T, 2, h, w\), got \(2, 9, 9\)"):
        resize_flow(np.zeros((2, 9, 9)), (9, 9), (4, 4))
