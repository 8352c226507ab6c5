"""What the benchmarks measure with: seconds of calls that take turns, the most memory that a call holds, and rows."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = Callable[[], object]


def row(name: str, value: float | None, unit: str, bar: str | None = None, limit: float | None = None) -> dict:
    """A figure: its bar is ">=" or "<=" and its limit a number, both None where there is no bar."""
    return {"name": name, "value": value, "unit": unit, "bar": bar, "limit": limit}


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds_of(call: Call) -> float:
    """Seconds of one call, the work that it left to a GPU included."""
    _synchronise()
    start = time.perf_counter()
    call()
    _synchronise()
    return time.perf_counter() - start


def taking_turns(calls: Mapping[str, Call], rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each call; they take turns, so that other load hits all of them."""
    for _ in range(warm_up):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds_of(call))
    return {name: statistics.median(found) for name, found in times.items()}


def peak_bytes(call: Call) -> int:
    """The most memory that tensors made during `call` hold at one time, what is left over at its end included.

    On a GPU that is what its allocator says. On the CPU tensors are counted, not the allocator: what kernels take
    beside them depends on the processor and its libraries.
    """
    if torch.cuda.is_available():
        _synchronise()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        _synchronise()
        del result
        return torch.cuda.max_memory_allocated() - before
    with HeldBytes() as counted:
        result = call()
    del result
    return counted.peak


class HeldBytes(TorchDispatchMode):
    """The bytes of the tensors made inside, and the most that were held at one time; with content or without."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        for given in _tensors((args, kwargs)):  # what was there before: views of it are nothing new
            self._count(given.untyped_storage(), 0)
        result = function(*args, **(kwargs or {}))
        for made in _tensors(result):
            self._count(made.untyped_storage(), made.untyped_storage().nbytes())
        return result

    def _count(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
