"""Where CLIP looks in each frame of a clip: attention of every block, and attention rolled out over the blocks.

Rollout: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, section 3: each block passes on half
of what a token is (the residual) and half of what it attends to; the product over the blocks says how much of each
input token arrives in the class token.

Letters: N clips, T frames, L blocks, A heads, P patches (R rows times C columns), D width.
Deviations: heads are averaged before anything else. Rollout knows attention and residuals only; what temporal adapters
carry from frame to frame shows in it only as far as it moves a later block's attention.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from tmal_core.models.few_shot import FewShotModel


def attention_probabilities(block: Any, tokens: Tensor) -> Tensor:
    """The attention of one open_clip block, which open_clip itself does not give out.

    Normalised tokens (B, 1 + P, D), as they enter the attention, to (B, A, 1 + P, 1 + P) float32: row i sums to one and
    says what token i attends to.
    """
    attention = block.attn
    query, key, _ = linear(tokens, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    query, key = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (query, key))
    scores = query.float() @ key.float().transpose(-1, -2) / query.shape[-1] ** 0.5
    return scores.softmax(-1)


@torch.no_grad()
def capture_attention(model: FewShotModel, frames: Tensor, flow_px: Tensor | None = None) -> Tensor:
    """Attention of every block for every frame, mean over the heads; the model stays in the mode it is in.

    The tokens are taken where they enter each block's attention, so adapters and fusion at any place are seen. Clips
    are read as queries: without a class name.

    Args:
        frames: (N, T, 3, H, W) float, normalised, on the model's device.
        flow_px: (N, T, 2, H, W) in pixels of the crop, where the model reads flow.

    Returns:
        (N, T, L, 1 + P, 1 + P) float32 on the CPU; token 0 is the class token, patches follow row by row.
    """
    maps: list[Tensor] = []
    blocks = model.clip_encoder.clip.visual.transformer.resblocks
    hooks = [
        # The output of ln_1 is what enters the attention. Hooks on parts of nn.MultiheadAttention never run.
        block.ln_1.register_forward_hook(
            lambda _, __, tokens, block=block: maps.append(attention_probabilities(block, tokens).mean(1).cpu())
        )
        for block in blocks
    ]
    try:
        model.clip_encoder.tokens(frames, flow_px)
    finally:
        for hook in hooks:
            hook.remove()
    # A model that shows flow to CLIP as a picture sends it through the same blocks, before the frames.
    return torch.stack(maps[-len(blocks) :], dim=1).unflatten(0, frames.shape[:2])


def rollout(attention: Tensor, residual: float = 0.5) -> Tensor:
    """Attention rolled out from the input to the last block: (..., L, 1 + P, 1 + P) to (..., 1 + P, 1 + P).

    Of both all rows sum to one; the result says how much of input token j is in output token i. `residual`, in 0..1, is
    the share of a token that a block passes on as it is.

    Raises:
        ValueError: if the attention is not (..., L, n, n) with at least one block, or the residual is out of range.
    """
    if attention.ndim < 3 or attention.shape[-1] != attention.shape[-2] or attention.shape[-3] == 0:
        raise ValueError(f"expected attention (..., L, 1 + P, 1 + P) with L >= 1, got {tuple(attention.shape)}")
    if not 0 <= residual <= 1:
        raise ValueError(f"expected a residual in 0..1, got {residual}")
    identity = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
    first, *others = (residual * identity + (1 - residual) * attention).unbind(-3)
    for block in others:
        first = block @ first
    return first


def class_token_maps(attention: Tensor, grid: tuple[int, int]) -> Tensor:
    """What the class token takes from each patch, as pictures (..., R, C) whose sum is one.

    Args:
        attention: (..., 1 + P, 1 + P) of a block or of a rollout; the class token's share of itself is left out.
        grid: rows R and columns C of the patches, R * C = P: `model.encoder.clip.visual.grid_size`.

    Raises:
        ValueError: if the attention has another number of patches.
    """
    rows, columns = grid
    if attention.shape[-1] != 1 + rows * columns or attention.shape[-2] != attention.shape[-1]:
        raise ValueError(f"expected attention of 1 + {rows} x {columns} tokens, got {tuple(attention.shape)}")
    patches = attention[..., 0, 1:]
    shares = patches / patches.sum(-1, keepdim=True).clamp_min(torch.finfo(patches.dtype).tiny)
    return shares.unflatten(-1, (rows, columns))


def attention_shift(first: Tensor, second: Tensor) -> Tensor:
    """How far the class token's attention differs between two models of the same frames, by block.

    (..., L, 1 + P, 1 + P) twice to (L,), total variation distance in 0..1, mean over frames: the share of attention
    that lies elsewhere.

    Raises:
        ValueError: if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected attention of one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    shift = (first - second)[..., 0, :].abs().sum(-1) / 2
    return shift.reshape(-1, shift.shape[-1]).mean(0)
