"""What every test shares: its own beginning, golden tensors, and a small diagnostic data set with settings to match."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from tmal_core.config import Settings, load_settings
from tmal_core.data.sets.catalog import Catalog, save_catalog
from tmal_core.data.video.sampling import grid_positions
from tmal_core.flow.extraction import extract
from tmal_core.flow.store import FlowMeta, FlowStore, flow_store
from tmal_core.runtime.seeding import seed_everything
from tmal_core.tasks import flow as flow_task
from tmal_core.tasks.synthesise import make_diagnostic

THREADS = int(os.environ.get("TMAL_TEST_THREADS", "1"))
ASSETS = Path(__file__).parent / "assets"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With TMAL_TEST_ORDER=3: modules in random order number 3, and the tests of each."""
    if order := os.environ.get("TMAL_TEST_ORDER"):
        draw = random.Random(int(order))
        places = {path: draw.random() for path in sorted({item.path for item in items})}
        items.sort(key=lambda item: (places[item.path], draw.random()))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef) -> None:
    _as_if_it_came_first(fixturedef.argname)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    _as_if_it_came_first(item.name)


def _as_if_it_came_first(name: str) -> None:
    """What others drew from the global generators, and the threads they chose, decide nothing."""
    seed_everything(0, name)
    torch.set_num_threads(THREADS)


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """Annotated shapes are not checked (pyproject.toml says of what they are): the functions' own checks are asked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Golden tensors of the reference implementations."""
    return ASSETS


@pytest.fixture(scope="session")
def run_code() -> Callable[..., str]:
    """Run Python code in a process of its own, with more in its environment; what it printed."""

    def run(code: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def lives() -> Callable[[int], bool]:
    """Whether a process is there and no zombie (nobody may be there to collect it)."""

    def asked(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return asked


@pytest.fixture(scope="session")
def small_settings(tmp_path_factory) -> Settings:
    """The tiny preset, shrunk to what a test can wait for."""
    return load_settings(
        "tiny",
        {
            "data.root": str(tmp_path_factory.mktemp("diagnostic") / "videos"),
            "data.families": ["appearance", "order", "motion", "semantic"],  # one of each kind
            "data.clips_train": 4,
            "data.clips_val": 4,
            "data.clips_test": 4,
            "compute.num_threads": THREADS,
            "model.centre": "none",
            "model.smoothing": 0.5,
            "model.smoothing_unit": "absolute",
            "model.ts_fsar.side_width": 64,
            "model.ts_fsar.temporal_blocks": [1, 3],
            "episodes.way": 2,
            "episodes.queries_train": 1,
            "training.episodes": 8,
            "training.validate_every": 4,
            "training.val_episodes": 10,
            "training.warmup": 1,
            "training.accumulation": 4,
            "evaluation.episodes": 30,
            "evaluation.bootstrap": 50,
        },
    )


@pytest.fixture(scope="session")
def small_data(small_settings) -> Catalog:
    """The whole diagnostic data set with a few clips per class: real files, made once."""
    return make_diagnostic(small_settings.data, num_workers=2, progress=False)


@pytest.fixture
def flow_here(monkeypatch) -> list[dict[str, object]]:
    """Makes flow in this process, where it can be watched and no worker has to start; with what it was asked for."""
    asked: list[dict[str, object]] = []

    def here(**arguments):
        asked.append(arguments)
        return extract(**{**arguments, "num_workers": 0})

    monkeypatch.setattr(flow_task, "extract", here)
    return asked


@pytest.fixture(scope="session")
def small_flow(small_settings, small_data) -> FlowStore:
    """Stored flow of that data set: noise, but in the right place and of the right origin."""
    store = flow_store(small_settings.data.folder, small_settings.flow)
    rng = np.random.default_rng(0)
    for row in small_data.table.itertuples():
        at = np.unique(grid_positions(row.num_frames, small_settings.sampling.grid))
        flow_px = rng.normal(0, 2, (len(at), 2, 6, 6)).astype(np.float32)
        meta = FlowMeta("dis", "none", str(small_settings.sampling.grid), row.sha256)
        store.write(row.video, flow_px, at, meta)
    return store


@pytest.fixture(scope="session")
def few_settings(small_settings, small_data, small_flow, tmp_path_factory) -> Settings:
    """Settings of a part of that data set, for tests that train on and encode whole splits.

    Four classes of each family and split; of `order` and `semantic` whole groups.
    """
    root, table = tmp_path_factory.mktemp("few"), small_data.table
    classes = table.drop_duplicates("class_name").sort_values(["group", "class_name"])
    kept = classes.groupby(["split", "family"]).head(4)["class_name"]
    save_catalog(root, table[table["class_name"].isin(kept)], small_data.root)
    (root / "flow").symlink_to(small_data.root / "flow")
    return small_settings.replace({"data.root": str(root)})


@pytest.fixture
def no_sockets_left():
    """torch.hub leaves the connection of a broken download to the collector, which would tell of it in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
