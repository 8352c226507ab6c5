"""What each learned branch adds to the tokens of a clip: adapters, flow and text, by block, frame and patch.

Letters: T frames, P patches, D width, R rows and K columns of patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tmal_core.analysis.target import batch_of
from tmal_core.data.clips import Clip
from tmal_core.models.few_shot import FewShotModel


@dataclass(frozen=True)
class Addition:
    """What one branch adds before one block."""

    branch: str
    """"adapter before attention", "adapter before FFN", "flow" or "text"."""
    block: int
    """1 for the first."""
    size: Tensor
    """(T, R, K), length of what is added over the token's own length."""
    direction: Tensor
    """(T, R, K), cosine of what is added with the token: 1 makes it longer, -1 shorter, 0 turns it."""


@torch.no_grad()
def branch_additions(model: FewShotModel, clip: Clip, text: Tensor | None = None) -> list[Addition]:
    """What all branches add to one clip's patch tokens, in the order of the blocks.

    Args:
        clip: (T, 3, C, C), and (T, 2, C, C) flow where it is read.
        text: (d,) of its class, to read it as support; without it the clip is a query, and no text is added.
    """
    encoder = model.clip_encoder
    rows, columns = encoder.clip.visual.grid_size
    found: list[Addition] = []

    def note(branch: str, block: int, before: Tensor, after: Tensor) -> None:
        patches = rows * columns
        own, added = before[:, -patches:].float(), (after - before)[:, -patches:].float()
        lengths = own.norm(dim=-1).clamp_min(1e-12), added.norm(dim=-1)
        cosine = (own * added).sum(-1) / (lengths[0] * lengths[1].clamp_min(1e-12))
        size, direction = ((part.cpu().unflatten(1, (rows, columns))) for part in (lengths[1] / lengths[0], cosine))
        found.append(Addition(branch, block, size, direction))

    with _watched(encoder, note):
        encoder.tokens(*batch_of(model, clip), None if text is None else text[None].to(model.device))
    return found


@contextmanager
def _watched(encoder: Any, note: Any) -> Iterator[None]:
    """Every branch tells what came in and what went out."""
    branches: list[tuple[str, int, nn.Module]] = []
    for place, modules in encoder.adapters.items():
        name = "adapter before attention" if place == "attention" else "adapter before FFN"
        branches += [(name, number, module) for number, module in enumerate(modules, 1)]
    for name, fusion in (("flow", encoder.flow_fusion), ("text", encoder.text_fusion)):
        branches += [(name, int(number), module) for number, module in fusion.items()]

    def hook(name: str, block: int) -> Any:
        return lambda _module, inputs, output: note(name, block, inputs[0], output)

    hooks = [module.register_forward_hook(hook(name, block)) for name, block, module in branches]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
