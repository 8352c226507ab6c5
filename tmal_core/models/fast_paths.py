"""Which computations take a short cut: the one place where that is decided, by device, dtype and size.

A module reads as its paper does, and a `*_fast.py` beside it computes the same in less time or memory. Each is held
equal to its definition, in values and gradients, by a test of that module; `definitions` switches all of them off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tmal_core.models.open_clip_access import QuickGELU, pools_class_token

_switched_off = False


@contextmanager
def definitions() -> Iterator[None]:
    """Inside, everything is computed as it is defined."""
    global _switched_off
    before, _switched_off = _switched_off, True
    try:
        yield
    finally:
        _switched_off = before


def over_time(kernel_size: tuple[int, ...]) -> bool:
    """A temporal adapter by shifted products: where its convolution spans frames alone."""
    return not _switched_off and tuple(kernel_size[1:]) == (1, 1)


def everywhere() -> bool:
    """A block's attention where its projection wrote queries, keys and values; the flow stem as matrix products."""
    return not _switched_off


def built_weights(query: Tensor) -> bool:
    """Attention with its weights built, where torch's own kernel is slow: in bfloat16 on a CPU.

    It has a quarter of the speed of a matrix product there forwards, and less backwards.
    """
    return query.device.type == "cpu" and query.dtype == torch.bfloat16


def folded_gelu(block: Any) -> bool:
    """A block's feed-forward part with QuickGELU's factors in the products around it."""
    return not _switched_off and isinstance(block.mlp.gelu, QuickGELU)


def class_token_alone(visual: Any) -> bool:
    """The last block for the class token alone, where nothing else of it is read."""
    return not _switched_off and pools_class_token(visual)
