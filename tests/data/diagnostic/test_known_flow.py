"""Generated clips: their flow is exactly the motion of what they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from tmal_core.data.diagnostic.known_flow import FRAMES, HEIGHT, SCENES, WIDTH, Steady, Waves, known_clips

MIDDLE_X, MIDDLE_Y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(float)


@pytest.fixture(scope="module")
def clips():
    return {clip.name: clip for clip in known_clips()}


def fetched(clip, t, flow_px):
    """(H, W, 3): frame t + 1 looked up where flow leads."""
    x, y = 2 * (X + flow_px[0] + 0.5) / WIDTH - 1, 2 * (Y + flow_px[1] + 0.5) / HEIGHT - 1
    image = torch.from_numpy(clip.frames[t + 1]).permute(2, 0, 1)[None].double()
    return grid_sample(image, torch.from_numpy(np.stack([x, y], -1))[None], align_corners=False)[0].permute(1, 2, 0)


def change(clip, t, flow_px):
    """(H, W): how far what flow leads to is from what is there now, in grey levels."""
    return np.abs(fetched(clip, t, flow_px).numpy() - clip.frames[t]).mean(-1)


@pytest.mark.parametrize("name", SCENES)
def test_shapes(clips, name):
    clip = clips[name]
    assert clip.frames.shape == (FRAMES, HEIGHT, WIDTH, 3) and clip.frames.dtype == np.uint8
    assert clip.flow_px.shape == (FRAMES - 1, 2, HEIGHT, WIDTH) and clip.flow_px.dtype == np.float32
    assert clip.visible.shape == (FRAMES - 1, HEIGHT, WIDTH) and clip.visible.dtype == bool
    assert 0.85 < clip.visible.mean() < 0.99 and clip.motion == SCENES[name][0]
    assert 30 < clip.frames.std() < 50, "contrast that an estimator can use"


def test_flow_of_steady_motion_is_its_formula(clips):
    formulas = {
        "shift": (1.3, -0.7),
        "fast shift": (11.6, 4.2),
        "zoom": (0.03 * (X - MIDDLE_X), 0.03 * (Y - MIDDLE_Y)),
        "turn": (
            (X - MIDDLE_X) * (np.cos(np.pi / 90) - 1) - (Y - MIDDLE_Y) * np.sin(np.pi / 90),
            (X - MIDDLE_X) * np.sin(np.pi / 90) + (Y - MIDDLE_Y) * (np.cos(np.pi / 90) - 1),
        ),
    }
    for name, (dx, dy) in formulas.items():
        expected = np.stack(np.broadcast_arrays(dx, dy, X)[:2])
        assert np.abs(clips[name].flow_px - expected).max() < 1e-5, name


@pytest.mark.parametrize("motion", [*(s[1] for s in SCENES.values()), Steady((2, 1), 5.0, 0.9), Waves(9.0, 40.0)])
@pytest.mark.parametrize("t", [0, 1, 4])
def test_to_frame_undoes_to_texture(motion, t):
    back = motion.to_frame(t, *motion.to_texture(t, X, Y))
    assert max(np.abs(back[0] - X).max(), np.abs(back[1] - Y).max()) < 1e-9


@pytest.mark.parametrize("name", SCENES)
def test_flow_leads_to_what_is_shown(clips, name):
    """Up to rounding and the blur of looking up between pixels; half a pixel aside it does not."""
    clip = clips[name]
    for t in range(FRAMES - 1):
        seen = clip.visible[t]
        right = change(clip, t, clip.flow_px[t])[seen].mean()
        aside = change(clip, t, clip.flow_px[t] + np.array([0.5, 0])[:, None, None])[seen].mean()
        still = change(clip, t, np.zeros_like(clip.flow_px[t]))[seen].mean()
        assert right < 3 and right < 0.5 * aside and right < 0.2 * still


def test_what_goes_out_of_sight_is_marked(clips):
    """Beyond the frame, and of the background behind the disc: there flow leads to something else."""
    shift = clips["fast shift"].visible[0]
    assert not shift[:, -11:].any() and not shift[-4:].any() and shift[:-5, :-12].all()
    layers = clips["two layers"]
    t = 2
    wrong = change(layers, t, layers.flow_px[t])
    inner = np.zeros((HEIGHT, WIDTH), bool)
    inner[4:-4, 4:-4] = True
    hidden = inner & ~layers.visible[t]
    assert 100 < hidden.sum() < 600 and wrong[hidden].mean() > 10 * wrong[inner & layers.visible[t]].mean()
    # Nothing hidden is left unmarked; the disc's rim itself is half one thing, half the other.
    assert (wrong[inner & layers.visible[t]] > 20).sum() < 0.25 * hidden.sum()
    # The two motions of the scene, and nothing else.
    found = np.unique(np.round(layers.flow_px[t].reshape(2, -1), 4), axis=1).T.tolist()
    assert found == [pytest.approx([-1.8, 0.9]), pytest.approx([2.6, 1.1])]


def test_clips_depend_on_seed_and_name_alone(clips):
    again = known_clips(scenes=("waves",))[0]
    assert np.array_equal(again.frames, clips["waves"].frames)
    other = known_clips(seed=1, scenes=("waves",))[0]
    assert np.array_equal(other.flow_px, again.flow_px) and not np.array_equal(other.frames, again.frames)
