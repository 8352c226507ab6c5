"""What every test shares: threads, golden tensors, and a small diagnostic data set with settings to match."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tmal_core.config import Settings, load_settings
from tmal_core.data.catalog import Catalog
from tmal_core.tasks.synthesise import synthesise

torch.set_num_threads(1)

ASSETS = Path(__file__).parent / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """Golden tensors of the reference implementations."""
    return ASSETS


@pytest.fixture(scope="session")
def small_settings(tmp_path_factory) -> Settings:
    """The tiny preset, shrunk to what a test can wait for."""
    return load_settings(
        "tiny",
        {
            "data.root": str(tmp_path_factory.mktemp("diagnostic") / "videos"),
            "data.clips_train": 4,
            "data.clips_val": 4,
            "data.clips_test": 4,
            "compute.num_threads": 1,
            "episodes.way": 2,
            "episodes.queries_train": 1,
            "training.episodes": 8,
            "training.validate_every": 4,
            "training.val_episodes": 10,
            "training.warmup": 1,
            "evaluation.episodes": 30,
            "evaluation.bootstrap": 50,
        },
    )


@pytest.fixture(scope="session")
def small_data(small_settings) -> Catalog:
    """The whole diagnostic data set with a few clips per class: real files, made once."""
    return synthesise(small_settings, progress=False)
