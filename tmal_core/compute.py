"""Where and with how many threads torch computes."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import cv2
import torch

from tmal_core.config import Settings
from tmal_core.errors import SettingsError

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


def start_worker(parent: int, index: int) -> None:
    """What every worker of a DataLoader begins with: one thread, since the workers are the parallelism.

    Args:
        parent: process id of the process that made the loader. The loader's own watch over it begins when a worker is
            up: for a parent that was killed before, the worker would wait forever, so it ends here.
        index: of the worker, as the loader passes it.
    """
    if os.getppid() != parent:
        raise SystemExit(1)
    cv2.setNumThreads(1)
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
