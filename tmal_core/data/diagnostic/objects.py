"""Where the object is in a clip of the diagnostic data set: its drawing, done again from the seed and the catalogue.

Letters: F frames of the video, SIDE pixels.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from tmal_core.data.diagnostic.families import object_masks
from tmal_core.data.diagnostic.generation import MANIFEST, VERSION, random_stream, rows_of, units
from tmal_core.data.diagnostic.vocabulary import ActionClass
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError


def object_masks_of(catalog: Catalog, row: int) -> np.ndarray:
    """(F, SIDE, SIDE) bool, of a row of the catalogue.

    Raises:
        DataError: the videos were not drawn, or by another version.
    """
    seed, record = _seed(catalog.root), catalog.table.iloc[row]
    base, _, number = str(record["base"]).rpartition("/")
    known = _by_base()
    if base not in known:
        raise DataError("a base of the diagnostic data set", repr(record["base"]), "Make the data set anew.")
    action, twin = known[base]
    planned = rows_of(action, twin, int(number))
    (role,) = (role for role, made in planned.items() if made["video"] == record["video"])
    return object_masks(action, random_stream(seed, action, int(number)))[role]


def _seed(root: Path) -> int:
    file = root / MANIFEST
    if not file.is_file():
        remedy = "Only of drawn videos is it known where the object is: choose the diagnostic data set."
        raise DataError(f"{MANIFEST} in {root}", "none", remedy)
    drawn = json.loads(file.read_text(encoding="utf-8"))
    if drawn.get("version") != VERSION:
        got, remedy = f"version {drawn.get('version')} in {root}", f"Delete what is in {root}, and make it anew."
        raise DataError(f"a diagnostic data set of version {VERSION}", got, remedy)
    return int(drawn["seed"])


@lru_cache(maxsize=1)
def _by_base() -> dict[str, tuple[ActionClass, ActionClass | None]]:
    """Classes (of a pair the first, and its reversal) by what the `base` of their clips begins with."""
    found = {}
    for action, twin in units():
        first = next(iter(rows_of(action, twin, 0).values()))
        found[str(first["base"]).rpartition("/")[0]] = (action, twin)
    return found
