"""Where and with how many threads torch computes, and what its workers send."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from tmal_core.config import Settings
from tmal_core.errors import RunError, SettingsError, TmalError


def set_up(settings: Settings) -> torch.device:
    """Set torch's threads as asked and return the device.

    Raises:
        SettingsError: a GPU was asked for and there is none.
    """
    torch.set_num_threads(settings.compute.num_threads)
    if settings.compute.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "a CUDA GPU (compute.device: cuda)", "none that torch can use", "Set compute.device to cpu."
        )
    return torch.device(settings.compute.device)


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


def loaded(loader: DataLoader) -> Iterator[Any]:
    """What a loader gives, item by item.

    A DataLoader rebuilds its workers' exceptions from one text, and ours have three parts: its dataset must return them
    as values, which are raised here.

    Raises:
        TmalError: a worker sent one.
        RunError: a worker died.
    """
    try:
        for item in loader:
            if isinstance(item, TmalError):
                raise item
            yield item
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        remedy = "Run the same command again: it goes on where it stopped. If memory ran out, use fewer workers."
        raise RunError("workers that live", str(error).splitlines()[0], remedy) from error


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
