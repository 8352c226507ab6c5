"""Where torch computes, and the machine in words."""

from __future__ import annotations

import pytest
import torch

from tmal_core.compute import machine_name, set_up
from tmal_core.config import load_settings
from tmal_core.errors import SettingsError


def test_a_gpu_that_is_asked_for_and_missing_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"a CUDA GPU \(compute.device: cuda\), got none"):
        set_up(load_settings("tiny", {"compute.device": "cuda", "compute.num_threads": 1}))
    assert set_up(load_settings("tiny", {"compute.num_threads": 1})) == torch.device("cpu")


def test_the_machine_in_words(monkeypatch):
    words = machine_name("cpu")
    assert words.endswith(f", {torch.get_num_threads()} threads") and len(words.split(",")[0]) > 2
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert machine_name("cpu", "cuda:1") == f"{words}, GPU of cuda:1"
