"""OTAM's Triton kernels without a GPU: run by Triton's interpreter on CPU tensors, and compiled for real GPUs.

The interpreter is chosen by an environment variable when the kernels are defined, hence the subprocesses.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with torch on Linux only")

# Square and oblong matrices, one row, one column, one cell; more pairs than a program takes; distances beyond the range
# of float32; then the way from `otam` to the kernels and back.
INTERPRETED = """
import torch
from tmal_core.matching import otam_triton
from tmal_core.matching.otam_distance import otam
import sys
module = sys.modules["tmal_core.matching.otam_distance"]

torch.set_num_threads(1)
# Which device the launches are made on is asked of the tensors: of several GPUs it need not be the current one.
asked, device_of = [], torch.cuda.device_of
torch.cuda.device_of = lambda tensor: asked.append(str(tensor.device)) or device_of(tensor)
generator = torch.Generator().manual_seed(0)
cases = [((2, 3, 5, 5), 0.5, 2), ((130, 1, 3, 2), 0.1, 2), ((1, 2, 1, 5), 0.5, 2), ((2, 1, 4, 1), 0.3, 2),
         ((1, 1, 1, 1), 0.5, 2), ((2, 2, 3, 4), 0.5, 2000)]
for shape, smoothing, largest in cases:
    for bidirectional in (True, False):
        for dtype in (torch.float32, torch.float64):
            d = (largest * torch.rand(shape, generator=generator)).to(dtype).requires_grad_()
            direction = torch.rand(shape[:2], generator=generator).to(dtype)
            sides = []
            for kernels in (None, otam_triton):
                module._kernels = lambda _, kernels=kernels: kernels
                cost = otam(d, smoothing, bidirectional)
                sides.append((cost.detach(), *torch.autograd.grad(cost, d, direction)))
            close = dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=1e-5, atol=1e-6)
            for name, got, want in zip(("cost", "gradient"), sides[1], sides[0]):
                assert got.dtype == dtype
                torch.testing.assert_close(got, want, **close, msg=lambda m: f"{name} {shape} {bidirectional}: {m}")
# Forwards and backwards, of two dtypes, in three directions: the query's alone, then both.
assert asked == ["cpu"] * (len(cases) * 2 * 2 * 3), len(asked)
print("compared", len(cases))
"""

COMPILED = """
from types import SimpleNamespace

import sys
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tmal_core.matching import otam_triton as kernels
module = sys.modules["tmal_core.matching.otam_distance"]

class OnGPU(SimpleNamespace):
    def __getitem__(self, _):
        return torch.empty(self.frames, self.frames)

assert module._kernels(OnGPU(is_cuda=True, frames=8)) is kernels
assert module._kernels(OnGPU(is_cuda=True, frames=32)) is None
assert module._kernels(OnGPU(is_cuda=False, frames=8)) is None
# Small, since loops are unrolled: an alignment of 8 x 8 takes seconds to compile.
rows, columns = 4, 5
shape = {"ROWS": rows, "COLUMNS": columns, "ROW": columns, "COLUMN": 1, "PAIRS": kernels.PAIRS, "SMOOTHING": 0.5}
jobs = [(kernels._forward, {"distances": "*fp32", "table": "*fp64", "corner": "*fp64"}, {})]
more = {"distances": "*fp32", "table": "*fp64", "corner": "*fp64", "grad": "*fp32", "scratch": "*fp64", "out": "*fp32"}
jobs += [(kernels._backward, more, {"ADD": True})]
for capability in (80, 90):
    for kernel, pointers, constants in jobs:
        given = shape | constants
        signature = pointers | {"num": "i32"} | dict.fromkeys(given, "constexpr")
        source = ASTSource(kernel, signature, constexprs=given)
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
print("compiled", len(jobs))
"""


def test_kernels_equal_the_torch_version(run_code):
    assert "compared 6" in run_code(INTERPRETED, TRITON_INTERPRET="1")


def test_kernels_compile(run_code, tmp_path: Path):
    assert "compiled 2" in run_code(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
