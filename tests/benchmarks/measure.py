"""What the benchmarks measure with: seconds of calls that take turns, the most memory that a call holds, and rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from tmal_core.runtime.held_bytes import HeldBytes

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


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
