"""Every container through the real pipeline with `decoder: auto`: prepared, read and shown to flow, frame by frame.

What each frame spells is its own number, so a wrong frame anywhere is seen.
"""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.config import load_settings
from tmal_core.data.clips import evaluation_loader
from tmal_core.data.sets.lists import save_splits
from tmal_core.data.video import decoding as video
from tmal_core.data.video.sampling import grid_positions, train_positions
from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD
from tmal_core.experiment import Experiment
from tmal_core.flow.dis import DIS
from tmal_core.runtime.seeding import generator
from tmal_core.tasks.flow import extract_flow
from tmal_core.tasks.prepare import prepare_data_set

NUM_FRAMES = {"gop_250": 300, "one": 1}
"""Of all others 48."""
SQUARE = 80


@pytest.fixture(scope="module")
def prepared(clips, tmp_path_factory):
    """All clips as a prepared data set, three classes of them; its experiment and catalogue."""
    base = tmp_path_factory.mktemp("pipeline")
    rows = []
    for number, (name, path) in enumerate(sorted(clips.items())):
        split = ("train", "val", "test")[number % 3]
        listed = f"videos/{split}ing/{name}{path.suffix}"
        (base / "tree" / listed).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, base / "tree" / listed)
        rows.append((listed.removesuffix(path.suffix), listed, split, 0, f"{split}ing"))
    save_splits(base / "data", pd.DataFrame(rows, columns=["video", "path", "split", "class_id", "class_name"]))
    changes = {"data.name": "mine", "data.root": str(base / "data"), "prepare.min_frames": 1, "prepare.max_lost": 0.0}
    changes |= {"sampling.resize": SQUARE, "sampling.crop": SQUARE, "compute.num_threads": 1}
    settings = load_settings("hmdb51", {**changes, "compute.num_workers": 2})
    assert settings.data.decoder == "auto"
    return Experiment(settings), prepare_data_set(settings, base / "tree", progress=False).catalog


def names(catalog) -> list[str]:
    return [path.rpartition("/")[2].partition(".")[0] for path in catalog.table["video"]]


def test_the_catalogue_counts_right(prepared, clips):
    _, catalog = prepared
    counts = dict(zip(names(catalog), catalog.table["num_frames"], strict=True))
    assert counts == {name: NUM_FRAMES.get(name, 48) for name in clips}


def test_frames_at_test_and_in_training(prepared, spelled):
    experiment, catalog = prepared
    reader = experiment.reader(catalog, with_flow=False)
    s = experiment.settings.sampling
    for row, count in enumerate(catalog.table["num_frames"]):
        drawn = train_positions(count, s.num_frames, s.grid, generator(0, row))
        for positions in (reader.test_positions(row), drawn, np.unique(grid_positions(count, s.grid))):
            for _ in ("decoded from end to end", "found by a seek"):
                assert spelled(reader.frames(row, positions)) == positions.tolist(), catalog.table["path"][row]
            video._surveys.clear()


def test_what_the_model_gets_from_workers(prepared, spelled):
    """Clips of 80x80 need no resizing, so the numbers can be read off what was normalised."""
    experiment, catalog = prepared
    table = catalog.table
    rows = np.flatnonzero((table["height"] == SQUARE) & (table["width"] == SQUARE))
    assert len(rows) >= len(table) - 2
    reader = experiment.reader(catalog, with_flow=False)
    loader = evaluation_loader(reader, rows, batch_size=4, num_workers=2)
    frames = torch.cat([part.frames for part in loader])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    pictures = ((frames * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
    for row, clip in zip(rows, pictures, strict=True):
        assert spelled(clip) == reader.test_positions(row).tolist(), table["path"][row]


def test_flow_is_estimated_from_each_frame_to_the_next(prepared, spelled, flow_here, monkeypatch):
    experiment, catalog = prepared
    seen: list[tuple[list[int], list[int]]] = []

    def note(self, first, second):
        pairs = ((images.permute(0, 2, 3, 1).numpy()) for images in (first, second))
        seen.append(tuple(spelled(images) for images in pairs))
        return torch.zeros(len(first), 2, *first.shape[-2:])

    monkeypatch.setattr(DIS, "estimate", note)
    assert not extract_flow(experiment, progress=False).broken
    wanted = []
    for count in catalog.table["num_frames"][catalog.table["num_frames"] > 1]:
        positions = np.unique(grid_positions(count, experiment.settings.sampling.grid))
        wanted.append((positions.tolist(), (positions + 1).tolist()))
    assert seen == wanted
