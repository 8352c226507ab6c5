"""Where the time of a training step goes: its operations by kind, in the forward pass, the backward pass, the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from tmal_core.viz.style import ACCENT, LINE, SOFT, styled

OTHER = "other"
# An operation is of the first kind whose words stand in its name or in the name of what called it.
_KINDS = {
    "OTAM and distances": ("_Alignment", "aten::tensordot", "aten::linalg_vector_norm"),
    "adapters' convolution over time": ("_OverTime", "_AddToPatches"),
    "optimiser": ("Optimizer.step", "aten::_foreach"),
    "attention": ("scaled_dot_product", "aten::bmm", "aten::baddbmm", "oftmax", "BmmBackward"),
    "matrix products": ("aten::addmm", "aten::mm", "convolution"),
    "layer norm": ("layer_norm",),
    "activation": ("silu", "gelu"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::clone", "aten::fill_"),
    "additions": ("aten::add", "aten::sum"),
}
_PARTS = {"forward": ACCENT, "backward": SOFT, "optimiser": LINE}


def kinds_of(step: Callable[[], object]) -> dict[str, dict[str, float]]:
    """Seconds by kind and part of the step, longest first; on a GPU those of its kernels."""
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities, acc_events=True) as profiler:
        step()
    found: dict[str, dict[str, float]] = {}
    for event in profiler.events():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind, part = _place(event)
        parts = found.setdefault(kind, dict.fromkeys(_PARTS, 0.0))
        parts[part] += own / 1e6
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].values())))


def _place(event: FunctionEvent) -> tuple[str, str]:
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    kind = next(
        (kind for kind, words in _KINDS.items() if any(word in name for word in words for name in names)), OTHER
    )
    if kind == "optimiser":
        return kind, "optimiser"
    backward = any(name.startswith("autograd::engine") for name in names)
    return kind, "backward" if backward else "forward"


@styled
def draw(kinds: dict[str, dict[str, float]], path: Path) -> Figure:
    """Bars of seconds by kind, into a PNG."""
    figure = Figure(figsize=(7.5, 0.5 + 0.36 * len(kinds)), layout="constrained")
    axes = figure.subplots()
    whole = sum(sum(parts.values()) for parts in kinds.values())
    left = [0.0] * len(kinds)
    for part, colour in _PARTS.items():
        widths = [parts[part] for parts in kinds.values()]
        axes.barh(range(len(kinds)), widths, left=left, color=colour, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, end in enumerate(left):
        axes.text(end, place, f" {100 * end / whole:.1f} %", va="center")
    axes.set_yticks(range(len(kinds)), list(kinds))
    axes.invert_yaxis()
    axes.set_xlabel("seconds of one training step")
    axes.set_xlim(0, 1.12 * max(left))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=160)
    return figure
