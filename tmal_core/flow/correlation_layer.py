"""Correlation of two feature maps over a grid of displacements (FlowNet, section 3, "correlation layer").

    out[b, (j + r) * (2r + 1) + (i + r), y, x] = 1/C * sum_c first[b, c, y, x] * second[b, c, y + s*j, x + s*i]

for j, i in -r..r (rows outer, columns inner), r = max_displacement // s, zeros outside `second`.

Letters: B batch, C channels, H, W pixels, s stride, r radius in strides, D = (2r + 1)^2 displacements.

Two versions share one autograd function. CUDA tensors in float32, float16 or bfloat16 go to the Triton kernels of
`correlation_triton`; everything else comes here. The torch version turns the sum into matrix products: a pixel meets
only pixels of its own residue (y mod s, x mod s), so within one residue a block of `first` against the rows and
columns it can reach in `second` is one dense product, of which a band of diagonals is the answer. The band is read
through a strided view, so nothing is gathered by index. `second` is rearranged once per sample (a copy of its own
size); all else is one block large, whatever the size of the maps. A loop over displacements instead reads both maps
(2r + 1)^2 times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tmal_core.errors import DataError, SettingsError

# Rows and columns of one block, counted within a residue. Measured at (1, 256, 48, 64) on 2 cores: 8 rows are no
# faster and need twice the buffer, 1 row makes the products too thin.
BLOCK_ROWS = 4
BLOCK_COLUMNS = 32

TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def correlation(first: Tensor, second: Tensor, max_displacement: int = 20, stride: int = 2) -> Tensor:
    """Mean over channels of the products of `first` with displaced copies of `second`.

    Args:
        first: (B, C, H, W) features, floating point.
        second: features of the same shape, dtype and device.
        max_displacement: largest displacement in pixels along each axis; what is no multiple of `stride` is not used.
        stride: step between displacements, in pixels.

    Returns:
        (B, (2r + 1)^2, H, W), r = max_displacement // stride, in the dtype of the inputs; rows outer, columns inner.

    Raises:
        DataError: the two maps differ in shape, dtype or device, are not 4-dimensional or not floating point.
        SettingsError: a negative displacement or a stride below 1.
    """
    if stride < 1 or max_displacement < 0:
        raise SettingsError(
            "a stride of at least 1 and a displacement of at least 0",
            f"stride {stride} and max_displacement {max_displacement}",
            "FlowNet2 uses max_displacement=20, stride=2.",
        )
    if first.dim() != 4 or not first.is_floating_point():
        raise DataError(
            "floating-point features (B, C, H, W)", f"{_describe(first)}", "Add the batch dimension, or call .float()."
        )
    if (first.shape, first.dtype, first.device) != (second.shape, second.dtype, second.device):
        raise DataError(
            f"two feature maps alike ({_describe(first)})",
            f"{_describe(second)} as the second",
            "Give both the same shape, dtype and device.",
        )
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


def _versions(features: Tensor):
    """(forward, gradients) for this tensor's device and dtype."""
    if features.is_cuda and features.dtype in TRITON_DTYPES:
        # Imported here because Triton exists only where CUDA does, and because its interpreter is chosen at import.
        from tmal_core.flow import correlation_triton

        return correlation_triton.correlate, correlation_triton.gradients
    return correlate, gradients


class Block(NamedTuple):
    """A block of `first` within one residue, and what it reaches in `second`.

    `rows`, `columns` index the image; `residue`, `reach_rows`, `reach_columns` index `second` by residue; `into_rows`,
    `into_columns` say where the reach lies in the padded product's (block + 2r) rows and columns.
    """

    rows: slice
    columns: slice
    size: tuple[int, int]
    residue: tuple[int, int]
    reach_rows: slice
    reach_columns: slice
    into_rows: slice
    into_columns: slice


def _axis(length: int, stride: int, radius: int, block: int) -> Iterator[tuple[slice, int, int, slice, slice]]:
    """Along one axis: (positions in the image, their number, residue, reach by residue, where the reach goes)."""
    padded = -(-length // stride)
    for residue in range(min(stride, length)):
        count = len(range(residue, length, stride))
        for start in range(0, count, block):
            stop = min(start + block, count)
            positions = slice(residue + start * stride, residue + (stop - 1) * stride + 1, stride)
            low, high = max(0, start - radius), min(padded, stop + radius)
            offset = radius - start
            yield positions, stop - start, residue, slice(low, high), slice(low + offset, high + offset)


def _blocks(height: int, width: int, radius: int, stride: int) -> Iterator[Block]:
    across = list(_axis(width, stride, radius, BLOCK_COLUMNS))
    for rows, num_rows, residue_y, reach_rows, into_rows in _axis(height, stride, radius, BLOCK_ROWS):
        for columns, num_columns, residue_x, reach_columns, into_columns in across:
            size, residue = (num_rows, num_columns), (residue_y, residue_x)
            yield Block(rows, columns, size, residue, reach_rows, reach_columns, into_rows, into_columns)


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
    for part, place in _residues(split, sample):
        part.copy_(place)
    return split


def _residues(split: Tensor, sample: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Views (rows, columns, C) of the same pixels in both arrangements, residue by residue."""
    stride = split.shape[0]
    for y in range(stride):
        for x in range(stride):
            place = sample[:, y::stride, x::stride].permute(1, 2, 0)
            yield split[y, x, : place.shape[0], : place.shape[1]], place


def correlate(first: Tensor, second: Tensor, radius: int, stride: int) -> Tensor:
    """`correlation` in torch; takes the radius in strides and checks nothing."""
    batch, channels, height, width = first.shape
    side = 2 * radius + 1
    out = first.new_empty(batch, side, side, height, width)
    product = _padded_product(first, radius, stride)
    filled = None
    for b in range(batch):
        reached = _by_residue(second[b], stride)
        for block in _blocks(height, width, radius, stride):
            pixels = first[b, :, block.rows, block.columns].reshape(channels, -1)
            reach = reached[block.residue][block.reach_rows, block.reach_columns]
            dense = (reach.reshape(-1, channels) @ pixels).view(*reach.shape[:2], *block.size)
            inside = (block.into_rows, block.into_columns, *map(slice, block.size))
            if inside != filled:
                # What the last block filled may lie outside the map for this one.
                product.zero_()
                filled = inside
            torch.div(dense, channels, out=product[inside])
            out[b, :, :, block.rows, block.columns] = _band(product, block.size, radius)
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
    product = _padded_product(first, radius, stride)
    for b in range(batch):
        reached = _by_residue(second[b], stride)
        grad_reached = torch.zeros_like(reached) if wanted[1] else None
        for block in _blocks(height, width, radius, stride):
            torch.div(grad[b, :, :, block.rows, block.columns], channels, out=_band(product, block.size, radius))
            inside = product[block.into_rows, block.into_columns, : block.size[0], : block.size[1]]
            reach = reached[block.residue][block.reach_rows, block.reach_columns]
            dense = inside.reshape(reach.shape[0] * reach.shape[1], -1)
            if grad_first is not None:
                pixels = reach.reshape(-1, channels).t() @ dense
                grad_first[b, :, block.rows, block.columns] = pixels.view(channels, *block.size)
            if grad_reached is not None:
                pixels = first[b, :, block.rows, block.columns].reshape(channels, -1)
                share = (dense @ pixels.t()).view(reach.shape)
                grad_reached[block.residue][block.reach_rows, block.reach_columns] += share
        if grad_second is not None:
            for part, place in _residues(grad_reached, grad_second[b]):
                place.copy_(part)
    return grad_first, grad_second
