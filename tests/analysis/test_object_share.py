"""Shares on the object, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.analysis.object_share import patch_coverage, share_on_object
from tmal_core.data.video.transforms import ClipTransform

COVERAGE = torch.tensor([[[0.5, 0.0], [0.0, 0.0]], [[0.25, 0.25], [0.0, 0.0]]])  # (T, R, K); area 1/8


def test_share_of_what_speaks_for_the_class():
    scores = torch.tensor([[[3.0, -5.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]])
    found = share_on_object(scores, COVERAGE)
    assert found.relevance == pytest.approx(3 * 0.5 / 4) and found.area == pytest.approx(0.125)
    assert found.most == pytest.approx(0.5)


def test_a_map_that_is_the_same_everywhere_has_the_area_s_share():
    for scores in (torch.ones(2, 2, 2), torch.zeros(2, 2, 2), -torch.ones(2, 2, 2)):
        found = share_on_object(scores, COVERAGE)
        assert found.relevance == pytest.approx(found.area)


def test_coverage_is_of_the_crop_that_models_see():
    """A frame of 12 x 12, of which the middle 8 x 8 are seen as 2 x 2 patches."""
    masks = np.zeros((2, 12, 12), bool)
    masks[0, 2:6, 2:4] = True  # the left half of the first patch
    masks[1, :2] = True  # outside of the crop
    found = patch_coverage(masks, ClipTransform(resize=12, crop=8), (2, 2))
    assert found[0].tolist() == [[0.5, 0.0], [0.0, 0.0]] and not found[1].any()
    twice = patch_coverage(masks.repeat(2, 1).repeat(2, 2), ClipTransform(resize=12, crop=8), (2, 2))
    torch.testing.assert_close(twice, found, atol=0.1, rtol=0)
    with pytest.raises(ValueError, match=r"expected masks \(T, H, W\)"):
        patch_coverage(masks[0], ClipTransform(12, 8), (2, 2))
