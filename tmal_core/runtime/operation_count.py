"""Floating-point operations of a computation, counted from the shapes of its tensors: the same on every machine.

Counted are products of matrices, convolutions and attention, a multiplication and an addition as two operations; sums,
norms, softmax, activations and OTAM's recursion are not, as is the custom (`torch.utils.flop_counter`). Two of its
habits are put right: attention is counted on a CPU too, where torch has a kernel that it does not know, and the
gradient of a grouped convolution's weight costs what its forward pass does, not as many times that as there are groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


def flops_of(call: Callable[[], object]) -> int:
    """Of one call, what autograd does in it included.

    >>> left, right = torch.ones(2, 3), torch.ones(3, 5)
    >>> flops_of(lambda: left @ right)
    60
    """
    known = {torch.ops.aten.convolution_backward: _convolution_backward}
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one kernel for all of attention, of which nothing is counted
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=known) as counted:
            call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counted.get_total_flops()


def _convolution_backward(
    grad_shape: Any,
    x_shape: Any,
    weight_shape: Any,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: list[bool],
    out_shape: Any = None,
    **_: Any,
) -> int:
    """Each of the gradients of input and weight multiplies the same pairs of numbers as the forward pass."""
    forward = conv_flop_count(list(x_shape), list(weight_shape), list(grad_shape), transposed)
    return forward * sum(output_mask[:2])
