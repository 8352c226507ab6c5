"""Flow as models read it: of the right file, at the right positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tmal_core.config import load_settings
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError
from tmal_core.experiment import Experiment
from tmal_core.flow.extraction import extract
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


def test_extracted_flow_is_read_through_the_settings(videos, tmp_path):
    root, table = videos
    settings = load_settings("tiny", {"data.root": str(tmp_path), "sampling.grid": 8})
    catalog = Catalog(root, table)
    reader = Experiment(settings).reader(catalog, with_flow=True)._flow
    assert reader.estimator == "dis" and reader.store.root == tmp_path / "flow" / "dis"
    extract(table, root, reader.store, grid=8, progress=False)
    one_frame = table.index[table["num_frames"] == 1][0]
    assert not reader.read(one_frame, np.zeros(8, np.int64)).flow_px.any()
    short = table.index[table["num_frames"] == 3][0]
    flow = reader.read(short, np.array([0, 0, 1, 1])).flow_px
    assert np.array_equal(flow[0], flow[1])
    assert np.median(flow[:, 0, 8:-8, 10:-10]) == pytest.approx(2 + short % 3, abs=0.2)
