"""Frames and pictures of CLIP-FSAR, from the video file to the tensor, draw by draw as its own code made them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from reference_draws import python_draws
from safetensors import safe_open

from tmal_core.data.video import read_frames
from tmal_core.data.video.colour_jitter import GREY_SHARE, ColourJitter, draw_jitter, jittered
from tmal_core.data.video.reference_frames import reference_segments, reference_stride
from tmal_core.data.video.transforms import CLIP_STD, ClipTransform
from tmal_core.errors import DataError

FRAMES, FPS = 8, 30.0
GREY_LEVEL, ROUNDING = 1 / 255 / min(CLIP_STD), 1e-4
OPERATIONS = ("brightness", "contrast", "saturation", "hue")
KINDS = [f"stride.{kind}" for kind in ("test", "train_support", "train_query", "train_query_grey")]
CASES = [f"{video}.{kind}" for video in ("wide", "tall") for kind in ("segments.test", "segments.train", *KINDS)]
CASES += ["wide.segments.test.224", "tall.stride.train_query.224"]


@pytest.fixture(scope="module")
def golden(assets):
    """Tensors by name, and what was drawn."""
    with safe_open(assets / "clip_fsar_pixels.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
        return tensors, json.loads(file.metadata()["settings"])


def positions(dataset: str, split: str, num_frames: int, fps: float, draws: np.random.Generator) -> np.ndarray:
    """Frames by the rule of the data set."""
    if dataset == "hmdb51":
        return reference_segments(num_frames, FRAMES, draws)
    return reference_stride(num_frames, FRAMES, fps, draws if split == "train" else None)


def test_frames_of_every_length_and_rate(golden):
    rows = golden[1]["frames"]["rows"]
    assert len(rows) == 72
    for dataset, split, num_frames, fps, seed, wanted in rows:
        found = positions(dataset, split, num_frames, fps, python_draws(seed))
        assert found.dtype == np.int64 and found.tolist() == wanted, (dataset, split, num_frames, fps)


def test_ts_fsar_s_pictures_are_the_same(assets):
    """Squashed, from the centre, for a clip of another size: nothing of its own is needed."""
    with safe_open(assets / "ts_fsar_parts.safetensors", "pt") as file:
        video, wanted = (file.get_tensor(f"preprocess.{name}") for name in ("video", "test"))
    transform = ClipTransform(resize=32, crop=28, fit="squash")
    plan = transform.plan(*video.shape[1:3], None)
    found = transform.apply_frames(video.numpy(), plan)
    torch.testing.assert_close(found.transpose(0, 1), wanted, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_pictures_from_the_file(golden, assets, case):
    tensors, settings = golden
    drawn, draws = settings[case], python_draws(settings[case]["seed"])
    found = positions(drawn["dataset"], drawn["split"], settings["videos"]["length"], FPS, draws)
    assert found.tolist() == drawn["frames"] == tensors[f"{case}.frames"].tolist()
    frames = read_frames(assets / f"e2e_video_{case.partition('.')[0]}.mp4", found[drawn["kept"]])
    transform = ClipTransform(drawn["resize"], drawn["crop"], fit="squash")
    plan = transform.plan(*frames.shape[1:3], draws if drawn["split"] == "train" else None, drawn["role"] == "query")
    left = drawn["resize"] - drawn["crop"] - drawn["x"] if drawn["flip"] else drawn["x"]
    assert (plan.top, plan.left, plan.flip) == (drawn["y"], left, drawn["flip"])
    jitter = ColourJitter(*(drawn[name] for name in OPERATIONS), tuple(drawn["order"])) if "hue" in drawn else None
    assert plan.jitter == jitter
    difference = transform.apply_frames(frames, plan) - tensors[f"{case}.pictures"]
    assert difference.abs().max() <= GREY_LEVEL
    if f"{case}.decoded" in tensors:
        decoded = tensors[f"{case}.decoded"]
        which = [drawn["kept"].index(at) for at in drawn["decoded"]]
        assert np.abs(frames[which].astype(int) - decoded.numpy()).max() <= 1
        difference = transform.apply_frames(decoded.numpy(), plan) - tensors[f"{case}.pictures"][which]
        assert difference.abs().max() <= ROUNDING


def test_all_cases_are_asked(golden):
    assert {f"{case}.pictures" for case in CASES} == {name for name in golden[0] if name.endswith(".pictures")}


def test_what_has_no_such_frames_is_named():
    with pytest.raises(DataError, match=r"8 frames for sampling\.scheme reference_segments, got 7\. Set prepare\.min"):
        reference_segments(7, 8, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"a frame rate over 0 for sampling\.scheme reference_stride, got 0\. Leave"):
        reference_stride(60, 8, fps=0.0)


def test_segments_are_drawn_evenly_to_their_ends():
    drawn = np.stack([reference_segments(35, 4, np.random.default_rng(seed)) for seed in range(400)])
    assert [sorted(set(column)) for column in drawn.T] == [list(range(8 * i, 8 * i + 8)) for i in range(4)]


def test_random_offsets_leave_out_the_last_one():
    """As the reference's: cut down to whole numbers, x and y apart; seen from the other side where it is mirrored."""
    transform = ClipTransform(12, 8, flip=True, fit="squash")
    plans = [transform.plan(9, 30, np.random.default_rng(seed)) for seed in range(400)]
    assert {plan.top for plan in plans} == {0, 1, 2, 3} and {plan[:2] for plan in plans} == {(12, 12)}
    lefts = {flip: {plan.left for plan in plans if plan.flip == flip} for flip in (False, True)}
    assert lefts == {False: {0, 1, 2, 3}, True: {1, 2, 3, 4}}
    assert all(plan.jitter is None for plan in plans)
    assert transform.plan(9, 30) == (12, 12, 2, 2, False, None)


def test_flow_is_squashed_as_the_frames_are():
    """A motion of (8, 3) native pixels in a frame of 240 x 120 that becomes 60 x 60."""
    transform = ClipTransform(60, 48, fit="squash")
    flow_px = np.tile(np.array([8, 3], np.float32).reshape(1, 2, 1, 1), (2, 1, 60, 120))
    plan = transform.plan(120, 240)
    flow = transform.apply_flow(flow_px, plan, (120, 240))
    torch.testing.assert_close(flow, torch.tensor([2.0, 1.5]).view(1, 2, 1, 1).expand(2, 2, 48, 48))
    # A field that tells where it was sampled: x of the window's first and last column, in pixels of the squashed frame.
    x = np.tile(np.arange(240, dtype=np.float32) + 0.5, (1, 2, 120, 1))
    row = transform.apply_flow(x, plan, (120, 240))[0, 0, 20]
    torch.testing.assert_close(row[[0, -1]], torch.tensor([6.5, 53.5]))


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_augmented_clips_are_flipped_and_jittered_and_others_are_not(fit):
    transform = ClipTransform(12, 8, fit=fit)
    augmented = [transform.plan(12, 16, np.random.default_rng(seed), augmented=True) for seed in range(200)]
    plain = [transform.plan(12, 16, np.random.default_rng(seed)) for seed in range(200)]
    assert 60 < sum(plan.flip for plan in augmented) < 140 and all(plan.jitter for plan in augmented)
    assert not any(plan.flip or plan.jitter for plan in plain)


def test_jitter_is_drawn_from_its_ranges_in_every_order():
    drawn = [draw_jitter(np.random.default_rng(seed)) for seed in range(600)]
    factors = np.array([one[:4] for one in drawn])
    assert (np.abs(factors[:, :3] - 1) <= 0.5).all() and (np.abs(factors[:, 3]) <= 0.25).all()
    assert (np.ptp(factors, axis=0) > [0.95, 0.95, 0.95, 0.47]).all()
    assert len({one.order[-4:] for one in drawn}) == 24
    assert abs(np.mean([one.order[0] == "grey" for one in drawn]) - GREY_SHARE) < 0.07


def test_jitter_by_hand():
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.2, 0.2, 0.2], [0.9, 0.6, 0.3]])
    image = colours.T.view(1, 3, 2, 2)

    def after(order, **factors):
        jitter = ColourJitter(**{"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.0, **factors}, order=order)
        return jittered(image, jitter).view(3, 4).T

    torch.testing.assert_close(after(OPERATIONS), colours)
    torch.testing.assert_close(after(("brightness",), brightness=1.2), (1.2 * colours).clamp(0, 1))
    turned = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.5], [0.2, 0.2, 0.2], [0.3, 0.9, 0.6]])
    torch.testing.assert_close(after(("hue",), hue=1 / 3), turned)
    grey = colours @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(
        after(("grey", "hue", "saturation"), hue=0.2, saturation=0.5), grey[:, None].expand(4, 3)
    )
    torch.testing.assert_close(after(("saturation",), saturation=0.5), (colours + grey[:, None]) / 2)
    torch.testing.assert_close(after(("contrast",), contrast=0.5), (colours + grey.mean()) / 2)
