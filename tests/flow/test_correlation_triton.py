"""The Triton kernels without a GPU: run by Triton's interpreter on CPU tensors, and compiled for real GPUs.

The interpreter is chosen by an environment variable when the kernels are defined, hence the subprocesses.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with torch on Linux only")

# Column blocks full and partly filled, more than one block of channels, rows that meet no row, sides that are no
# multiple of the stride, no displacement; then the way from `correlation` to the kernels and back. bfloat16 is not
# here: the interpreter of Triton 3.6 multiplies its bit patterns.
INTERPRETED = """
import torch
from tmal_core.flow import correlation_layer as in_torch, correlation_triton as in_triton

torch.set_num_threads(1)
# Which device the launches are made on is asked of the tensors: of several GPUs it need not be the current one.
asked, device_of = [], torch.cuda.device_of
torch.cuda.device_of = lambda tensor: asked.append(str(tensor.device)) or device_of(tensor)
generator = torch.Generator().manual_seed(0)
cases = [
    ((2, 5, 4, 5), 1, 2, torch.float32),
    ((1, 3, 1, 35), 2, 1, torch.float32),
    ((1, 33, 3, 4), 1, 3, torch.float32),
    ((1, 2, 2, 3), 0, 1, torch.float32),
    ((1, 5, 3, 5), 1, 2, torch.float16),
]
both = (True, True)
for shape, radius, stride, dtype in cases:
    first, second = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    exact = first.float(), second.float()
    wanted = in_torch.correlate(*exact, radius, stride)
    grad = torch.randn(wanted.shape, generator=generator).to(dtype)
    names = ("output", "gradient of first", "gradient of second")
    wants = (wanted, *in_torch.gradients(grad.float(), *exact, radius, stride, both))
    gots = (
        in_triton.correlate(first, second, radius, stride),
        *in_triton.gradients(grad, first, second, radius, stride, both),
    )
    for name, got, want in zip(names, gots, wants):
        assert got.dtype == dtype and got.shape == want.shape
        error = ((got.float() - want).abs().max() / want.abs().max()).item()
        assert error < (1e-6 if dtype == torch.float32 else 1e-3), (name, shape, radius, stride, dtype, error)

pair = [torch.randn(1, 2, 2, 3, generator=generator, requires_grad=True) for _ in range(2)]
wants = torch.autograd.grad(in_torch.correlation(*pair, 1, 1).square().sum(), pair)
in_torch._versions = lambda features: (in_triton.correlate, in_triton.gradients)
for got, want in zip(torch.autograd.grad(in_torch.correlation(*pair, 1, 1).square().sum(), pair), wants):
    torch.testing.assert_close(got, want)
assert asked == ["cpu"] * (3 * len(cases) + 3), len(asked)
print("compared", len(cases))
"""

COMPILED = """
from types import SimpleNamespace

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tmal_core.flow import correlation_layer, correlation_triton as kernels

for dtype, module in ((torch.bfloat16, kernels), (torch.float32, kernels), (torch.float64, correlation_layer)):
    versions = correlation_layer._versions(SimpleNamespace(is_cuda=True, dtype=dtype))
    assert versions == (module.correlate, module.gradients), dtype
size = {"height": "i32", "width": "i32", "stride": "i32"}
constants = {"channels": 256, "RADIUS": 10, "PIXELS": 32, "REACH": 64, "BLOCK": 32, "PRECISION": "ieee"}
jobs = [(kernels._correlate, ("first", "second", "out"), {})]
jobs += [(kernels._gradient, ("grad", "other", "out"), {"OF_SECOND": of_second}) for of_second in (False, True)]
for kernel, pointers, more in jobs:
    given = constants | more
    signature = dict.fromkeys(pointers, "*bf16") | size | dict.fromkeys(given, "constexpr")
    binary = triton.compile(ASTSource(kernel, signature, constexprs=given), target=GPUTarget("cuda", 90, 32))
    assert binary.asm["cubin"]
    assert binary.metadata.shared <= 48 * 1024
print("compiled", len(jobs))
"""


def test_kernels_equal_the_torch_version(run_code):
    assert "compared 5" in run_code(INTERPRETED, TRITON_INTERPRET="1")


def test_kernels_compile(run_code, tmp_path: Path):
    assert "compiled 3" in run_code(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
