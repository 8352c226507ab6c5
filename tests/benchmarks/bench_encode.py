"""Encoding at ViT-B/16's shapes: its share of the machine's own rate of matrix products, and its speed.

The machine's rate is the best of some products of large matrices, in the same run, between two rounds of encoding.
Operations are counted on tensors without content: those that are done, so the part of the last block that nobody reads
and that is left out counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import memory_count
import plain
import torch
from measure import device, row, seconds_of, taking_turns
from subjects import model_of, noise, settings_for
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from tmal_core.config import Settings
from tmal_core.data.clips import Clip
from tmal_core.evaluation.feature_bank import encode_clips
from tmal_core.models.few_shot import FewShotModel

CLIPS_CPU, CLIPS_GPU, ROUNDS = 4, 64, 2
PRODUCTS = ((4096, 4096, 4096), (6304, 768, 3072), (6304, 3072, 768))  # rows, inner, columns
_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def encoder(model: FewShotModel, clips: torch.Tensor, half: bool) -> Callable[[], None]:
    """A call that encodes clips as the bank does."""

    def call() -> None:
        with torch.no_grad():
            for _ in encode_clips(model, Clip(clips), half=half):
                pass

    return call


def operations(settings: Settings, num_clips: int) -> int:
    """Floating point operations of matrix products and attention, a multiplication and an addition counting as two."""
    model = model_of(settings)
    with (
        FakeTensorMode() as mode,
        FlopCounterMode(display=False, custom_mapping={_ON_CPU: _attention_operations}) as counter,
    ):
        model = memory_count.emptied(model, mode)
        frames = settings.sampling.num_frames
        with torch.no_grad():
            model.encoder.encode_roles(
                torch.empty(num_clips, frames, 3, settings.sampling.crop, settings.sampling.crop)
            )
    return counter.get_total_flops()


def _attention_operations(query: tuple[int, ...], key: tuple[int, ...], *_: object, **__: object) -> int:
    """Of shapes (n, H, L, d) and (n, H, M, d); torch counts every attention but the CPU's."""
    return 4 * query[0] * query[1] * query[2] * query[3] * key[2]


def product_rate(dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of the products."""
    rates = []
    for num_rows, inner, columns in PRODUCTS:
        left = torch.randn(num_rows, inner, device=device()).to(dtype)
        right = torch.randn(columns, inner, device=device()).to(dtype)
        linear(left, right)
        best = min(seconds_of(lambda left=left, right=right: linear(left, right)) for _ in range(5))
        rates.append(2 * num_rows * inner * columns / best)
    return max(rates)


def rows() -> Iterator[dict]:
    """One row per figure."""
    settings = settings_for("st_adapter")
    model = model_of(settings, device())
    num_clips = CLIPS_GPU if device().type == "cuda" else CLIPS_CPU
    clips = noise(num_clips).to(device())
    calls = {"bfloat16": encoder(model, clips, True), "float32": encoder(model, clips, False)}
    rates = {dtype: [product_rate(getattr(torch, dtype))] for dtype in calls}
    found = taking_turns(calls, ROUNDS)
    for dtype, known in rates.items():
        known.append(product_rate(getattr(torch, dtype)))
    work = operations(settings, num_clips)
    for dtype, known in rates.items():
        bar = (">=", 50.0 if device().type == "cuda" else 55.0) if dtype == "bfloat16" else (None, None)
        share = 100 * work / found[dtype] / max(known)
        yield row(f"encode in {dtype}: share of the best rate of matrix products", share, "%", *bar)
        yield row(f"encode: best rate of matrix products in {dtype}", max(known) / 1e9, "GFLOP/s")
        yield row(f"encode in {dtype}: clips of 8 frames", num_clips / found[dtype], "clips/s")
    with torch.no_grad():
        plain_seconds = seconds_of(lambda: plain.encode(model, clips))
    yield row("encode: plain in float32 / ours in bfloat16", plain_seconds / found["bfloat16"], "x")
    yield row("encode: ours in float32 / ours in bfloat16", found["float32"] / found["bfloat16"], "x")
