"""What in a query speaks for a class, by gradients through the whole method.

- `gradient_relevance`: gradient times activation of the tokens that enter a block, or of the pixels' patches.
- `integrated_relevance`: integrated gradients (Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017)
  from a covered clip to the clip; what it gives to all patches adds up to what the clip has over the covered one.

Both are of the log odds of the class (`Target.score`), which are not flat where a method is sure.

Letters: T frames, C crop in pixels, R rows and K columns of patches, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from tmal_core.analysis.target import Target, batch_of
from tmal_core.data.clips import Clip

_STEPS, _AT_ONCE = 32, 8


class Relevance(NamedTuple):
    """What each patch of each frame adds to the log odds of the class; on the CPU."""

    frames: Tensor
    """(T, R, K)"""
    flow: Tensor | None
    """(T, R, K) of flow, where it is read."""


def gradient_relevance(target: Target, clip: Clip) -> Relevance:
    """Gradient times input, summed over the pixels and channels of a patch."""
    return _per_patch(target, clip, *_times_gradient(target, clip, torch.ones(1)))


def integrated_relevance(target: Target, clip: Clip, steps: int = _STEPS) -> Relevance:
    """The same with the gradient's mean over the way from a covered clip, in `steps` steps (midpoints)."""
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    return _per_patch(target, clip, *_times_gradient(target, clip, (torch.arange(steps) + 0.5) / steps))


def token_relevance(target: Target, clip: Clip, block: int) -> Tensor:
    """(T, 1 + P), gradient times activation of the tokens that enter a block, 1 for the first; summed over D.

    Raises:
        ValueError: there is no such block.
    """
    blocks = target.model.clip_encoder.clip.visual.transformer.resblocks
    if not 1 <= block <= len(blocks):
        raise ValueError(f"expected a block in 1..{len(blocks)}, got {block}")
    entered: list[Tensor] = []

    def keep(_module: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens = inputs[0].detach().requires_grad_()
        entered.append(tokens)
        return (tokens, *inputs[1:])

    hook = blocks[block - 1].ln_1.register_forward_pre_hook(keep)
    try:
        with torch.enable_grad():
            score = target.score(*batch_of(target.model, clip)).sum()
            (gradient,) = torch.autograd.grad(score, entered[-1])
    finally:
        hook.remove()
    return (gradient * entered[-1].detach()).sum(-1).cpu()


def _times_gradient(target: Target, clip: Clip, shares: Tensor) -> tuple[Tensor, Tensor | None]:
    """Input times its mean gradient over shares (n,) of the clip: (T, 3, C, C) and (T, 2, C, C)."""
    frames, flow_px = batch_of(target.model, clip)
    inputs = [frames] if flow_px is None else [frames, flow_px]
    totals = [torch.zeros_like(part) for part in inputs]
    for some in shares.to(frames.device).split(_AT_ONCE):
        at = [(some.view(-1, 1, 1, 1, 1) * part).requires_grad_() for part in inputs]
        with torch.enable_grad():
            gradients = torch.autograd.grad(target.score(*at).sum(), at)
        totals = [total + gradient.sum(0) for total, gradient in zip(totals, gradients, strict=True)]
    products = [(part * total / len(shares))[0] for part, total in zip(inputs, totals, strict=True)]
    return products[0], products[1] if len(products) > 1 else None


def _per_patch(target: Target, clip: Clip, frames: Tensor, flow_px: Tensor | None) -> Relevance:
    side = clip.frames.shape[-1] // target.grid[1]
    sums = [
        None if part is None else avg_pool2d(part.sum(1, keepdim=True), side)[:, 0].mul(side**2).detach().cpu()
        for part in (frames, flow_px)
    ]
    assert sums[0] is not None
    return Relevance(sums[0], sums[1])
