"""Temporal adapters: a narrow depthwise convolution over time beside a frozen image model (ST-Adapter).

Pan et al., "ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning", NeurIPS 2022, section 3.2.
Letters: B clips, T frames, P patches (rows times columns), D width, C bottleneck.
Patch tokens alone pass the adapter, the CLS token is left as it came, and there is no activation, as in ST-Adapter's
code (the paper's formula has one). Parameter names are the reference's: `fc1`, `conv`, `fc2`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class STAdapter(nn.Module):
    """Tokens plus `fc2(conv(fc1(patch tokens)))`; the identity until trained, as the convolution starts at zero.

    Args:
        width: D of the tokens.
        bottleneck: C of the convolution.
        kernel_size: odd extents over (frames, rows, columns); borders are padded with zeros.

    Raises:
        ValueError: if the kernel is not three odd positive numbers.
    """

    def __init__(self, width: int, bottleneck: int, kernel_size: tuple[int, int, int] = (3, 1, 1)) -> None:
        super().__init__()
        if len(kernel_size) != 3 or any(extent < 1 or extent % 2 == 0 for extent in kernel_size):
            raise ValueError(f"expected a kernel of three odd extents (frames, rows, columns), got {kernel_size}")
        self.fc1 = nn.Linear(width, bottleneck)
        self.conv = nn.Conv3d(
            bottleneck, bottleneck, kernel_size, padding=tuple(extent // 2 for extent in kernel_size), groups=bottleneck
        )
        self.fc2 = nn.Linear(bottleneck, width)
        for parameter in (self.conv.weight, self.conv.bias, self.fc1.bias, self.fc2.bias):
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, num_frames: int) -> Tensor:
        """Adapt the tokens of whole clips.

        Args:
            tokens: (B * T, 1 + P, D), CLS first, the frames of a clip one after another.
            num_frames: T.

        Returns:
            (B * T, 1 + P, D).

        Raises:
            ValueError: if the tokens are not whole clips of this width, or the kernel has rows and columns and the
                patches are not a square.
        """
        if tokens.ndim != 3 or tokens.shape[2] != self.fc1.in_features or num_frames < 1:
            raise ValueError(
                f"expected tokens (B * T, 1 + P, {self.fc1.in_features}) of T >= 1 frames, "
                f"got {tuple(tokens.shape)} and T = {num_frames}"
            )
        if tokens.shape[0] % num_frames:
            raise ValueError(f"expected whole clips of {num_frames} frames, got {tokens.shape[0]} frames")
        if self.conv.kernel_size[1:] != (1, 1):
            mixed_BTPC = self._over_all(self.fc1(tokens[:, 1:]).unflatten(0, (-1, num_frames)))
            return torch.cat([tokens[:, :1], tokens[:, 1:] + self.fc2(mixed_BTPC.flatten(0, 1))], dim=1)
        # The CLS token goes along and is left out at the end: cheaper than taking the patches out of the tokens.
        mixed_BTLC = self._over_time(self.fc1(tokens).unflatten(0, (-1, num_frames)))
        return _AddToPatches.apply(tokens, self.fc2(mixed_BTLC.flatten(0, 1)))

    def _over_time(self, hidden_BTLC: Tensor) -> Tensor:
        weights_KC = self.conv.weight[:, 0, :, 0, 0].t()
        return _OverTime.apply(hidden_BTLC, weights_KC.to(hidden_BTLC.dtype), self.conv.bias.to(hidden_BTLC.dtype))

    def _over_all(self, hidden_BTPC: Tensor) -> Tensor:
        num_patches = hidden_BTPC.shape[2]
        side = math.isqrt(num_patches)
        if side * side != num_patches:
            raise ValueError(f"expected a square of patches for kernel {self.conv.kernel_size}, got {num_patches}")
        rows_and_columns = hidden_BTPC.unflatten(2, (side, side))
        return self.conv(rows_and_columns.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1).flatten(2, 3)


class _OverTime(torch.autograd.Function):
    """A depthwise convolution over time as one shifted product per kernel position: channels stay last, no permutation.

    Hidden (B, T, L, C), kernel (K, C) with odd K and bias (C,) to (B, T, L, C), zeros beyond the clip's ends.
    """

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


class _AddToPatches(torch.autograd.Function):
    """Tokens (n, 1 + P, D) plus a change of the same shape, of which the CLS token gets nothing."""

    @staticmethod
    def forward(ctx, tokens: Tensor, change: Tensor) -> Tensor:
        out = tokens + change
        out[:, 0] = tokens[:, 0]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        for_change = grad.clone()
        for_change[:, 0] = 0
        return grad, for_change
