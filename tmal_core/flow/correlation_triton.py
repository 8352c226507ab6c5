"""The correlation of `correlation_layer` as Triton kernels, forward and backward.

Letters as there: B batch, C channels, H, W pixels, s stride, r radius in strides. One program takes a block of pixels
of one row and one column residue (x mod s), and one row displacement j. Its pixels against the columns they can reach
is a (pixels x reach) product for the tensor cores, of which the band |reach - pixel| <= r is stored. Every output is
written by one program and sums run in a fixed order, so results are deterministic; sums are in float32 for every dtype.

The gradient for `first` sums band x second over the row displacements; the gradient for `second` is the same with the
displacements' sign turned, so one kernel does both.

float32 products are float32 throughout unless `torch.backends.cuda.matmul.allow_tf32` is set. Channels and radius are
compile-time constants: the interpreter takes loop bounds of no other kind from NumPy 2.4 on.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS = 32
BLOCK = 32


@triton.jit
def _place(height, width, stride, RADIUS: tl.constexpr, PIXELS: tl.constexpr, REACH: tl.constexpr):
    """(batch, row, columns of the pixels, columns they reach) of this program, from the first two grid axes."""
    b = tl.program_id(0) // height
    y = tl.program_id(0) % height
    residue = tl.program_id(1) % stride
    start = tl.program_id(1) // stride * PIXELS
    x = residue + (start + tl.arange(0, PIXELS)) * stride
    reach = residue + (start - RADIUS + tl.arange(0, REACH)) * stride
    return b, y, x, reach


@triton.jit
def _correlate(
    first, second, out, height, width, stride, channels: tl.constexpr,
    RADIUS: tl.constexpr, PIXELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    b, y, x, reach = _place(height, width, stride, RADIUS, PIXELS, REACH)
    side: tl.constexpr = 2 * RADIUS + 1
    j = tl.program_id(2)
    second_y = y + (j - RADIUS) * stride
    row_inside = (second_y >= 0) & (second_y < height)
    reach_inside = (reach >= 0) & (reach < width) & row_inside
    product = tl.zeros((PIXELS, REACH), dtype=tl.float32)
    for start in range(0, channels, BLOCK):
        c = start + tl.arange(0, BLOCK)
        plane = (b * channels + c).to(tl.int64) * height * width
        pixel_mask = (x < width)[:, None] & (c < channels)[None, :] & row_inside
        pixels = tl.load(first + plane[None, :] + y * width + x[:, None], mask=pixel_mask, other=0.0)
        reach_mask = (c < channels)[:, None] & reach_inside[None, :]
        reached = tl.load(second + plane[:, None] + second_y * width + reach[None, :], mask=reach_mask, other=0.0)
        product = tl.dot(pixels, reached, product, input_precision=PRECISION)
    # Position in the band: 0..2r for displacements -r..r.
    i = tl.arange(0, REACH)[None, :] - tl.arange(0, PIXELS)[:, None]
    plane = (b * side * side + j * side + i).to(tl.int64) * height * width
    mask = (i >= 0) & (i < side) & (x < width)[:, None]
    tl.store(out + plane + y * width + x[:, None], (product / channels).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _gradient(
    grad, other, out, height, width, stride, channels: tl.constexpr, OF_SECOND: tl.constexpr,
    RADIUS: tl.constexpr, PIXELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient for one map from the other; `x` are columns of the map wanted, `reach` columns of the other."""
    b, y, x, reach = _place(height, width, stride, RADIUS, PIXELS, REACH)
    side: tl.constexpr = 2 * RADIUS + 1
    c = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    plane = (b * channels + c).to(tl.int64) * height * width
    step = tl.arange(0, REACH)[None, :] - tl.arange(0, PIXELS)[:, None]
    in_band = (step >= 0) & (step < side) & (x < width)[:, None] & ((reach >= 0) & (reach < width))[None, :]
    total = tl.zeros((PIXELS, BLOCK), dtype=tl.float32)
    for step_y in range(side):
        other_y = y + (step_y - RADIUS) * stride
        row_inside = (other_y >= 0) & (other_y < height)
        if OF_SECOND:
            # The other map is `first`, from where the displacement is the opposite one.
            displacement = (side - 1 - step_y) * side + (side - 1 - step)
            band = (b * side * side + displacement).to(tl.int64) * height * width + other_y * width + reach[None, :]
        else:
            displacement = step_y * side + step
            band = (b * side * side + displacement).to(tl.int64) * height * width + y * width + x[:, None]
        weights = tl.load(grad + band, mask=in_band & row_inside, other=0.0)
        reach_mask = ((reach >= 0) & (reach < width))[:, None] & (c < channels)[None, :] & row_inside
        reached = tl.load(other + plane[None, :] + other_y * width + reach[:, None], mask=reach_mask, other=0.0)
        total = tl.dot(weights, reached, total, input_precision=PRECISION)
    mask = (x < width)[:, None] & (c < channels)[None, :]
    place = out + plane[None, :] + y * width + x[:, None]
    tl.store(place, (total / channels).to(out.dtype.element_ty), mask=mask)


def _launch(features: Tensor, radius: int, stride: int) -> tuple[tuple[int, int], dict[str, object]]:
    """The first two axes of the grid, and the kernels' constants."""
    batch, channels, height, width = features.shape
    blocks = stride * triton.cdiv(triton.cdiv(width, stride), PIXELS)
    reach = triton.next_power_of_2(PIXELS + 2 * radius)
    precision = "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"
    constants = {"channels": channels, "RADIUS": radius, "PIXELS": PIXELS, "REACH": reach, "BLOCK": BLOCK}
    return (batch * height, blocks), constants | {"PRECISION": precision}


def correlate(first: Tensor, second: Tensor, radius: int, stride: int) -> Tensor:
    """`correlation_layer.correlate` as a kernel: float32, float16 or bfloat16."""
    first, second = first.contiguous(), second.contiguous()
    batch, _, height, width = first.shape
    side = 2 * radius + 1
    out = first.new_empty(batch, side * side, height, width)
    grid, constants = _launch(first, radius, stride)
    with torch.cuda.device_of(first):  # Triton launches on the current device; extraction may use another one
        _correlate[(*grid, side)](first, second, out, height, width, stride, **constants)
    return out


def gradients(
    grad: Tensor, first: Tensor, second: Tensor, radius: int, stride: int, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """`correlation_layer.gradients` as a kernel."""
    grad, first, second = grad.contiguous(), first.contiguous(), second.contiguous()
    height, width = first.shape[-2:]
    grid, constants = _launch(first, radius, stride)
    results: list[Tensor | None] = [None, None]
    for index, other in enumerate((second, first)):
        if wanted[index]:
            results[index] = torch.empty_like(other)
            with torch.cuda.device_of(first):
                _gradient[(*grid, triton.cdiv(first.shape[1], BLOCK))](
                    grad, other, results[index], height, width, stride, OF_SECOND=index == 1, **constants
                )
    return results[0], results[1]
