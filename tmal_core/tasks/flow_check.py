"""What flow is worth here: does it name the directions that `motion` clips hide, and what does storing it cost?

The hidden disc of a `motion` clip is nowhere in its catalogue, but a disc of `CORE_PX` around the middle of the frame
lies inside it in every clip (radius 24 px at least, centre off by 5 px at most in each direction).

Letters: N stored positions, H, W pixels, h, w samples of the stored field (half of H and W).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from tmal_core.data.diagnostic.families import FRAMES
from tmal_core.data.diagnostic.vocabulary import DIRECTIONS, motion_classes
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video import read_clip
from tmal_core.data.video.transforms import resize_flow
from tmal_core.flow.estimator import FlowEstimator, flow_of_pairs
from tmal_core.flow.store import FlowStore

CORE_PX = 16.0
_FLOATS = "float32, full size"
TURN_SLACK = 3
"""The direction changes this many frames before or after the middle of the clip."""


def name_directions(catalog: Catalog, store: FlowStore) -> pd.DataFrame:
    """The mean stored flow in the hidden disc against the direction that the class names, for `motion` clips.

    Args:
        catalog: `motion` clips with stored flow.

    Returns:
        One row per clip and half: video, half ("first" or "second"), wanted and named (directions), hit (bool),
        dx_px, dy_px (mean flow), wanted_dx, wanted_dy (unit vector).
    """
    parts = {action.name: action.parts for action in motion_classes()}
    names, vectors = list(DIRECTIONS), np.array(list(DIRECTIONS.values()))
    rows = []
    for video, class_name in zip(catalog.table["video"], catalog.table["class_name"], strict=True):
        stored = store.read(video)
        core = _core(stored.flow_px.shape[2:], stored.frame_size)
        mean = stored.flow_px[:, :, core].mean(-1)
        # Motion p leads from frame p to p + 1; around the turn either direction may be right.
        first = stored.positions < FRAMES // 2 - TURN_SLACK
        second = stored.positions >= FRAMES // 2 + TURN_SLACK
        for half, chosen in (("first", first), ("second", second)):
            dx, dy = mean[chosen].mean(0)
            wanted = parts[class_name][half]
            named = names[int((vectors @ (dx, dy)).argmax())]
            rows.append((video, half, wanted, named, named == wanted, float(dx), float(dy), *DIRECTIONS[wanted]))
    columns = ["video", "half", "wanted", "named", "hit", "dx_px", "dy_px", "wanted_dx", "wanted_dy"]
    return pd.DataFrame(rows, columns=columns)


def storage_table(catalog: Catalog, store: FlowStore, estimator: FlowEstimator, scratch: Path) -> pd.DataFrame:
    """What storing flow costs, measured on some videos, for both kinds of file and for floats as they are estimated.

    Args:
        catalog: a few videos with flow in `store`, none larger than the store's short side.
        estimator: the one that made the stored flow.
        scratch: folder in which the files of the other kinds are written.

    Returns:
        One row per kind: mean kilobytes per video and per field; error_px, the mean distance of a stored vector from
        the estimate's mean over the same 2 x 2 pixels (rounding alone); full_error_px, that of the field at full size,
        interpolated, from the estimate (what half resolution costs as well); read_ms, the median time to read the
        fields of 8 positions, on this machine.
    """
    kinds = {"int8": FlowStore(scratch / "int8"), "int8, compact": FlowStore(scratch / "compact", compact=True)}
    measured = []
    fields, floats = 0, 0
    for row, video in enumerate(catalog.table["video"]):
        stored = store.read(video)
        pairs = np.stack([stored.positions, stored.positions + 1], axis=1)
        exact = flow_of_pairs(estimator, read_clip(catalog.file(row)), pairs)
        fields, floats = fields + len(exact), floats + exact.nbytes
        for kind, other in kinds.items():
            path = other.write(video, exact, stored.positions, stored.meta)
            flow = other.read(video).flow_px
            full = resize_flow(flow, exact.shape[2:], exact.shape[2:]).numpy()
            halved = exact.reshape(*flow.shape[:3], 2, flow.shape[3], 2).mean((3, 5))
            chosen = stored.positions[np.linspace(0, len(exact) - 1, 8).round().astype(int)]
            start = time.perf_counter()
            other.read(video, chosen)
            read_ms = 1e3 * (time.perf_counter() - start)
            measured.append((kind, path.stat().st_size, _distance(flow, halved), _distance(full, exact), read_ms))
    found = pd.DataFrame(measured, columns=["kind", "size", "error_px", "full_error_px", "read_ms"])
    how = {"size": "sum", "error_px": "mean", "full_error_px": "mean", "read_ms": "median"}
    table = found.groupby("kind", sort=False).agg(how)
    table.loc[_FLOATS] = [floats, 0.0, 0.0, np.nan]
    table.insert(1, "kb_per_video", table["size"] / len(catalog) / 1e3)
    table.insert(2, "kb_per_field", table["size"] / fields / 1e3)
    return table.loc[[_FLOATS, *kinds]].drop(columns="size").reset_index()


def _distance(flow: np.ndarray, other: np.ndarray) -> float:
    return float(np.hypot(*(flow - other).swapaxes(0, 1)).mean())


def _core(samples: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: samples whose centre lies within CORE_PX of the middle of the frame."""
    y, x = ((np.arange(n) + 0.5) * size / n - size / 2 for n, size in zip(samples, frame, strict=True))
    return np.hypot(*np.meshgrid(x, y)) <= CORE_PX
