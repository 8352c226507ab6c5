"""Masks of the object against the decoded files: what is inside is the object, what is outside is not."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from tmal_core.data.diagnostic.generation import MANIFEST, generate
from tmal_core.data.diagnostic.objects import object_masks_of
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video import read_clip
from tmal_core.errors import DataError


@pytest.fixture(scope="module")
def every_family(tmp_path_factory):
    """One clip of each class of two splits."""
    return generate(tmp_path_factory.mktemp("drawn") / "videos", 3, {"train": 1, "val": 1, "test": 1}, 1, False)


def some(catalog, family, per_role=3):
    table = catalog.table
    return table.index[table["family"] == family][::17][: 3 * per_role]


def near_the_edge(mask):
    """Bands just inside and just outside, two pixels off the edge itself."""
    small, large = (op(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) for op in (cv2.erode, cv2.dilate))
    wide = cv2.dilate(large, np.ones((5, 5), np.uint8))
    return small.astype(bool), (wide - large).astype(bool)


@pytest.mark.parametrize("family", ["appearance", "order", "speed", "camera", "semantic"])
def test_the_object_is_of_one_colour_that_its_surroundings_have_not(every_family, family):
    for row in some(every_family, family):
        frames = read_clip(every_family.file(row)).astype(float)
        masks = object_masks_of(every_family, int(row))
        assert masks.shape == frames.shape[:3] and masks.dtype == bool
        spreads, gaps = [], []
        for frame, mask in zip(frames, masks, strict=True):
            inside, outside = near_the_edge(mask)
            if inside.sum() > 4:  # rings and crosses have parts that are thinner
                spreads.append(np.abs(frame[inside] - np.median(frame[inside], 0)).mean())
                gaps.append(np.abs(np.median(frame[inside], 0) - np.median(frame[outside], 0)).max())
        assert not gaps or (np.mean(spreads) < 15 and np.mean(gaps) > 40), every_family.table["video"].iat[row]


def test_a_clip_and_its_reversal_have_reversed_masks(every_family):
    table = every_family.table
    first = table.index[table["family"] == "order"][0]
    pair = table.index[table["base"] == table["base"].iat[first]]
    one, other = (object_masks_of(every_family, int(row)) for row in pair)
    assert np.array_equal(one[:-1], other[:-1][::-1]) and not np.array_equal(one, other)


def test_the_support_file_has_the_beginning(every_family):
    table = every_family.table
    semantic = table[table["family"] == "semantic"]
    base = semantic["base"].iat[0]
    rows = {role: int(semantic.index[(semantic["base"] == base) & (semantic["role"] == role)][0]) for role in
            ("support", "query")}  # fmt: skip
    support, query = (object_masks_of(every_family, rows[role]) for role in ("support", "query"))
    assert np.array_equal(support, query[: len(support)]) and len(support) < len(query)


def test_what_drifts_is_the_disc(every_family):
    """From a frame to the next the dots inside move and those outside stand still, up to the ones born anew."""
    for row in some(every_family, "motion"):
        frames = read_clip(every_family.file(row)).astype(float).mean(-1)
        masks = object_masks_of(every_family, int(row))
        change = np.abs(np.diff(frames, axis=0)).mean(0)
        inside, outside = near_the_edge(masks[0])
        inside &= ~cv2.erode(masks[0].astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
        assert change[inside].mean() > 1.15 * change[outside].mean()


def test_videos_that_were_not_drawn_have_no_known_object(every_family, tmp_path):
    with pytest.raises(DataError, match=r"expected diagnostic\.json in .*, got none.*Only of drawn videos"):
        object_masks_of(Catalog(tmp_path, every_family.table), 0)
    (tmp_path / MANIFEST).write_text(json.dumps({"version": 1, "seed": 0}))
    with pytest.raises(DataError, match="got version 1"):
        object_masks_of(Catalog(tmp_path, every_family.table), 0)
    strange = pd.DataFrame([{**every_family.table.iloc[0], "base": "elsewhere/000"}])
    with pytest.raises(DataError, match="a base of the diagnostic data set"):
        object_masks_of(Catalog(every_family.root, strange), 0)
