"""OTAM as Triton kernels, forward and backward; see `otam` for the recursions and the letters.

One launch per direction computes all alignments: a lane takes one pair and walks through its matrix column by column.
Numbers are log p in float64, so nothing leaves the range. Tables lie with the pairs last: every step of all lanes reads
and writes memory in order, and a lane reads back only what it wrote itself.
Tested with Triton's interpreter on CPU, and compiled (not run) for compute capability 8.0 and 9.0.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

PAIRS = 128  # alignments of one program, a lane each
LOG_TWO = tl.constexpr(math.log(2))  # made a float64 where it is used: a bare number in a kernel is rounded to float32


@triton.jit
def _plus(a, b):
    """log(exp a + exp b), both finite."""
    return tl.maximum(a, b) + tl.log(1.0 + tl.exp(-tl.abs(a - b)))


@triton.jit
def _forward(
    distances, table, corner, num, SMOOTHING: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ROW: tl.constexpr, COLUMN: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """log p of every cell into the table (COLUMNS, ROWS, num), and at the corner (num,).

    Distances are (frames, frames, num); ROW and COLUMN are steps between neighbours of the alignment's matrix.
    """
    i = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    mask = i < num
    scale, two = tl.full((PAIRS,), -1.0 / SMOOTHING, tl.float64), tl.full((PAIRS,), LOG_TWO, tl.float64)
    total, before = tl.zeros((PAIRS,), tl.float64), tl.zeros((PAIRS,), tl.float64)
    for column in tl.static_range(COLUMNS):
        for row in tl.static_range(ROWS):
            w = tl.load(distances + (row * ROW + column * COLUMN) * num + i, mask=mask, other=0.0).to(tl.float64)
            value = w * scale
            if column > 0:
                here = tl.load(table + ((column - 1) * ROWS + row) * num + i, mask=mask, other=0.0)
                value += here if row == 0 else _plus(before, here)
                before = here
            else:
                if row > 0:
                    value += _plus(before, two)
                before = value
            tl.store(table + (column * ROWS + row) * num + i, value, mask=mask)
            if column == COLUMNS - 1:
                end = value if row == ROWS - 1 else value + two
                total = end if row == 0 else _plus(total, end)
    tl.store(corner + i, total, mask=mask)


@triton.jit
def _backward(
    distances, table, corner, grad, scratch, out, num, SMOOTHING: tl.constexpr, ADD: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ROW: tl.constexpr, COLUMN: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Gradient for the distances, added to `out` or written to it; `scratch` takes log (w q) of two columns."""
    i = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    mask = i < num
    scale, two = tl.full((PAIRS,), -1.0 / SMOOTHING, tl.float64), tl.full((PAIRS,), LOG_TWO, tl.float64)
    end = tl.load(corner + i, mask=mask, other=0.0)
    given = tl.load(grad + i, mask=mask, other=0.0).to(tl.float64)
    below, under = tl.zeros((PAIRS,), tl.float64), tl.zeros((PAIRS,), tl.float64)
    for column in tl.static_range(COLUMNS - 1, -1, -1):
        for row in tl.static_range(ROWS - 1, -1, -1):
            if column == COLUMNS - 1:
                q = tl.zeros((PAIRS,), tl.float64)
                if row < ROWS - 1:
                    q += two
            else:
                right = tl.load(scratch + (((column + 1) % 2) * ROWS + row) * num + i, mask=mask, other=0.0)
                q = right if row == ROWS - 1 else _plus(right, below)
                below = right
            if column == 0 and row < ROWS - 1:
                q = _plus(q, under)
            place = (row * ROW + column * COLUMN) * num + i
            wq = tl.load(distances + place, mask=mask, other=0.0).to(tl.float64) * scale + q
            under = wq
            tl.store(scratch + ((column % 2) * ROWS + row) * num + i, wq, mask=mask)
            p = tl.load(table + (column * ROWS + row) * num + i, mask=mask, other=0.0)
            share = tl.exp(p + q - end) * given
            if ADD:
                share += tl.load(out + place, mask=mask, other=0.0).to(tl.float64)
            tl.store(out + place, share.to(out.dtype.element_ty), mask=mask)


def _directions(d_TUM: Tensor, bidirectional: bool) -> list[dict[str, int]]:
    """The kernels' constants for the query's direction, and for the support's, whose matrix is the transposed one."""
    num_frames, num_support_frames, _ = d_TUM.shape
    query = {"ROWS": num_frames, "COLUMNS": num_support_frames, "ROW": num_support_frames, "COLUMN": 1, "PAIRS": PAIRS}
    support = query | {"ROWS": num_support_frames, "COLUMNS": num_frames, "ROW": 1, "COLUMN": num_support_frames}
    return [query, support] if bidirectional else [query]


class Alignment(torch.autograd.Function):
    """Costs (M,) of distances (T, U, M) float32 or float64, in the distances' dtype, with the analytic gradient."""

    @staticmethod
    def forward(ctx, d_TUM: Tensor, smoothing: float, bidirectional: bool) -> Tensor:
        d_TUM = d_TUM.contiguous()
        num_frames, num_support_frames, num = d_TUM.shape
        grid, tables = (triton.cdiv(num, PAIRS),), []
        cost = d_TUM.new_zeros(num, dtype=torch.float64)
        for constants in _directions(d_TUM, bidirectional):
            table = d_TUM.new_empty(num_frames * num_support_frames, num, dtype=torch.float64)
            corner = d_TUM.new_empty(num, dtype=torch.float64)
            with torch.cuda.device_of(d_TUM):  # Triton launches on the current device, whatever its arguments lie on
                _forward[grid](d_TUM, table, corner, num, smoothing, **constants)
            cost.sub_(corner, alpha=smoothing)
            tables += [table, corner]
        ctx.save_for_backward(d_TUM, *tables)
        ctx.smoothing, ctx.bidirectional = smoothing, bidirectional
        return cost.to(d_TUM.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_M: Tensor) -> tuple[Tensor, None, None]:
        d_TUM, *tables = ctx.saved_tensors
        num = d_TUM.shape[2]
        grid, out, grad_M = (triton.cdiv(num, PAIRS),), torch.empty_like(d_TUM), grad_M.contiguous()
        scratch = d_TUM.new_empty(2 * max(d_TUM.shape[:2]), num, dtype=torch.float64)
        for index, constants in enumerate(_directions(d_TUM, ctx.bidirectional)):
            table, corner = tables[2 * index : 2 * index + 2]
            with torch.cuda.device_of(d_TUM):
                given = d_TUM, table, corner, grad_M, scratch, out, num, ctx.smoothing
                _backward[grid](*given, ADD=index > 0, **constants)
        return out, None, None
