"""Extraction: the right pairs, the same bytes however it was run, nothing lost in silence."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tmal_core.data.sampling import grid_positions
from tmal_core.errors import RunError, SettingsError, WeightsError
from tmal_core.flow import extract as extract_module
from tmal_core.flow.extract import extract, reduce_frames
from tmal_core.flow.store import FlowStore


class MeanGrey:
    """Stands in for a network: dx is a tenth of the first frame's grey, dy of the difference to the second's."""

    name = "raft_small"
    weights_hash = "f" * 64
    runs_in_workers = False

    def __init__(self):
        self.batches = []

    def estimate(self, first, second):
        self.batches.append(len(first))
        grey = [frames.float().mean(dim=(1, 2, 3)) / 10 for frames in (first, second)]
        flow = torch.stack([grey[0], grey[1] - grey[0]], dim=1)
        return flow[:, :, None, None].expand(-1, -1, *first.shape[2:])


def files_of(root: Path) -> dict[str, bytes]:
    """Stored files; not the hidden folders in which a killed process was writing."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("[0-9a-f][0-9a-f]/*.safetensors"))}


def report_rows(report) -> list[dict]:
    with report.path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def undisturbed(videos, tmp_path_factory) -> dict[str, bytes]:
    root, table = videos
    store = FlowStore(tmp_path_factory.mktemp("undisturbed"))
    report = extract(table, root, store, "dis", grid=8, progress=False)
    assert report.counts == {"made": len(table)} and not report.broken
    return files_of(store.root)


def test_flow_is_that_of_the_video(videos, tmp_path):
    root, table = videos
    store = FlowStore(tmp_path)
    extract(table, root, store, "dis", grid=8, progress=False)
    for index, row in table.iterrows():
        stored = store.read(row.video)
        assert stored.positions.tolist() == sorted(set(grid_positions(row.num_frames, 8).tolist()))
        assert stored.frame_size == (64, 96) and stored.meta.grid == "8" and stored.meta.source_hash == row.sha256
        if row.num_frames == 1:
            assert not stored.flow_px.any()
        elif row.num_frames <= 3:
            inner = stored.flow_px[:, :, 6:-6, 8:-8]
            assert np.median(inner[:, 0]) == pytest.approx(2 + index % 3, abs=0.2)
            assert np.median(inner[:, 1]) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(("num_workers", "grid"), [(0, 8), (0, "all"), (1, 8)])
def test_networks_get_each_pair_once_in_batches(brightening, tmp_path, monkeypatch, num_workers, grid):
    root, table = brightening
    estimator = MeanGrey()
    monkeypatch.setattr(extract_module, "build_estimator", lambda *arguments: estimator)
    store = FlowStore(tmp_path)
    extract(table, root, store, "raft_small", grid=grid, num_workers=num_workers, batch_pairs=5, progress=False)
    positions = grid_positions(20, grid)
    stored = store.read("grey")
    assert stored.positions.tolist() == positions.tolist()
    assert sum(estimator.batches) == len(positions) and max(estimator.batches) == 5
    np.testing.assert_allclose(stored.flow_px[:, 0, 5, 5], positions, atol=0.4)
    np.testing.assert_allclose(stored.flow_px[:, 1, 5, 5], 1, atol=0.4)


def test_second_run_keeps_everything(videos, undisturbed, tmp_path):
    root, table = videos
    store = FlowStore(tmp_path)
    extract(table, root, store, grid=8, progress=False)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    report = extract(table, root, store, grid=8, progress=False)
    assert report.counts == {"kept": len(table)}
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    assert files_of(tmp_path) == undisturbed


def test_workers_give_the_same_bytes(videos, undisturbed, tmp_path):
    root, table = videos
    before = torch.get_rng_state()
    report = extract(table, root, FlowStore(tmp_path), grid=8, num_workers=2, progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert [outcome.video for outcome in report.outcomes] == table["video"].tolist()
    assert files_of(tmp_path) == undisturbed


def test_killed_and_restarted_ends_with_the_same_bytes(videos, undisturbed, tmp_path):
    root, table = videos
    table.to_parquet(tmp_path / "table.parquet")
    script = (
        "import sys, pandas as pd; from tmal_core.flow.extract import *; from tmal_core.flow.store import FlowStore;"
        "extract(pd.read_parquet(sys.argv[1]), sys.argv[2], FlowStore(sys.argv[3]), grid=8, progress=False)"
    )
    store = FlowStore(tmp_path / "flow")
    arguments = [sys.executable, "-c", script, tmp_path / "table.parquet", root, store.root]
    process = subprocess.Popen(list(map(str, arguments)))
    deadline = time.monotonic() + 60
    while len(files_of(store.root)) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    done = files_of(store.root)
    assert 2 <= len(done) < len(table), "the kill came too late to show anything"
    report = extract(table, root, store, grid=8, progress=False)
    assert report.counts == {"kept": len(done), "made": len(table) - len(done)}
    assert files_of(store.root) == undisturbed


def test_shards_divide_the_table(videos, undisturbed, tmp_path, monkeypatch):
    root, table = videos
    monkeypatch.setenv("WORLD_SIZE", "3")
    seen = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        report = extract(table, root, FlowStore(tmp_path), grid=8, progress=False)
        assert report.path.name == f"flow_report.{rank}of3.csv" and report.path.is_file()
        seen += [outcome.video for outcome in report.outcomes]
    assert sorted(seen) == sorted(table["video"]) and files_of(tmp_path) == undisturbed


def test_broken_videos_are_listed_and_the_rest_goes_on(videos, tmp_path):
    source, table = videos
    root = tmp_path / "videos"
    shutil.copytree(source, root)
    table = table.copy()
    (root / "clip1.mp4").write_bytes(b"not a video")
    table.loc[1, "sha256"] = extract_module._sha256(root / "clip1.mp4")
    (root / "clip2.mp4").unlink()
    (root / "clip3.mp4").write_bytes((root / "clip4.mp4").read_bytes())
    table.loc[5, "num_frames"] = 99
    store = FlowStore(tmp_path / "flow")
    # Flow of an earlier file of the same name must not survive as if it were this one's.
    extract(videos[1].iloc[2:3], source, store, grid=16, progress=False)
    report = extract(table, root, store, grid=8, progress=False)
    assert report.counts == {"broken": 4, "made": len(table) - 4}
    assert "4 broken; see" in str(report)
    rows = report_rows(report)
    assert [row["video"] for row in rows] == ["clip1", "clip2", "clip3", "clip5"]
    assert {row["status"] for row in rows} == {"broken"}
    for row, words in zip(rows, ["clip1.mp4", "No such file", "was replaced", "clip5.mp4"], strict=True):
        assert words in row["reason"]
    assert not any(store.path(row["video"]).exists() for row in rows)


def test_stale_and_damaged_files_are_made_again(videos, undisturbed, tmp_path):
    root, table = videos
    store = FlowStore(tmp_path)
    extract(table[:2], root, store, grid=16, progress=False)
    extract(table[2:], root, store, grid=8, progress=False)
    damaged = store.path("clip4")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    report = extract(table, root, store, grid=8, progress=False)
    assert report.counts == {"remade": 3, "kept": len(table) - 3} and not report.broken
    reasons = [(row["video"], row["status"], row["reason"].split(":")[0]) for row in report_rows(report)]
    assert reasons == [("clip0", "remade", "stale"), ("clip1", "remade", "stale"), ("clip4", "remade", "damaged")]
    assert files_of(tmp_path) == undisturbed


def test_frames_are_reduced_never_enlarged():
    frames = np.zeros((2, 300, 401, 3), np.uint8)
    frames[:, :, 200:] = 200
    reduced = reduce_frames(frames)
    assert reduced.shape == (2, 256, 342, 3) and reduced[0, 5, 5, 0] == 0 and reduced[0, 5, -5, 0] == 200
    assert reduce_frames(frames[:, :200]).shape == (2, 200, 401, 3)
    assert reduce_frames(np.zeros((1, 640, 320, 3), np.uint8)).shape == (1, 512, 256, 3)


def test_scale_is_recorded(tmp_path, monkeypatch, videos):
    root, table = videos
    monkeypatch.setattr(extract_module, "reduce_frames", lambda frames: reduce_frames(frames, 32))
    store = FlowStore(tmp_path)
    extract(table[:1], root, store, grid=8, progress=False)
    stored = store.read("clip0")
    assert stored.meta.scale == 0.5 and stored.frame_size == (32, 48) and stored.flow_px.shape[2:] == (16, 24)


def test_wrong_settings_come_before_any_work(videos, tmp_path, monkeypatch):
    root, table = videos
    store = FlowStore(tmp_path / "flow")
    with pytest.raises(SettingsError, match="flow estimator among"):
        extract(table, root, store, "farneback")
    with pytest.raises(WeightsError, match="no such file"):
        extract(table, root, store, "raft_large", weights_dir=tmp_path)
    with pytest.raises(SettingsError, match="0 <= RANK < WORLD_SIZE, got 3 of 3"):
        extract(table, root, store, rank=3, world_size=3)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(SettingsError, match="whole numbers in RANK and WORLD_SIZE"):
        extract(table, root, store)
    assert not store.root.exists()


def test_full_disk_ends_the_extraction(videos, tmp_path, monkeypatch):
    root, table = videos

    def write(*arguments):
        raise RunError("room on the disk", "a full disk", "Free some space.")

    store = FlowStore(tmp_path)
    monkeypatch.setattr(store, "write", write)
    with pytest.raises(RunError, match="a full disk"):
        extract(table, root, store, grid=8, progress=False)


class DyingStore(FlowStore):
    """A store whose writing takes the process down, as a crash in a decoder would."""

    def write(self, *arguments):
        os._exit(9)


def test_a_worker_that_dies_is_an_error_not_a_hang(videos, tmp_path):
    root, table = videos
    with pytest.raises(RunError, match=r"workers that live, got DataLoader worker .*Run the same command again"):
        extract(table, root, DyingStore(tmp_path), grid=8, num_workers=1, progress=False)
