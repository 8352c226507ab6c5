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
import pandas as pd
import pytest
import torch

from tmal_core.data.video import read_frames
from tmal_core.data.video.sampling import grid_positions
from tmal_core.errors import RunError, SettingsError, WeightsError
from tmal_core.flow import extraction as extract_module
from tmal_core.flow.extraction import extract, reduce_frames
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


# The second store waits behind its fourth file to be killed: in the process that makes the flow, or in its workers,
# which go on once it is dead. However slow the machine, the kill comes in the middle.
SCRIPT = """
import sys, os, pathlib, time, pandas as pd
from tmal_core.flow.extraction import *
from tmal_core.flow.store import FlowStore

class Waiting(FlowStore):
    def write(self, *arguments):
        parent = os.getppid()
        while len(list(self.root.glob("??/*.safetensors"))) > 3 and os.getppid() == parent:
            time.sleep(0.01)
        return super().write(*arguments)

def run(store=FlowStore, **options):
    extract(pd.read_parquet(sys.argv[1]), sys.argv[2], store(sys.argv[3]), grid=8, progress=False, **options)
"""


def start(videos, folder: Path, lines: str, *launcher: str, **options) -> subprocess.Popen:
    """`lines` after SCRIPT in a process of its own; flow goes to `folder`/flow."""
    root, table = videos
    table.to_parquet(folder / "table.parquet")
    (folder / "script.py").write_text(f"{SCRIPT}\nif __name__ == '__main__':\n    {lines}\n")
    arguments = (folder / "script.py", folder / "table.parquet", root, folder / "flow")
    return subprocess.Popen([sys.executable, *launcher, *map(str, arguments)], **options)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_killed_and_restarted_ends_with_the_same_bytes(videos, undisturbed, tmp_path, num_workers):
    root, table = videos
    store = FlowStore(tmp_path / "flow")
    process = start(videos, tmp_path, f"run(Waiting, num_workers={num_workers})")
    while len(files_of(store.root)) < 4 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    done = files_of(store.root)
    assert 4 <= len(done) < len(table)
    # Workers that outlive their parent for a moment may still be writing: whoever is last writes the same.
    report = extract(table, root, store, grid=8, progress=False)
    assert set(report.counts) == {"kept", "made"} and report.counts["kept"] >= len(done)
    assert files_of(store.root) == undisturbed


DEATHS = {
    "in the middle of its bytes": "write_bytes = lambda self, data: (open(self, 'wb', 0).write(data[:9]), os._exit(9))",
    "before it is moved to its place": "replace = lambda self, target: os._exit(9)",
}


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_killed_while_writing_a_file_leaves_nothing_half(videos, undisturbed, tmp_path, death):
    root, table = videos
    assert start(videos, tmp_path, f"pathlib.Path.{death}; run()").wait() == 9
    store = FlowStore(tmp_path / "flow")
    assert [path for path in store.root.rglob("*") if path.is_file()], "it died before it wrote anything"
    assert not files_of(store.root)
    assert extract(table, root, store, grid=8, progress=False).counts == {"made": len(table)}
    assert files_of(store.root) == undisturbed


SUICIDE = (
    "import multiprocessing.popen_spawn_posix as spawn; launch = spawn.Popen._launch; "
    "spawn.Popen._launch = lambda self, process: (launch(self, process), print(self.pid, flush=True), "
    "os.kill(os.getpid(), 9)); run(num_workers=1)"
)


def test_a_worker_whose_parent_was_killed_at_once_does_not_stay(videos, tmp_path, lives):
    """Killed between starting the worker and its first word, when nobody watches yet."""
    process = start(videos, tmp_path, SUICIDE, stdout=subprocess.PIPE, text=True)
    with process.stdout:
        worker = int(process.stdout.readline())
    assert process.wait() == -9
    deadline = time.monotonic() + 200
    while not (gone := not lives(worker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not gone:
        os.kill(worker, 9)
    assert gone, "the worker waits for a parent that is dead"


def test_torchrun_starts_shards_without_a_process_group(videos, undisturbed, tmp_path):
    lines = "import torch.distributed as d; run(); assert not d.is_initialized()"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(videos, tmp_path, lines, *launcher)
    assert process.wait() == 0
    store = tmp_path / "flow"
    assert files_of(store) == undisturbed
    names = {path.name for path in store.glob("*.csv")}
    assert names == {"flow_report.csv", "flow_report.0of2.csv", "flow_report.1of2.csv"}


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


def test_reports_of_shards_are_joined_and_replaced(videos, tmp_path, monkeypatch):
    root, table = videos
    table = table[:4].copy()
    table.loc[[1, 2], "num_frames"] = 99
    store = FlowStore(tmp_path)
    joined = tmp_path / "flow_report.csv"
    run = {"grid": 8, "progress": False}

    def listed():
        with joined.open(newline="") as file:
            return [row["video"] for row in csv.DictReader(file)]

    assert [r.video for r in extract(table, root, store, rank=1, world_size=2, **run).broken] == ["clip1"]
    assert not joined.exists(), "one shard is still to come"
    extract(table, root, store, rank=0, world_size=2, **run)
    assert listed() == ["clip2", "clip1"]
    # Another division: its own reports only, none of the last one's.
    for rank in range(3):
        extract(table, root, store, rank=rank, world_size=3, **run)
    assert sorted(listed()) == ["clip1", "clip2"] and len(list(tmp_path.glob("*.csv"))) == 4
    # While a shard works, its last report must not pass for this run's when another one joins them.
    seen = []
    loader = extract_module.Loader

    def look(*arguments, **options):
        seen.append((tmp_path / "flow_report.0of3.csv").exists())
        return loader(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(extract_module, "Loader", look)
        extract(videos[1][:4], root, store, rank=0, world_size=3, **run)
    assert seen == [False] and (tmp_path / "flow_report.0of3.csv").exists()
    extract(videos[1][:4], root, store, **run)
    assert listed() == [] and [path.name for path in tmp_path.glob("*.csv")] == ["flow_report.csv"]


def test_local_rank_chooses_the_gpu(videos, tmp_path, monkeypatch):
    root, table = videos
    asked = []

    def build(name, weights_dir, device):
        asked.append(str(device))
        return MeanGrey()

    monkeypatch.setattr(extract_module, "build_estimator", build)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for device in ("cuda", "cuda:1", "cpu"):
        extract(table[:0], root, FlowStore(tmp_path), device=device, progress=False)
    monkeypatch.setenv("LOCAL_RANK", "3")
    for device in ("cuda", "cuda:1", "cpu"):
        extract(table[:0], root, FlowStore(tmp_path), device=device, progress=False)
    # Launchers that show each process its own GPU only.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    extract(table[:0], root, FlowStore(tmp_path), device="cuda", progress=False)
    assert asked == ["cuda", "cuda:1", "cpu", "cuda:3", "cuda:1", "cpu", "cuda:0"]
    monkeypatch.setenv("LOCAL_RANK", "x")
    with pytest.raises(SettingsError, match="a whole number in LOCAL_RANK, got 'x'"):
        extract(table[:0], root, FlowStore(tmp_path), device="cuda", progress=False)


def test_large_frames_are_read_in_parts(videos, undisturbed, tmp_path, monkeypatch):
    root, table = videos
    parts = []

    def read(path, positions, decoder):
        parts.append(len(positions))
        return read_frames(path, positions, decoder)

    monkeypatch.setattr(extract_module, "read_frames", read)
    monkeypatch.setattr(extract_module, "DECODED_BYTES", 5 * 64 * 96 * 3)
    extract(table.assign(height=64, width=96), root, FlowStore(tmp_path), grid=8, progress=False)
    assert max(parts) == 5 and len(parts) > len(table)
    assert files_of(tmp_path) == undisturbed


class NotFinite(MeanGrey):
    """A network whose flow overflows on dark frames."""

    def estimate(self, first, second):
        flow = super().estimate(first, second)
        return torch.where(flow[:, :1] < 5, torch.inf, flow)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_flow_that_is_not_finite_breaks_its_video_only(videos, brightening, tmp_path, monkeypatch, num_workers):
    shutil.copy(brightening[0] / "grey.mp4", tmp_path)
    shutil.copy(videos[0] / "clip8.mp4", tmp_path)
    table = pd.concat([brightening[1], videos[1][8:9]])
    monkeypatch.setattr(extract_module, "build_estimator", lambda *arguments: NotFinite())
    store = FlowStore(tmp_path / "flow")
    report = extract(table, tmp_path, store, "raft_small", grid=8, num_workers=num_workers, progress=False)
    assert report.counts == {"broken": 1, "made": 1}
    assert [row["video"] for row in report_rows(report)] == ["grey"]
    assert "finite flow" in report_rows(report)[0]["reason"] and store.path("clip8").exists()


def test_a_video_without_frames_is_broken(videos, tmp_path):
    root, table = videos
    table = table[:2].copy()
    table.loc[0, "num_frames"] = 0
    report = extract(table, root, FlowStore(tmp_path), grid=8, progress=False)
    assert report.counts == {"broken": 1, "made": 1} and "0 in the catalogue" in report.broken[0].reason


def test_a_video_that_is_gone_or_replaced_is_broken_and_its_flow_with_it(videos, tmp_path):
    root, table = videos
    copies, store = tmp_path / "videos", FlowStore(tmp_path / "flow")
    shutil.copytree(root, copies)
    assert extract(table[:3], copies, store, grid=8, progress=False).counts == {"made": 3}
    (copies / "clip0.mp4").unlink()
    shutil.copy(copies / "clip2.mp4", copies / "clip1.mp4")
    # Flow that is whole is kept without a look at its video, so ask for another grid.
    report = extract(table[:3], copies, store, grid=4, progress=False)
    assert report.counts == {"broken": 2, "remade": 1}
    reasons = [row["reason"] for row in report_rows(report) if row["status"] == "broken"]
    assert "clip0.mp4, got No such file or directory. Restore it" in reasons[0]
    assert "clip1.mp4 with sha256" in reasons[1] and "The file was replaced" in reasons[1]
    assert [store.path(video).exists() for video in ("clip0", "clip1", "clip2")] == [False, False, True]


def test_an_error_of_the_settings_comes_back_from_a_worker_as_it_is(videos, tmp_path):
    root, table = videos
    with pytest.raises(SettingsError, match="a decoder among"):
        extract(table, root, FlowStore(tmp_path), grid=8, num_workers=1, decoder="vlc", progress=False)


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
    with pytest.raises(SettingsError, match="a whole number in RANK, got 'first'"):
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
