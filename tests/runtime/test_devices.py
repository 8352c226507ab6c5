"""Where torch computes, and the machine in words."""

from __future__ import annotations

import ctypes
import sys

import pytest
import torch

from tmal_core.config import ComputeSettings
from tmal_core.errors import SettingsError
from tmal_core.runtime.devices import Loader, keep_freed_memory, machine_name, set_up


def test_a_gpu_that_is_asked_for_and_missing_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"a CUDA GPU \(compute.device: cuda\), got none"):
        set_up(ComputeSettings(device="cuda", num_threads=1))
    assert set_up(ComputeSettings(num_threads=1)) == torch.device("cpu")


def test_workers_hand_over_tensors_whatever_the_folder_of_temporary_files_is_called(tmp_path, monkeypatch):
    """A socket's path has 107 bytes at most, and clusters like long names."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    numbers = torch.arange(3.0)
    items = Loader(torch.utils.data.TensorDataset(numbers), 1, batch_size=None, timeout=200)
    assert torch.equal(torch.cat([item.view(1) for (item,) in items]), numbers)


def test_the_machine_in_words(monkeypatch):
    words = machine_name("cpu")
    assert words.endswith(f", {torch.get_num_threads()} threads") and len(words.split(",")[0]) > 2
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert machine_name("cpu", "cuda:1") == f"{words}, GPU of cuda:1"


HELD = """
import ctypes, torch
from tmal_core.runtime.devices import keep_freed_memory

class Statistics(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks "
                "fordblks keepcost".split()]

glibc = ctypes.CDLL(None)
glibc.mallinfo2.restype = Statistics
torch.set_num_threads(1)

def held_mb():  # free and still the process's, after a step with tensors of a size that glibc never keeps by itself
    kept = [torch.ones(1 << 24) for _ in range(2)]
    del kept
    return glibc.mallinfo2().fordblks >> 20

print(held_mb(), keep_freed_memory(), held_mb())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="only glibc from 2.33 on says what it holds",
)
def test_memory_that_a_step_gives_back_is_there_for_the_next(run_code):
    as_it_is, told, kept = run_code(HELD).split()
    assert told == "True" and int(as_it_is) < 64 and int(kept) >= 128


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert keep_freed_memory() is False
