"""Shards as jobs: the same bytes, one report, early and clear errors."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import submitit

from tmal_core.errors import RunError, SettingsError, WeightsError
from tmal_core.flow.cluster import _Shard, extract_on_cluster
from tmal_core.flow.extraction import extract
from tmal_core.flow.store import FlowStore


def stored(root):
    return {path.name: path.read_bytes() for path in root.glob("??/*.safetensors")}


def test_local_jobs_give_the_same_bytes_and_one_report(videos, tmp_path):
    root, table = videos
    table = table[5:].reset_index(drop=True)
    extract(table, root, FlowStore(tmp_path / "here"), grid=8, progress=False)
    table.loc[1, "num_frames"] = 99
    store = FlowStore(tmp_path / "jobs")
    report = extract_on_cluster(table, root, store, cluster="local", num_shards=2, log_dir=tmp_path / "logs", grid=8)
    assert [outcome.video for outcome in report.outcomes] == table["video"].tolist()
    assert report.counts == {"made": 5, "broken": 1}
    assert [line.split(",")[:2] for line in (store.root / "flow_report.csv").read_text().splitlines()] == [
        ["video", "status"],
        ["clip6", "broken"],
    ]
    expected = stored(tmp_path / "here")
    del expected["clip6.safetensors"]
    assert stored(store.root) == expected


def test_a_preempted_job_is_queued_again_as_it_is():
    shard = _Shard({"grid": 8}, rank=1, world_size=4)
    assert shard.checkpoint().function is shard


def test_a_failed_job_names_its_shard_and_log(videos, tmp_path, monkeypatch):
    root, table = videos

    def result():
        raise submitit.core.utils.FailedJobError("Job failed\nMemoryError")

    class Executor:
        def __init__(self, **arguments):
            pass

        def update_parameters(self, **parameters):
            assert parameters["cpus_per_task"] == 4 and parameters["timeout_min"] == 7

        def batch(self):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def submit(self, shard):
            return SimpleNamespace(result=result, paths=SimpleNamespace(stderr="logs/1_log.err"))

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    options = {"cluster": "slurm", "num_shards": 2, "log_dir": tmp_path, "parameters": {"timeout_min": 7}}
    with pytest.raises(RunError, match=r"shard 0 of 2 to finish, got MemoryError\. See logs/1_log\.err"):
        extract_on_cluster(table, root, FlowStore(tmp_path), **options, num_workers=3)


def test_wrong_settings_come_before_any_job(videos, tmp_path, monkeypatch):
    root, table = videos
    options = {"cluster": "local", "num_shards": 2, "log_dir": tmp_path / "logs"}
    store = FlowStore(tmp_path)
    with pytest.raises(SettingsError, match="flow estimator among"):
        extract_on_cluster(table, root, store, "farneback", **options)
    with pytest.raises(WeightsError, match="no such file"):
        extract_on_cluster(table, root, store, "raft_small", **options, weights_dir=tmp_path)
    with pytest.raises(SettingsError, match="at least 1 shard, got 0"):
        extract_on_cluster(table, root, store, **options | {"num_shards": 0})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SettingsError, match=r"an environment without it\. Install it"):
        extract_on_cluster(table, root, store, **options)
    assert not (tmp_path / "logs").exists()
