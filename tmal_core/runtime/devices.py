"""Where and with how many threads torch computes, and the workers that read for it."""

from __future__ import annotations

import ctypes
import os
import platform
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from tmal_core.config import ComputeSettings
from tmal_core.errors import RunError, SettingsError, TmalError
from tmal_core.runtime.processes import interrupts_held

# Of a folder: what the system allows for the path of a socket, less what Python appends.
_LONGEST_SOCKET_FOLDER = 107 - len("/pymp-12345678/listener-12345678")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


def set_up(compute: ComputeSettings) -> torch.device:
    """Set torch's threads as asked and return the device; SettingsError if it is a GPU and there is none."""
    torch.set_num_threads(compute.num_threads)
    keep_freed_memory()
    if compute.device == "cuda" and not torch.cuda.is_available():
        got, remedy = "none that torch can use", "Set compute.device to cpu."
        raise SettingsError("a CUDA GPU (compute.device: cuda)", got, remedy)
    return torch.device(compute.device)


def keep_freed_memory() -> bool:
    """Let the C library keep what tensors give back, for the next step's tensors of the same sizes.

    Left alone, glibc returns every freed block of some megabytes to the system and asks for it again a moment later,
    and each of its pages is then cleared and mapped anew when it is first written: about a tenth of a training step of
    the tiny preset. Whether the C library could be told (glibc can).
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system
        return False
    return bool(tell(_TRIM_THRESHOLD, 2**31 - 1)) and bool(tell(_MMAP_THRESHOLD, 2**30))


class Loader(DataLoader):
    """A DataLoader whose workers are spawned: OpenMP, CUDA and decoders do not survive a fork of what has used them.

    Errors are the project's own with workers too. A DataLoader rebuilds a worker's exception from one text, and ours
    have three parts: so they travel as values, and are raised here.

    Args:
        dataset: picklable.
        num_workers: processes beside this one; 0 does everything here.
        options: further arguments of DataLoader. A `collate_fn` meets errors among its items.

    Raises:
        RunError: while it is read, a worker died.
    """

    def __init__(self, dataset: Dataset, num_workers: int, **options: Any) -> None:
        if num_workers:
            options |= {"multiprocessing_context": "spawn", "worker_init_fn": partial(_start_worker, os.getpid())}
        super().__init__(_ErrorsAsValues(dataset), num_workers=num_workers, **options)

    def __iter__(self) -> Any:
        with interrupts_held():
            return _raise_errors(super().__iter__())


class _ErrorsAsValues(Dataset):
    """A dataset that returns errors of ours as values."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except TmalError as error:
            return error


def _raise_errors(items: Iterator[Any]) -> Iterator[Any]:
    """The items; what of them is an error of ours is raised, and so is the death of a worker."""
    try:
        for item in items:
            if isinstance(item, TmalError):
                raise item
            yield item
    except BaseException as error:  # also when who reads them wants no more: training that stops early
        # Workers end now. The iterator stands in a cycle: the collector takes its semaphores away before it calls it,
        # and a worker that is still starting meets that with a traceback.
        getattr(items, "_shutdown_workers", lambda: None)()  # without workers there is none
        if not isinstance(error, RuntimeError) or "DataLoader worker" not in str(error):
            raise
        remedy = "Run the same command again: it goes on where it stopped. "
        remedy += "If memory ran out, use fewer workers (compute.num_workers)."
        raise RunError("workers that live", str(error).splitlines()[0], remedy) from error


def _start_worker(parent: int, index: int) -> None:
    """What every worker of a Loader begins with.

    The loader's own watch over `parent` begins when a worker is up: for a parent that was killed before, the worker
    would wait forever, so it ends here.
    """
    if os.getppid() != parent:
        raise SystemExit(1)
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_SOCKET_FOLDER:
        # Tensors are handed over through a socket in this folder. Where its name has no room the worker says nothing
        # at all, and the loader waits for ever.
        system = ("/tmp", "/var/tmp", "/dev/shm")
        tempfile.tempdir = next((name for name in system if os.access(name, os.W_OK | os.X_OK)), "/tmp")
    cv2.setNumThreads(1)  # the workers are the parallelism
    torch.set_num_threads(1)


def machine_name(*devices: str) -> str:
    """What measures time here, in words: the processor, torch's threads, and of the devices that are used the GPUs."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    words = [next(names, platform.processor() or platform.machine()), f"{torch.get_num_threads()} threads"]
    words += [torch.cuda.get_device_name(device) for device in devices if torch.device(device).type == "cuda"]
    return ", ".join(words)
