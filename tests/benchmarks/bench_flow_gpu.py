"""Flow on a GPU: the correlation kernel against what its memory traffic allows, and networks in low precision.

Memory traffic is what has to be moved at least: both maps read once, the output written once. What the GPU moves is
measured in the same run, by copying a large tensor. Networks have their official weights where they are here, random
ones elsewhere, and the name of the figure says which: with random weights only the speed means something.

Without a GPU there is one row that says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tmal_core.data.diagnostic.known_flow import known_clips
from tmal_core.errors import WeightsError
from tmal_core.flow.correlation_layer import correlation
from tmal_core.flow.flownet2 import FlowNet2, load_flownet2
from tmal_core.flow.raft import RAFT, load_raft
from tmal_core.runtime.devices import machine_name
from tmal_core.runtime.weights_files import entry_of, require

CORRELATION_SHAPE = (32, 256, 48, 64)
SIDE, PAIRS = 256, 16
ROUNDS = 20
FREE = {"bar": None, "limit": None}
HALVES = (torch.bfloat16, torch.float16)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[object], nn.Module]]] = {
    "flownet2": (lambda: FlowNet2("2"), lambda path: load_flownet2(path, "2")),
    "raft_large": (lambda: RAFT("raft_large"), lambda path: load_raft("raft_large", path)),
}


def rows() -> Iterator[dict]:
    """One row per figure: name, value, unit, bar (">=" or "<="), limit (None where there is no bar), machine."""
    if not torch.cuda.is_available():
        yield {"name": "flow on a GPU: none at hand, not measured", "value": None, "unit": "", **FREE}
        return
    yield from measured(torch.device("cuda"))


def measured(device: torch.device, shape: tuple[int, ...] = CORRELATION_SHAPE, side: int = SIDE) -> Iterator[dict]:
    """The rows of a device; sizes can be made smaller to try the benchmark itself."""
    machine = {"machine": machine_name(str(device))}
    for dtype in (torch.float32, *HALVES):
        yield {**kernel_row(device, dtype, shape), **machine}
    for name in NETWORKS:
        for row in network_rows(name, device, side):
            yield {**row, **machine}


def kernel_row(device: torch.device, dtype: torch.dtype, shape: tuple[int, ...]) -> dict:
    """Share of the bandwidth of a copy that correlation reaches."""
    generator = torch.Generator().manual_seed(0)
    pair = [torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2)]
    out = correlation(*pair)
    traffic = 2 * pair[0].nbytes + out.nbytes
    source = torch.empty(max(traffic, 1 << 20), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / seconds(lambda: target.copy_(source), device)
    reached = traffic / seconds(lambda: correlation(*pair), device)
    name = f"correlation {_word(dtype)}, batch {shape[0]}: bandwidth / that of a copy"
    return {"name": name, "value": 100 * reached / copied, "unit": "%", "bar": ">=", "limit": 60.0}


def network_rows(name: str, device: torch.device, side: int) -> Iterator[dict]:
    """Pairs a second in float32 and under autocast, and how far low precision moves the flow."""
    fresh, load = NETWORKS[name]
    try:
        model, weights = load(require(entry_of(name))[0]), "official weights"
    except WeightsError:
        torch.manual_seed(0)
        model, weights = fresh(), "random weights"
    model = model.eval().requires_grad_(False).to(device)
    first, second = (frames.to(device).float() for frames in _pairs(side))
    exact = None
    for dtype in (torch.float32, *HALVES):
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            flow = model(first, second).float()
            speed = len(first) / seconds(lambda: model(first, second), device)
        words = f"{name} ({weights}) {_word(dtype)} at {side}x{side}"
        yield {"name": f"{words}: speed", "value": speed, "unit": "pairs/s", **FREE}
        if exact is None:
            exact = flow
            continue
        error_px = (flow - exact).norm(dim=1).mean().item()
        yield {"name": f"{words}: distance to float32", "value": error_px, "unit": "px", "bar": "<=", "limit": 0.05}


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Median time of a call, all work of the device done."""
    times = []
    for number in range(ROUNDS + 3):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 3:  # compiling and warming up
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _pairs(side: int) -> tuple[Tensor, Tensor]:
    """Neighbouring frames (PAIRS, 3, side, side) uint8 of clips that move smoothly."""
    firsts, moved = [], []
    for clip in known_clips():
        frames = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame in clip.frames]
        firsts += frames[:-1]
        moved += frames[1:]
    chosen = np.linspace(0, len(firsts) - 1, PAIRS).round().astype(int)
    return tuple(
        torch.from_numpy(np.stack([frames[index] for index in chosen])).permute(0, 3, 1, 2)
        for frames in (firsts, moved)
    )


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
