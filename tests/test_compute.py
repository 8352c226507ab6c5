"""Where torch computes, and the machine in words."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
import torch

from tmal_core.compute import keep_freed_memory, machine_name, set_up
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


FAULTS = """
import resource, sys, torch
from tmal_core.compute import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
torch.set_num_threads(1)

def step():
    kept = [torch.ones(1 << 24) for _ in range(2)]  # of a size that glibc never keeps by itself

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to keep memory")
def test_memory_that_a_step_gives_back_is_there_for_the_next():
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("kept") < 200 < 20_000 < faults("as it is")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert keep_freed_memory() is False
