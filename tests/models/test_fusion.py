"""At which blocks another modality joins."""

from __future__ import annotations

import pytest

from tmal_core.errors import SettingsError
from tmal_core.models.fusion import fusion_blocks


@pytest.mark.parametrize(
    ("levels", "depth", "blocks"),
    [("all", 12, (3, 6, 9, 12)), ("all", 4, (1, 2, 3, 4)), ("last", 12, (12,)), ("none", 12, ()), ((5, 2), 12, (2, 5))],
)
def test_levels(levels, depth, blocks):
    assert fusion_blocks(levels, depth) == blocks


@pytest.mark.parametrize("levels", [(0,), (13,), (3, 3)])
def test_levels_outside_the_tower(levels):
    with pytest.raises(SettingsError, match=r"expected levels among the blocks 1\.\.12"):
        fusion_blocks(levels, 12)
