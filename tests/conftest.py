"""What every test shares: threads, and the folder of golden tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

ASSETS = Path(__file__).parent / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """Golden tensors of the reference implementations."""
    return ASSETS
