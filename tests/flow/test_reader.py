"""Flow as models read it: of the right file, at the right positions, in the window of the frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.config import load_settings
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video.transforms import ClipTransform
from tmal_core.errors import DataError
from tmal_core.experiment import Experiment
from tmal_core.flow.extraction import extract
from tmal_core.flow.flow_file import STEP_PX
from tmal_core.flow.reader import FlowReader
from tmal_core.flow.store import FlowMeta, FlowStore

META = FlowMeta("dis", "none", "32", source_hash="a" * 64)
HEIGHT, WIDTH = 60, 80


def ramp(num=4):
    """(num, 2, H, W): field t at (x, y) is ((x + 0.5) / 5 + t, (y + 0.5) / 5), so it tells where it was sampled."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    fields = np.stack([np.stack([x / 5 + t, y / 5]) for t in range(num)])
    return fields.astype(np.float32)


@pytest.fixture
def reader(tmp_path):
    table = pd.DataFrame({"video": ["other", "clip/1"], "path": ["o.mp4", "c.mp4"], "sha256": ["b" * 64, "a" * 64]})
    store = FlowStore(tmp_path)
    store.write("clip/1", ramp(), np.array([0, 3, 7, 9]), META)
    return FlowReader(Catalog(Path("unused"), table), store, "dis")


def test_positions_in_any_order(reader):
    stored = reader.read(1, np.array([7, 0, 7]))
    assert stored.frame_size == (HEIGHT, WIDTH) and stored.positions.tolist() == [7, 0, 7]
    assert np.array_equal(stored.flow_px, reader.read(1).flow_px[[2, 0, 2]])
    assert len(reader.read(1).flow_px) == 4


@pytest.mark.parametrize("size", [(60, 80), (120, 240), (30, 40), (45, 64)])
def test_resized_flow_scales_its_vectors(reader, size):
    """At (x, y) of the new frame lies what was at (x, y) of the old one, in pixels of the new one."""
    flow = reader.resized(1, np.array([3, 9]), size)
    assert flow.shape == (2, 2, *size) and flow.dtype == torch.float32
    scale_y, scale_x = size[0] / HEIGHT, size[1] / WIDTH
    x, y = (torch.arange(n) + 0.5 for n in (size[1], size[0]))
    inner = slice(6, -6)
    for t, added in enumerate((1, 3)):
        expected = (x / scale_x / 5 + added) * scale_x
        assert (flow[t, 0, 7] - expected)[inner].abs().max() < 0.51 * STEP_PX * scale_x + 0.01
        assert (flow[t, 1, :, 7] - y / 5)[inner].abs().max() < 0.51 * STEP_PX * scale_y + 0.01


@pytest.mark.parametrize("flip", [False, True])
def test_the_window_is_that_of_the_frames(reader, flip):
    transform = ClipTransform(resize=30, crop=24, flip=True)
    plan = next(
        p for seed in range(99) if (p := transform.plan(HEIGHT, WIDTH, np.random.default_rng(seed))).flip == flip
    )
    flow = reader.window(1, np.array([0]), transform, plan)
    assert flow.shape == (1, 2, 24, 24)
    place = torch.arange(24) + 0.5
    x = plan.left + (24 - place if flip else place)
    # Half the size: (x / 0.5) / 5 of the ramp, times 0.5.
    assert (flow[0, 0, 12] - x / 5 * (-1 if flip else 1)).abs()[2:-2].max() < 0.5 * STEP_PX
    assert (flow[0, 1, :, 12] - (plan.top + place) / 5).abs()[2:-2].max() < 0.5 * STEP_PX


def test_flow_of_something_else_is_an_error(reader):
    with pytest.raises(DataError, match=r"stored flow of video other, got no file .*Run `tmal flow` first"):
        reader.read(0)
    with pytest.raises(DataError, match=r"positions among the 4 stored"):
        reader.read(1, np.array([0, 1]))
    changes = {"flow by raft_small": {"estimator": "raft_small"}, "another file of that name": {"source_hash": "c"}}
    for words, change in changes.items():
        reader.store.write("clip/1", ramp(), np.array([0, 3, 7, 9]), replace(META, **change))
        with pytest.raises(DataError, match=rf"flow of video clip/1 by dis, got .*{words}.* --estimator dis"):
            reader.read(1, np.array([0]))
        with pytest.raises(DataError, match=words):
            reader.resized(1, np.array([0]), (9, 9))


def test_extracted_flow_is_read_through_the_settings(videos, tmp_path):
    root, table = videos
    settings = load_settings("tiny", {"data.root": str(tmp_path), "sampling.grid": 8})
    catalog = Catalog(root, table)
    reader = Experiment(settings).reader(catalog, with_flow=True)._flow
    assert reader.estimator == "dis" and reader.store.root == tmp_path / "flow" / "dis"
    extract(table, root, reader.store, grid=8, progress=False)
    one_frame = table.index[table["num_frames"] == 1][0]
    assert not reader.resized(one_frame, np.zeros(8, np.int64), (64, 96)).any()
    short = table.index[table["num_frames"] == 3][0]
    flow = reader.resized(short, np.array([0, 0, 1, 1]), (128, 192))
    assert torch.equal(flow[0], flow[1])
    assert flow[:, 0, 30:-30, 40:-40].median() == pytest.approx(2 * (2 + short % 3), abs=0.4)
