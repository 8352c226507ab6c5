"""Deletion and insertion by hand: a method whose answer is the weight of the patches that are left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.analysis.deletion import centre_map, curves, masked, random_map
from tmal_core.data.clips import Clip

WEIGHTS = torch.tensor([[[0.4, 0.1]], [[0.3, 0.2]]])  # (T, R, K) = (2, 1, 2)


class Weighing:
    """Its probability of the class is the weight of what is not covered."""

    grid = (1, 2)

    def __init__(self, what):
        self.what = 0 if what == "frames" else 1

    def probability(self, variants):
        pixels = variants[self.what].mean(2)  # (n, T, 4, 8): a patch is 4 x 4
        return (pixels.unflatten(-1, (2, 4)).mean((2, 4)) * WEIGHTS[:, 0]).sum((1, 2))


@pytest.fixture
def clip():
    return Clip(torch.ones(2, 3, 4, 8), torch.ones(2, 2, 4, 8))


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("what", ["frames", "flow"])
def test_what_weighs_most_goes_first(clip, what):
    found = curves(Weighing(what), clip, [WEIGHTS, -WEIGHTS], what, rng(), steps=4)
    np.testing.assert_allclose(found.deletion[0], [1, 0.6, 0.3, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(found.insertion[0], [0, 0.4, 0.7, 0.9, 1], atol=1e-6)
    np.testing.assert_allclose(found.deletion[1], [1, 0.9, 0.7, 0.4, 0], atol=1e-6)
    deletion, insertion = found.areas
    assert deletion.tolist() == pytest.approx([0.375, 0.625]) and insertion.tolist() == pytest.approx([0.625, 0.375])


def test_whole_frames_go_by_the_sum_of_their_patches(clip):
    """The first frame holds the single largest patch, and the second more in all."""
    scores = torch.tensor([[[0.9, 0.0]], [[0.5, 0.5]]])
    found = curves(Weighing("frames"), clip, [scores], "frames", rng(), steps=2, units="frames")
    np.testing.assert_allclose(found.deletion[0], [1, 0.5, 0], atol=1e-6)
    alone = Weighing("frames").probability(Clip(torch.stack([torch.ones(3, 4, 8), torch.zeros(3, 4, 8)])[None]))
    np.testing.assert_allclose(found.deletion[0][1], alone[0], atol=1e-6)


def test_equal_values_have_no_order_of_their_own(clip):
    flat = torch.zeros(2, 1, 2)
    found = {
        tuple(curves(Weighing("frames"), clip, [flat], "frames", np.random.default_rng(seed), 4).deletion[0].round(3))
        for seed in range(12)
    }
    assert len(found) > 4


def test_what_is_covered_is_covered_and_nothing_else(clip):
    kept = torch.tensor([[[True, False]], [[True, True]]])
    frames, flow_px = masked(clip, "frames", kept)
    assert not frames[0, :, :, 4:].any() and frames[0, :, :, :4].all() and frames[1].all() and flow_px.all()
    frames, flow_px = masked(clip, "flow", kept)
    assert frames.all() and not flow_px[0, :, :, 4:].any() and flow_px[0, :, :, :4].all() and flow_px[1].all()


def test_maps_that_know_nothing():
    centre = centre_map((3, 5, 5))
    assert centre.argmax() == 1 * 25 + 2 * 5 + 2 and centre.shape == (3, 5, 5)
    torch.testing.assert_close(centre, centre.flip(0, 1, 2))
    drawn = random_map((3, 5, 5), rng())
    assert drawn.shape == (3, 5, 5) and drawn.unique().numel() == 75
    assert torch.equal(drawn, random_map((3, 5, 5), rng()))


def test_what_cannot_be_done_is_refused(clip):
    with pytest.raises(ValueError, match=r"expected maps \(2, 1, 2\), got \(2, 2\)"):
        curves(Weighing("frames"), clip, [torch.zeros(2, 2)], "frames", rng())
    with pytest.raises(ValueError, match="expected a clip with flow"):
        curves(Weighing("flow"), Clip(clip.frames), [WEIGHTS], "flow", rng())
    with pytest.raises(ValueError, match="expected at least 1 step, got 0"):
        curves(Weighing("frames"), clip, [WEIGHTS], "frames", rng(), steps=0)
