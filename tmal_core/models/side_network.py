"""TS-FSAR's ladder side network: a narrow transformer beside a frozen CLIP, fed by the tokens of each of its blocks.

"Task-Specific Distance Correlation Matching for Few-Shot Action Recognition", AAAI 2026 (arXiv 2512.11340); formulas
and names of parameters are those of its code (github.com/yaozhang0417/TS-FSAR, commit 1a91053). No gradient passes
CLIP.

    reduced    r_l = R_l LN_l(h_l), h_l being CLIP's tokens behind block l, h_0 those that enter the first
    state      z_1 = g_1 B_1(r_0) + (1 - g_1) r_1, then z_l = g_l B_l(z_(l-1)) + (1 - g_l) r_l
    gate       g_l = sigmoid(s_l / 0.1), s_l learned, 0 at the start

Letters: n clips, T frames, P patches, W width of CLIP, D width beside it, L blocks, d joint width.
"""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from tmal_core.models.blocks import plain_tokens
from tmal_core.models.open_clip_access import pooled
from tmal_core.models.shrinking import shrink

HEAD_WIDTH, GATE_TEMPERATURE = 64, 0.1


class SelfAttention(nn.Module):
    """Tokens to what they attend to, by separate projections of queries, keys and values."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_linear, self.k_linear, self.v_linear, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
        projected = (linear(tokens) for linear in (self.q_linear, self.k_linear, self.v_linear))
        q, k, v = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in projected)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def start_from(self, attention: Any) -> None:
        """Take the weights of a block's attention of CLIP, shrunk."""
        parts = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
        out = (attention.out_proj.weight, attention.out_proj.bias)
        mine = (self.q_linear, self.k_linear, self.v_linear, self.proj)
        for linear, (weight, bias) in zip(mine, (*parts, out), strict=True):
            _take(linear, weight, bias)


class FeedForward(nn.Module):
    """Tokens to tokens, each by itself: four times as wide inside, exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return self.fc2(gelu(self.fc1(tokens)))


class SideBlock(nn.Module):
    """A block of the side network: attention and feed-forward part, each behind a norm and added to its input.

    Args:
        width: D, a multiple of 64, the width of a head.
        num_frames: T.
        temporal: attention runs over the frames of a clip, at each token's place apart, in place of a frame's tokens.

    Raises:
        ValueError: if the width cannot be split into heads.
    """

    def __init__(self, width: int, num_frames: int, temporal: bool = False) -> None:
        super().__init__()
        if width % HEAD_WIDTH:
            raise ValueError(f"expected a width divisible by {HEAD_WIDTH}, got {width}")
        self.num_frames, self.temporal = num_frames, temporal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = SelfAttention(width, width // HEAD_WIDTH), FeedForward(width)

    def forward(
        self, tokens: Float[Tensor, "frames l d"], num_frames: int | None = None
    ) -> Float[Tensor, "frames l d"]:
        """Tokens of the frames of all clips, a clip's frames one behind the other; no weight depends on their number,
        which may be another than T."""
        normed = self.norm1(tokens)
        tokens = tokens + (self._over_time(normed, num_frames) if self.temporal else self.attn(normed))
        return tokens + self.mlp(self.norm2(tokens))

    def _over_time(self, normed: Tensor, num_frames: int | None) -> Tensor:
        by_place = normed.unflatten(0, (-1, num_frames or self.num_frames)).transpose(1, 2)  # n, 1 + P, T, D
        attended = self.attn(by_place.flatten(0, 1)).unflatten(0, by_place.shape[:2])
        return attended.transpose(1, 2).flatten(0, 1)

    def start_from(self, block: Any) -> None:
        """Take the weights of a block of CLIP, shrunk."""
        self.attn.start_from(block.attn)
        mlp = block.mlp
        pairs = (self.norm1, block.ln_1), (self.norm2, block.ln_2), (self.mlp.fc1, mlp.c_fc), (self.mlp.fc2, mlp.c_proj)
        for mine, theirs in pairs:
            _take(mine, theirs.weight, theirs.bias)


class FrameAdapter(nn.Module):
    """CLIP's frame features, each after a look at the others: y = (2 - r) c + r attention(norm(c)).

    Args:
        width: d, a multiple of `num_heads`.
        residual: r, the share of what is attended to; at 1 a plain residual.
        num_heads: of the attention, without positions.
    """

    def __init__(self, width: int, residual: float, num_heads: int = 8) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"expected a width divisible by {num_heads} heads, got {width}")
        self.residual = residual
        self.norm1, self.attn = nn.LayerNorm(width), SelfAttention(width, num_heads)

    def forward(self, features: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
        return (2 - self.residual) * features + self.residual * self.attn(self.norm1(features))


class SideNetwork(nn.Module):
    """CLIP's tokens, from each of its blocks, to narrower ones.

    Args:
        clip_width: W.
        depth: L, blocks of CLIP.
        width: D, a multiple of 64.
        num_frames: T.
        temporal_blocks: numbers, from 0, of the blocks that attend over time.

    Raises:
        ValueError: if there is no such block, or the width cannot be split into heads.
    """

    def __init__(
        self, clip_width: int, depth: int, width: int, num_frames: int, temporal_blocks: Collection[int]
    ) -> None:
        super().__init__()
        if missing := sorted(set(temporal_blocks) - set(range(depth))):
            raise ValueError(f"expected temporal blocks out of 0..{depth - 1}, got {missing}")
        self.side_LN = nn.ModuleList(nn.LayerNorm(clip_width) for _ in range(depth + 1))
        self.side_downsample = nn.ModuleList(nn.Linear(clip_width, width, bias=False) for _ in range(depth + 1))
        self.side_transformer = nn.ModuleList(
            SideBlock(width, num_frames, number in temporal_blocks) for number in range(depth)
        )
        self.side_gate_params = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(depth))

    def forward(
        self,
        stages: Iterable[Float[Tensor, "frames l w"]],
        low_memory: bool = False,
        num_frames: int | None = None,
    ) -> Float[Tensor, "frames l d"]:
        """Tokens that enter CLIP's first block, then those that leave each, to z_L as it is.

        With `low_memory` training computes each block anew in the backward pass. `num_frames` is T where it is another.
        """
        anew = low_memory and self.training and torch.is_grad_enabled()
        reduced = (
            shrunk(norm(stage)) for shrunk, norm, stage in zip(self.side_downsample, self.side_LN, stages, strict=True)
        )
        state = next(reduced)
        for block, gate, beside in zip(self.side_transformer, self.side_gate_params, reduced, strict=True):
            share = torch.sigmoid(gate / GATE_TEMPERATURE)
            given = state, num_frames
            answer = checkpoint(block, *given, use_reentrant=False) if anew else block(*given)
            state = share * answer + (1 - share) * beside
        return state

    def start_from(self, visual: Any) -> None:
        """Take the weights of CLIP's blocks, shrunk; what reduces its tokens starts at random."""
        mine: Any
        for mine, theirs in zip(self.side_transformer, visual.transformer.resblocks, strict=True):
            mine.start_from(theirs)


def beside(
    visual: Any, side: SideNetwork, frames: Float[Tensor, "n t 3 h w"], low_memory: bool = False
) -> tuple[Float[Tensor, "n t l width"], Float[Tensor, "n t d"]]:
    """The side network's tokens, class token first, and the frozen CLIP's own frame features, of clips."""
    num_frames = frames.shape[1]
    with torch.no_grad():
        stages = list(plain_tokens(visual, frames.flatten(0, 1)))
        features = pooled(visual, stages[-1])
    return side(stages, low_memory).unflatten(0, (-1, num_frames)), features.unflatten(0, (-1, num_frames))


def _take(mine: Any, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        mine.weight.copy_(shrink(weight, *mine.weight.shape))
        mine.bias.copy_(shrink(bias, *mine.bias.shape))
