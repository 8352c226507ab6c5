"""Python's own random numbers in the form of numpy's generator: from one seed we draw what the reference drew."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np


class _PythonDraws:
    """What our sampling and transforms ask of a generator, one of Python's calls for each."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integers(self, low: Any, high: Any) -> np.ndarray:
        return np.array([self._random.randint(a, b - 1) for a, b in zip(low, high, strict=True)])

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def random(self) -> float:
        return self._random.random()

    def permutation(self, size: int) -> list[int]:
        order = list(range(size))
        self._random.shuffle(order)
        return order


def python_draws(seed: int) -> np.random.Generator:
    """Stands in for `numpy.random.default_rng(seed)` where the reference called Python's `random`."""
    return cast(np.random.Generator, _PythonDraws(seed))
