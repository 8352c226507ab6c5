"""How near two results must come: one table by dtype, and the named exceptions with their reasons.

What is compared here is the same mathematics on another path: a reference's golden tensors, a definition written out,
another batch or order. Literals that remain in tests are bounds of another kind: noise of a codec, a limit, a share.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 0.0, "atol": 1e-5},
    torch.bfloat16: {"rtol": 0.03, "atol": 0.03},
}
"""One layer or one matcher, values about one. float32 adds up in an order that each processor chooses for itself."""

LAYERS = {"rtol": 1e-5, "atol": 1e-5}
"""float32 through a few layers, whose values are larger."""

NETWORK = {"rtol": 1e-4, "atol": 1e-4}
"""float32 through a whole network: what one layer rounds differently, the next ones multiply."""

PARITY, LAYER_PARITY = 1e-4, 1e-5
"""Of the largest value: a reference's whole network in float32, computed on another machine; one layer of it."""

END_TO_END, GRADIENT_END_TO_END, FILE_END_TO_END = 1e-5, 2e-5, 1e-2
"""Of the largest value, against goldens from a float64 run of a small model: pictures to features, logits and losses;
pictures to gradients; video files to logits, where decoded bytes may differ by one."""

HALF_PARITY = 2e-2
"""Of the largest value: under autocast against float32."""

IDENTITY = 1e-6
"""Of the largest value: a new branch that starts as nothing, on top of open_clip's own blocks."""


def assert_parity(got: Tensor, wanted: Tensor, share: float = PARITY, what: str = "it") -> None:
    """The largest difference is at most this share of the largest value wanted."""
    assert got.shape == wanted.shape, f"{what}: expected shape {tuple(wanted.shape)}, got {tuple(got.shape)}"
    got, wanted = got.detach(), wanted.detach()
    error = float((got - wanted).abs().max() / wanted.abs().max())
    assert error <= share, f"{what}: relative error {error:.1e} above {share:.0e}"
