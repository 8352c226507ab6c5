"""An exponential moving average of the weights that are learned: what is validated, kept as best, and used.

After step n the average becomes d average + (1 - d) weights, d = min(decay, (1 + n) / (10 + n)): the first steps, whose
weights are far from where training ends, are soon forgotten (as in TensorFlow's `ExponentialMovingAverage`). Training
itself goes on from the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """The average of some weights by name; without a decay there is none, and the weights themselves count.

    Args:
        weights: that training changes in place.
        decay: in 0..1, without 1.

    >>> weight = torch.zeros(1)
    >>> average = WeightAverage({"w": weight}, decay=0.5)
    >>> average.follow(1), weight.fill_(1.0), average.follow(2)
    (None, tensor([1.]), None)
    >>> with average.in_place():
    ...     print(weight)
    tensor([0.7500])
    >>> weight
    tensor([1.])
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self._weights, self._decay = weights, decay
        self.tensors = {name: weight.detach().clone() for name, weight in weights.items()} if decay else {}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights behind the optimiser's step of this number, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, tensor in self.tensors.items():
            tensor.lerp_(self._weights[name].to(tensor.dtype), 1 - decay)

    @torch.no_grad()
    def go_on_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the average that a checkpoint holds."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in the place of the weights, which come back to the bit."""
        kept = {name: self._weights[name].detach().clone() for name in self.tensors}
        try:
            self._put(self.tensors)
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self._weights[name].copy_(tensor)
