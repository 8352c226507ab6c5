"""The flow stem's strided convolutions as products of matrices, whose gradients cost less.

Letters: n frames, S side of the flow, P patches, C width of motion tokens.
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import gelu, linear


def stem_tokens(stem: Any, scaled: Tensor) -> Tensor:
    """Scaled flow (n, 2, S, S), or whatever the stem is of, to motion tokens (n, P, C).

    The flow is laid out once so that all a cell of the second convolution reads lies together.
    """
    first, _, second, _, third = stem
    fine, coarse = first.kernel_size[0], second.kernel_size[0]
    side = scaled.shape[-1] // (fine * coarse)
    whole = scaled[..., : side * coarse * fine, : side * coarse * fine]
    cells = whole.unflatten(3, (side, coarse, fine)).unflatten(2, (side, coarse, fine))
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7).flatten(5).flatten(3, 4)  # (n, side, side, coarse^2, 2 fine^2)
    hidden = gelu(linear(cells, first.weight.flatten(1), first.bias))
    hidden = gelu(linear(hidden.flatten(3), second.weight.permute(0, 2, 3, 1).flatten(1), second.bias))
    return third(hidden.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
