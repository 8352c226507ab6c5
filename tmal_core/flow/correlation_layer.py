"""Correlation of two feature maps over a grid of displacements (FlowNet, section 3, "correlation layer").

    out[b, (j + r) * (2r + 1) + (i + r), y, x] = 1/C * sum_c first[b, c, y, x] * second[b, c, y + s*j, x + s*i]

for j, i in -r..r (rows outer, columns inner), r = max_displacement // s, zeros outside `second`.

Letters: B batch, C channels, H, W pixels, s stride, r radius in strides, D = (2r + 1)^2 displacements.

Two versions share one autograd function. CUDA tensors in float32, float16 or bfloat16 go to the Triton kernels of
`correlation_triton`; everything else comes here. The torch version turns the sum into matrix products: a pixel meets
only pixels of its own residue (y mod s, x mod s), so within one residue a block of `first` against the rows and
columns it can reach in `second` is one dense product, of which a band of diagonals, read through a strided view, is
what is wanted. `second` is rearranged once per sample; all else is one block large, whatever the size of the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tmal_core.errors import DataError, SettingsError

# Of one block, counted within a residue: 8 rows are no faster, 1 row makes the products too thin.
BLOCK_ROWS, BLOCK_COLUMNS = 4, 32
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def correlation(first: Tensor, second: Tensor, max_displacement: int = 20, stride: int = 2) -> Tensor:
    """Mean over channels of the products of `first` with displaced copies of `second`.

    Args:
        first, second: (B, C, H, W) floating-point features of the same shape, dtype and device.
        max_displacement: largest displacement in pixels along each axis; what is no multiple of `stride` is not used.
        stride: step between displacements, in pixels.

    Returns:
        (B, (2r + 1)^2, H, W), r = max_displacement // stride, in the dtype of the inputs; rows outer, columns inner.

    Raises:
        DataError: the two maps differ in shape, dtype or device, are not 4-dimensional or not floating point.
        SettingsError: a negative displacement or a stride below 1.

    >>> features = torch.ones(1, 8, 4, 4)
    >>> matches = correlation(features, features, max_displacement=2, stride=1)
    >>> matches.shape, matches[0, 12, 0, 0].item(), matches[0, 0, 0, 0].item()  # in the middle, beyond the border
    (torch.Size([1, 25, 4, 4]), 1.0, 0.0)
    """
    if stride < 1 or max_displacement < 0:
        got, remedy = f"stride {stride} and max_displacement {max_displacement}", "FlowNet2 uses 20 and stride 2."
        raise SettingsError("a stride of at least 1 and a displacement of at least 0", got, remedy)
    if first.dim() != 4 or not first.is_floating_point():
        remedy = "Add the batch dimension, or call .float()."
        raise DataError("floating-point features (B, C, H, W)", _describe(first), remedy)
    if (first.shape, first.dtype, first.device) != (second.shape, second.dtype, second.device):
        got, remedy = f"{_describe(second)} as the second", "Give both the same shape, dtype and device."
        raise DataError(f"two feature maps alike ({_describe(first)})", got, remedy)
    # Autocast would round the products' operands; the dtype of the features already says what is wanted.
    with torch.autocast(first.device.type, enabled=False):
        return _Correlation.apply(first, second, max_displacement // stride, stride)


def _describe(features: Tensor) -> str:
    return f"{tuple(features.shape)} {str(features.dtype).removeprefix('torch.')} on {features.device}"


class _Correlation(torch.autograd.Function):
    """Chooses the version by device; the gradient is written out because autograd would keep every block."""

    @staticmethod
    def forward(ctx, first: Tensor, second: Tensor, radius: int, stride: int) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.radius, ctx.stride = radius, stride
        forward, ctx.gradients = _versions(first)
        return forward(first, second, radius, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        first, second = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        return *ctx.gradients(grad, first, second, ctx.radius, ctx.stride, wanted), None, None


def _versions(features: Tensor) -> tuple[Callable, Callable]:
    """(forward, gradients) for this tensor's device and dtype."""
    if features.is_cuda and features.dtype in TRITON_DTYPES:
        # Imported here because Triton exists only where CUDA does, and because its interpreter is chosen at import.
        from tmal_core.flow import correlation_triton

        return correlation_triton.correlate, correlation_triton.gradients
    return correlate, gradients


class _Span(NamedTuple):
    """A block of `first` along one axis, within one residue, and what it reaches in `second`."""

    positions: slice  # in the image
    size: int  # number of positions
    residue: int
    reach: slice  # in `second` by residue
    into: slice  # where the reach lies among the padded product's (block + 2r) rows or columns


def _spans(length: int, stride: int, radius: int, block: int) -> Iterator[_Span]:
    padded = -(-length // stride)
    for residue in range(min(stride, length)):
        count = len(range(residue, length, stride))
        for start in range(0, count, block):
            stop = min(start + block, count)
            positions = slice(residue + start * stride, residue + (stop - 1) * stride + 1, stride)
            low, high = max(0, start - radius), min(padded, stop + radius)
            offset = radius - start
            yield _Span(positions, stop - start, residue, slice(low, high), slice(low + offset, high + offset))


def _blocks(height: int, width: int, radius: int, stride: int) -> list[tuple[_Span, _Span]]:
    """Rows and columns of every block."""
    rows, columns = _spans(height, stride, radius, BLOCK_ROWS), _spans(width, stride, radius, BLOCK_COLUMNS)
    return list(product(rows, columns))


def _padded_product(features: Tensor, radius: int, stride: int) -> Tensor:
    """Zeros (rows + 2r, columns + 2r, rows, columns): the products of all a block can reach with the block's pixels."""
    height, width = (-(-length // stride) for length in features.shape[-2:])
    rows, columns = min(BLOCK_ROWS, height), min(BLOCK_COLUMNS, width)
    return features.new_zeros(rows + 2 * radius, columns + 2 * radius, rows, columns)


def _band(product: Tensor, size: tuple[int, int], radius: int) -> Tensor:
    """View (2r + 1, 2r + 1, rows, columns) of the padded product: entry (j, i, y, x) is product[y + j, x + i, y, x]."""
    reach_row, reach_column, row, column = product.stride()
    side = 2 * radius + 1
    return product.as_strided((side, side, *size), (reach_row, reach_column, row + reach_row, column + reach_column))


def _by_residue(sample: Tensor, stride: int) -> Tensor:
    """(C, H, W) to (s, s, ceil(H/s), ceil(W/s), C), zeros where H or W is no multiple of s."""
    channels, height, width = sample.shape
    split = sample.new_zeros(stride, stride, -(-height // stride), -(-width // stride), channels)
    for y, x in product(range(stride), repeat=2):
        pixels = sample[:, y::stride, x::stride].permute(1, 2, 0)
        split[y, x, : pixels.shape[0], : pixels.shape[1]] = pixels
    return split


def correlate(first: Tensor, second: Tensor, radius: int, stride: int) -> Tensor:
    """`correlation` in torch; takes the radius in strides and checks nothing."""
    batch, channels, height, width = first.shape
    side = 2 * radius + 1
    out = first.new_empty(batch, side, side, height, width)
    padded = _padded_product(first, radius, stride)
    blocks = _blocks(height, width, radius, stride)
    filled = None
    for b in range(batch):
        reached = _by_residue(second[b], stride)
        for rows, columns in blocks:
            size = (rows.size, columns.size)
            pixels = first[b, :, rows.positions, columns.positions].reshape(channels, -1)
            reach = reached[rows.residue, columns.residue, rows.reach, columns.reach]
            dense = (reach.reshape(-1, channels) @ pixels).view(*reach.shape[:2], *size)
            inside = (rows.into, columns.into, *map(slice, size))
            if inside != filled:
                # What the last block filled may lie outside the map for this one.
                padded.zero_()
                filled = inside
            torch.div(dense, channels, out=padded[inside])
            out[b, :, :, rows.positions, columns.positions] = _band(padded, size, radius)
    return out.view(batch, side * side, height, width)


def gradients(
    grad: Tensor, first: Tensor, second: Tensor, radius: int, stride: int, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients for `first` and `second`, None where not wanted; the same blocks, the products run backwards."""
    batch, channels, height, width = first.shape
    side = 2 * radius + 1
    grad = grad.reshape(batch, side, side, height, width)
    grad_first = torch.empty_like(first) if wanted[0] else None
    grad_second = torch.empty_like(second) if wanted[1] else None
    # Outside the band the buffer stays zero, and the band has the same place in every block: one clearing is enough.
    padded = _padded_product(first, radius, stride)
    blocks = _blocks(height, width, radius, stride)
    for b in range(batch):
        reached = _by_residue(second[b], stride)
        grad_reached = torch.zeros_like(reached)
        for rows, columns in blocks:
            size, place = (rows.size, columns.size), (b, slice(None), rows.positions, columns.positions)
            torch.div(grad[b, :, :, rows.positions, columns.positions], channels, out=_band(padded, size, radius))
            inside = padded[rows.into, columns.into, : rows.size, : columns.size]
            where = (rows.residue, columns.residue, rows.reach, columns.reach)
            reach = reached[where]
            dense = inside.reshape(reach.shape[0] * reach.shape[1], -1)
            if grad_first is not None:
                grad_first[place] = (reach.reshape(-1, channels).t() @ dense).view(channels, *size)
            if grad_second is not None:
                grad_reached[where] += (dense @ first[place].reshape(channels, -1).t()).view(reach.shape)
        if grad_second is not None:
            for y, x in product(range(stride), repeat=2):
                pixels = grad_second[b, :, y::stride, x::stride]
                pixels.copy_(grad_reached[y, x, : pixels.shape[1], : pixels.shape[2]].permute(2, 0, 1))
    return grad_first, grad_second
