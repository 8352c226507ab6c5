"""Where and with how many threads torch computes, and the workers that read for it."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from tmal_core.config import Settings
from tmal_core.errors import SettingsError
from tmal_core.processes import interrupts_held

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


def set_up(settings: Settings) -> torch.device:
    """Set torch's threads as asked and return the device.

    Raises:
        SettingsError: a GPU was asked for and there is none.
    """
    torch.set_num_threads(settings.compute.num_threads)
    keep_freed_memory()
    if settings.compute.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "a CUDA GPU (compute.device: cuda)", "none that torch can use", "Set compute.device to cpu."
        )
    return torch.device(settings.compute.device)


def keep_freed_memory() -> bool:
    """Let the C library keep what tensors give back, for the next step's tensors of the same sizes.

    Left alone, glibc returns every freed block of some megabytes to the system and asks for it again a moment later,
    and each of its pages is then cleared and mapped anew when it is first written: about a tenth of a training step of
    the tiny preset.

    Returns:
        Whether the C library could be told (glibc can).
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system
        return False
    return bool(tell(_TRIM_THRESHOLD, 2**31 - 1)) and bool(tell(_MMAP_THRESHOLD, 2**30))


class Loader(DataLoader):
    """A DataLoader whose workers are spawned: OpenMP, CUDA and decoders do not survive a fork of what has used them.

    Args:
        dataset: picklable.
        num_workers: processes beside this one; 0 does everything here.
        options: further arguments of DataLoader.
    """

    def __init__(self, dataset: Dataset, num_workers: int, **options: Any) -> None:
        if num_workers:
            options |= {"multiprocessing_context": "spawn", "worker_init_fn": partial(_start_worker, os.getpid())}
        super().__init__(dataset, num_workers=num_workers, **options)

    def __iter__(self):
        with interrupts_held():
            return super().__iter__()


def _start_worker(parent: int, index: int) -> None:
    """What every worker of a Loader begins with.

    Args:
        parent: process id of the process that made the loader. The loader's own watch over it begins when a worker is
            up: for a parent that was killed before, the worker would wait forever, so it ends here.
        index: of the worker, as the loader passes it.
    """
    if os.getppid() != parent:
        raise SystemExit(1)
    cv2.setNumThreads(1)  # the workers are the parallelism
    torch.set_num_threads(1)


def machine_name(*devices: str) -> str:
    """What measures time here, in words: the processor, torch's threads, and the GPU if it is among the devices.

    Args:
        devices: those that are used, as torch writes them.
    """
    words = [_processor(), f"{torch.get_num_threads()} threads"]
    words += [torch.cuda.get_device_name(device) for device in devices if torch.device(device).type == "cuda"]
    return ", ".join(words)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
