"""`extract_flow`: settings reach the extraction, and flow lands where readers look for it."""

from __future__ import annotations

import shutil

import pytest

from tmal_core.config import load_settings
from tmal_core.data.sets.catalog import save_catalog
from tmal_core.errors import DataError, SettingsError
from tmal_core.experiment import Experiment
from tmal_core.flow.extraction import extract
from tmal_core.tasks import flow as flow_task
from tmal_core.tasks.flow import extract_flow


@pytest.fixture
def settings(videos, tmp_path):
    root, table = videos
    table = table[6:].assign(split="train", class_name="pan", family="all", role="both", group="", fps=24.0)
    table = table.assign(base=table["video"], height=64, width=96)
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    save_catalog(tmp_path, table)
    overrides = {"data.root": str(tmp_path), "sampling.grid": 8, "compute.num_threads": 1, "compute.num_workers": 0}
    return load_settings("tiny", overrides)


def test_settings_reach_the_extraction(settings, tmp_path, flow_here):
    experiment = Experiment(settings)
    report = extract_flow(experiment, progress=False)
    assert report.counts == {"made": 5} and flow_here[0]["num_workers"] == 1  # as many as threads
    store = experiment.flow_store
    assert store.root == tmp_path / "flow" / "dis" and not store.compact
    stored = store.read("clip6")
    assert stored.meta.estimator == "dis" and stored.meta.grid == "8" and len(stored.positions) == 8
    assert extract_flow(experiment, progress=False).counts == {"kept": 5}
    compact = experiment.changed({"flow.compact": True, "sampling.grid": 16})
    assert extract_flow(compact, progress=False).counts == {"remade": 5}
    assert compact.flow_store.compact


def test_jobs_take_the_same_settings(settings, tmp_path, monkeypatch, flow_here):
    """The jobs themselves are tested in test_cluster; here, that they are asked for what `extract` would be."""
    asked = {}
    monkeypatch.setattr(flow_task, "extract_on_cluster", lambda **arguments: asked.update(arguments))
    extract_flow(Experiment(settings), cluster="slurm", num_shards=2, parameters={"timeout_min": 5})
    assert asked["cluster"] == "slurm" and asked["num_shards"] == 2 and asked["parameters"] == {"timeout_min": 5}
    assert asked["log_dir"] == tmp_path / "flow" / "dis" / "jobs" and asked["progress"]
    for name in ("cluster", "num_shards", "log_dir", "parameters", "progress"):
        del asked[name]
    assert asked.pop("num_workers") == 1
    assert extract(**asked, progress=False).counts == {"made": 5}
    assert extract_flow(Experiment(settings), progress=False).counts == {"kept": 5}


def test_jobs_may_have_a_gpu_that_the_machine_which_queues_them_lacks(settings, monkeypatch):
    asked = {}
    monkeypatch.setattr(flow_task, "extract_on_cluster", lambda **arguments: asked.update(arguments))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with_gpu = Experiment(settings.replace({"compute.device": "cuda"}))
    extract_flow(with_gpu, cluster="slurm", num_shards=2)
    assert str(asked["device"]) == "cuda"
    for cluster in ("local", None):
        with pytest.raises(SettingsError, match="a CUDA GPU"):
            extract_flow(with_gpu, cluster=cluster, progress=False)


def test_errors_of_the_settings(settings, tmp_path):
    with pytest.raises(SettingsError, match="got 'farneback'"):
        extract_flow(Experiment(settings.replace({"flow.estimator": "farneback"})), progress=False)
    with pytest.raises(DataError, match="a data folder"):
        extract_flow(Experiment(settings.replace({"data.root": str(tmp_path / "nowhere")})), progress=False)
