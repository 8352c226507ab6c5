"""Which computations take a short cut: the one place where that is decided, by device, dtype and size.

A module reads as its paper does, and a `*_fast.py` beside it computes the same in less time or memory. Each is held
equal to its definition, in values and gradients, by a test of that module, which sets `definitions`.
"""

from typing import Any

import torch
from torch import Tensor

from tmal_core.models.open_clip_access import QuickGELU, pools_class_token

definitions = False
"""Whether everything is computed as it is defined."""


def over_time(kernel_size: tuple[int, ...]) -> bool:
    """A temporal adapter by shifted products: where its convolution spans frames alone."""
    return not definitions and tuple(kernel_size[1:]) == (1, 1)


def joint_projection() -> bool:
    """A block's attention where its projection wrote queries, keys and values."""
    return not definitions


def stem_products() -> bool:
    """The flow stem as products of matrices."""
    return not definitions


def built_weights(query: Tensor) -> bool:
    """Attention with its weights built in bfloat16 on a CPU, where torch's own kernel has a quarter of the speed."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16


def folded_gelu(block: Any) -> bool:
    """A block's feed-forward part with QuickGELU's factors in the products around it."""
    return not definitions and isinstance(block.mlp.gelu, QuickGELU)


def class_token_alone(visual: Any) -> bool:
    """The last block for the class token alone, where nothing else of it is read."""
    return not definitions and pools_class_token(visual)
