"""A temporal adapter whose kernel spans frames alone, without a permutation and with little kept.

Its depthwise convolution is one shifted product per kernel position, on channels that stay last; the CLS token goes
along and is left out at the end, cheaper than taking the patches out of the tokens.
Letters: B clips, T frames, P patches, L = 1 + P tokens, D width, C bottleneck, K kernel positions.
"""

from typing import Any

import torch
from torch import Tensor


def adapted(adapter: Any, tokens: Tensor, num_frames: int) -> Tensor:
    """As `STAdapter.forward` of the adapter: (B * T, L, D) to the same."""
    hidden_BTLC = adapter.fc1(tokens).unflatten(0, (-1, num_frames))
    mixed_BTLC = over_time(hidden_BTLC, adapter.conv.weight, adapter.conv.bias)
    change = adapter.fc2(mixed_BTLC.flatten(0, 1))
    change[:, 0] = 0
    return tokens + change


def over_time(hidden_BTLC: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Every token over time: (B, T, L, C) to the same, by the convolution's weight (C, 1, K, 1, 1), K odd, and bias."""
    dtype = hidden_BTLC.dtype
    return _OverTime.apply(hidden_BTLC, weight[:, 0, :, 0, 0].t().to(dtype), bias.to(dtype))


class _OverTime(torch.autograd.Function):
    """Hidden (B, T, L, C), kernel (K, C) with odd K and bias (C,) to (B, T, L, C), zeros beyond the clip's ends."""

    @staticmethod
    def forward(ctx, hidden_BTLC: Tensor, kernel_KC: Tensor, bias_C: Tensor) -> Tensor:
        ctx.save_for_backward(hidden_BTLC, kernel_KC)
        middle = len(kernel_KC) // 2
        mixed = torch.addcmul(bias_C, hidden_BTLC, kernel_KC[middle])
        for distance in _distances(kernel_KC, hidden_BTLC):
            mixed[:, distance:].addcmul_(hidden_BTLC[:, :-distance], kernel_KC[middle - distance])
            mixed[:, :-distance].addcmul_(hidden_BTLC[:, distance:], kernel_KC[middle + distance])
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, kernel_KC = ctx.saved_tensors
        middle = len(kernel_KC) // 2
        grad_hidden = grad * kernel_KC[middle]
        grad_kernel = torch.zeros_like(kernel_KC)
        grad_kernel[middle] = _over_rows(grad, hidden)
        for distance in _distances(kernel_KC, hidden):
            grad_hidden[:, :-distance].addcmul_(grad[:, distance:], kernel_KC[middle - distance])
            grad_hidden[:, distance:].addcmul_(grad[:, :-distance], kernel_KC[middle + distance])
            grad_kernel[middle - distance] = _over_rows(grad[:, distance:], hidden[:, :-distance])
            grad_kernel[middle + distance] = _over_rows(grad[:, :-distance], hidden[:, distance:])
        return grad_hidden, grad_kernel, grad.sum((0, 1, 2))


def _distances(kernel_KC: Tensor, hidden_BTLC: Tensor) -> range:
    """How many frames apart the kernel's positions lie, as far as the clip reaches."""
    return range(1, min(len(kernel_KC) // 2 + 1, hidden_BTLC.shape[1]))


def _over_rows(first: Tensor, second: Tensor) -> Tensor:
    """Sum of the products over all but the channels: (..., C) twice to (C,)."""
    return (first * second).flatten(0, -2).sum(0)
