"""The one-layer transformer over a clip's frames (and one text token) of CLIP-FSAR.

Wang et al., "CLIP-guided Prototype Modulating for Few-shot Action Recognition", IJCV 2023, section 3.3.
Letters: B clips, L tokens (frames, and the text where there is one), D width, M width of the FFN.
As in its code, not in the usual layer: one LayerNorm serves queries, keys and values, the residual goes to the
un-normed tokens, the FFN has no norm before it, and there is no position embedding: the order of the tokens is for the
matcher. Parameter names are the reference's (`layers.0.0.fn.to_q`, ...), which the module tree below spells out.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

ATTENTION_DROPOUT = 0.2
MLP_DROPOUT = 0.05


class TemporalTransformer(nn.Module):
    """Tokens (B, L, D) to tokens (B, L, D).

    Args:
        width: D, a multiple of `num_heads`.
        num_heads: of the attention.
        mlp_width: M.

    Raises:
        ValueError: if the width cannot be split into the heads.
    """

    def __init__(self, width: int, num_heads: int = 8, mlp_width: int = 2048) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"expected a width divisible by {num_heads} heads, got {width}")
        attention = _NormedAttention(width, num_heads)
        self.layers = nn.ModuleList([nn.ModuleList([attention, _FeedForward(width, mlp_width)])])

    def forward(self, tokens: Tensor) -> Tensor:
        for attention, feed_forward in self.layers:
            tokens = tokens + attention(tokens)
            tokens = tokens + feed_forward(tokens)
        return tokens


class _NormedAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = _Attention(width, num_heads)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fn(self.norm(tokens))


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(ATTENTION_DROPOUT))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (
            project(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, mlp_width),
            nn.GELU(),
            nn.Dropout(MLP_DROPOUT),
            nn.Linear(mlp_width, width),
            nn.Dropout(MLP_DROPOUT),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net(tokens)
