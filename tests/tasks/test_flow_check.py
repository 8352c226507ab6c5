"""Named directions and the cost of storage, on flow that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.data.diagnostic.generation import write_clip
from tmal_core.data.diagnostic.vocabulary import DIRECTIONS
from tmal_core.data.sets.catalog import Catalog
from tmal_core.flow.flow_file import STEP_PX
from tmal_core.flow.store import FlowMeta, FlowStore
from tmal_core.tasks.flow_check import CORE_PX, name_directions, storage_table

META = FlowMeta("known", "none", "all", "0" * 64)
NAME = "hidden dots drift up, then down and left"


def catalog(root, *names):
    videos = [f"v{i}" for i in range(len(names))]
    table = pd.DataFrame({"video": videos, "class_name": names, "path": [f"{v}.mp4" for v in videos]})
    return Catalog(Path(root), table)


def field(first, second, inside=True):
    """Flow (47, 2, 80, 80): inside (or outside) the core `first` up to the turn, then `second`; else the reverse."""
    y, x = np.mgrid[:80, :80] + 0.5 - 40
    core = np.hypot(x, y) <= CORE_PX + 2
    flow = np.zeros((47, 2, 80, 80), np.float32)
    for start, stop, name in ((0, 24, first), (24, 47, second)):
        vector = 2 * np.array(DIRECTIONS[name])[:, None, None]
        flow[start:stop] = np.where(core == inside, vector, -vector)
    return flow


def test_directions_are_read_inside_the_disc_and_by_half(tmp_path):
    store = FlowStore(tmp_path)
    store.write("v0", field("up", "down and left"), np.arange(47), META)
    store.write("v1", field("up", "down and left", inside=False), np.arange(47), META)
    found = name_directions(catalog(tmp_path, NAME, NAME), store)
    assert found["half"].tolist() == ["first", "second"] * 2
    assert found["wanted"].tolist() == ["up", "down and left"] * 2
    assert found["named"].tolist() == ["up", "down and left", "down", "up and right"]
    assert found["hit"].tolist() == [True, True, False, False]
    assert found.loc[0, ["dx_px", "dy_px"]].to_numpy(float) == pytest.approx([0, -2], abs=STEP_PX)
    assert found.loc[0, ["wanted_dx", "wanted_dy"]].tolist() == [0, -1]


class Known:
    """An estimator that answers with one smooth field."""

    name, weights_hash, runs_in_workers = "known", "none", True

    def estimate(self, first, second):
        ramp = torch.linspace(-3, 3, first.shape[-1]).expand(len(first), 2, *first.shape[-2:])
        return ramp.contiguous()


def test_storage_error_is_that_of_the_step(tmp_path):
    videos = catalog(tmp_path, NAME)
    write_clip(tmp_path / "v0.mp4", np.zeros((5, 32, 32, 3), np.uint8))
    store = FlowStore(tmp_path / "flow")
    store.write("v0", np.zeros((4, 2, 32, 32), np.float32), np.arange(4), META)
    table = storage_table(videos, store, Known(), tmp_path / "scratch").set_index("kind")
    assert list(table.index) == ["float32, full size", "int8", "int8, compact"]
    floats, files = table.iloc[0], table.iloc[1:]
    assert floats["kb_per_video"] == 4 * 2 * 32 * 32 * 4 / 1e3 and floats["error_px"] == 0
    # Rounding is off by a quarter of a step on average and by half a step at most, in both components alike here.
    assert files["error_px"].between(0.15 * STEP_PX, 0.5 * STEP_PX).all()
    assert files["error_px"].nunique() == 1 and (table["kb_per_video"] == 4 * table["kb_per_field"]).all()
    assert files["kb_per_video"].is_monotonic_decreasing and (files["read_ms"] > 0).all()
    # A ramp is its own interpolation, which lies between samples that were rounded up and samples rounded down.
    assert (files["full_error_px"] / files["error_px"]).between(0.7, 1).all()


class Stripes(Known):
    """Every other column moves by one pixel: half resolution knows half a pixel everywhere."""

    def estimate(self, first, second):
        flow = torch.zeros(len(first), 2, *first.shape[-2:])
        flow[:, 0, :, ::2] = 1.0
        return flow


def test_full_error_counts_what_half_resolution_loses(tmp_path):
    videos = catalog(tmp_path, NAME)
    write_clip(tmp_path / "v0.mp4", np.zeros((5, 32, 32, 3), np.uint8))
    store = FlowStore(tmp_path / "flow")
    store.write("v0", np.zeros((4, 2, 32, 32), np.float32), np.arange(4), META)
    table = storage_table(videos, store, Stripes(), tmp_path / "scratch").iloc[1:]
    assert (table["error_px"] < STEP_PX / 2).all()
    assert table["full_error_px"].to_numpy() == pytest.approx(0.5, abs=STEP_PX / 2)


def test_spread_takes_both_ends_and_no_more_than_there_are(tmp_path):
    videos = catalog(tmp_path, *"abcdefghi")
    assert videos.spread(3).table["class_name"].tolist() == ["a", "e", "i"]
    assert len(videos.spread(99)) == 9
