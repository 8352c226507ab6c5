"""OTAM, both directions, against the same cell by cell: a training episode with its gradient, and 10,000 episodes.

A training episode is 5-way 1-shot with 5 queries per class, 8 frames: 25 x 5 pairs of clips. At test there is one query
per class; there the cell by cell version answers episode by episode, and a part of them stands for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import plain
import torch
from measure import device, row, taking_turns
from torch import Tensor

from tmal_core.matching import otam

QUERIES, SUPPORTS, FRAMES = 25, 5, 8
EPISODES, ASKED = 10_000, 50
TOLERANCE = 1e-4


def distances_of(*shape: int) -> Tensor:
    """(..., 8, 8) distances between frames, 0.2 to 0.6, as CLIP's features have them."""
    drawn = torch.rand(*shape, FRAMES, FRAMES, generator=torch.Generator().manual_seed(0))
    return (0.2 + 0.4 * drawn).to(device())


def both_ways(function: Callable[[Tensor], Tensor], distances: Tensor) -> tuple[Tensor, Tensor]:
    """Costs, and the gradient of their sum."""
    distances = distances.detach().requires_grad_()
    costs = function(distances)
    costs.sum().backward()
    return costs.detach(), distances.grad


def rows() -> Iterator[dict]:
    """One row per figure."""
    episode = distances_of(QUERIES, SUPPORTS)
    for ours, cells in zip(both_ways(otam, episode), both_ways(plain.otam, episode), strict=True):
        torch.testing.assert_close(ours, cells, atol=TOLERANCE, rtol=0)
    training = {
        "cells": lambda: both_ways(plain.otam, episode),
        "ours": lambda: both_ways(otam, episode),
        "forward": lambda: otam(episode),
    }
    found = taking_turns(training, rounds=15, warm_up=2)
    name = f"otam: forward and backward, {QUERIES} x {SUPPORTS}, {FRAMES} frames"
    yield row(f"{name}: cell by cell / ours", found["cells"] / found["ours"], "x", ">=", 10.0)
    yield row(f"{name}: ours", 1e3 * found["ours"], "ms")
    yield row(f"otam: forward alone, {QUERIES} x {SUPPORTS}: ours", 1e3 * found["forward"], "ms")
    test = distances_of(EPISODES * SUPPORTS, SUPPORTS)
    asked = test[: ASKED * SUPPORTS].split(SUPPORTS)
    for words, run in (("forward", lambda f, d: f(d)), ("forward and backward", both_ways)):
        calls = {
            "cells": lambda run=run: [run(plain.otam, part) for part in asked],
            "ours": lambda run=run: run(otam, test),
        }
        found = taking_turns(calls, rounds=3)
        whole = found["cells"] * EPISODES / ASKED
        name = f"otam: {words}, {EPISODES:,} episodes of {SUPPORTS} x {SUPPORTS}"
        yield row(f"{name}: cell by cell, episode by episode / ours", whole / found["ours"], "x")
        yield row(f"{name}: ours", found["ours"], "s")
