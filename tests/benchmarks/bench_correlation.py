"""Correlation against a loop over the displacements, at FlowNetC's size: speed and memory, as ratios from one run.

Memory is what tensors hold at its highest point during the call, inputs included, over output plus inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from measure import peak_bytes, taking_turns
from torch import Tensor
from torch.nn import functional as F

from tmal_core.flow.correlation_layer import correlation

SHAPE = (1, 256, 48, 64)
MAX_DISPLACEMENT, STRIDE = 20, 2
ROUNDS = 5


def loop(first: Tensor, second: Tensor) -> Tensor:
    """The definition: one product and one mean per displacement."""
    height, width = first.shape[-2:]
    padded = F.pad(second, (MAX_DISPLACEMENT,) * 4)
    steps = range(0, 2 * MAX_DISPLACEMENT + 1, STRIDE)
    return torch.stack(
        [(first * padded[:, :, y : y + height, x : x + width]).mean(dim=1) for y in steps for x in steps], dim=1
    )


def pair() -> tuple[Tensor, Tensor]:
    """Two random feature maps of FlowNetC's size."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def forward_memory_ratio() -> float:
    """Highest memory of a call, inputs included, over output plus inputs."""
    first, second = pair()
    inputs = first.nbytes + second.nbytes
    return (inputs + peak_bytes(lambda: correlation(first, second))) / (inputs + correlation(first, second).nbytes)


def backward_memory_ratio() -> float:
    """Highest memory of the gradient, over everything it must have: inputs, output's gradient, inputs' gradients."""
    first, second = (features.requires_grad_() for features in pair())
    out = correlation(first, second)
    given = first.nbytes + second.nbytes + out.nbytes
    grad = torch.ones_like(out)
    peak = peak_bytes(lambda: torch.autograd.grad(out, (first, second), grad, retain_graph=True))
    return (given + peak) / (given + first.nbytes + second.nbytes)


def speed_ratio() -> float:
    """Median time of the loop over median time of ours."""
    first, second = pair()
    times = taking_turns({"loop": lambda: loop(first, second), "ours": lambda: correlation(first, second)}, ROUNDS)
    return times["loop"] / times["ours"]


def rows() -> Iterator[dict]:
    """One row per figure: name, value, unit, bar (">=" or "<="), limit (None where there is no bar)."""
    yield {"name": "correlation: loop / ours", "value": speed_ratio(), "unit": "x", "bar": ">=", "limit": 5.0}
    yield {
        "name": "correlation: memory / (output + inputs)",
        "value": forward_memory_ratio(),
        "unit": "x",
        "bar": "<=",
        "limit": 1.5,
    }
    yield {
        "name": "correlation: memory of the gradient / (inputs + output + gradients)",
        "value": backward_memory_ratio(),
        "unit": "x",
        "bar": "<=",
        "limit": 1.5,
    }
