"""The one-layer transformer over a clip's frames (and one text token) of CLIP-FSAR.

Wang et al., "CLIP-guided Prototype Modulating for Few-shot Action Recognition", IJCV 2023, section 3.3.
Letters: B clips, L tokens (frames, and the text where there is one), D width, M width of the FFN.
As in its code, not in the usual layer: one LayerNorm serves queries, keys and values, the residual goes to the
un-normed tokens, the FFN has no norm before it, and there is no position embedding: the order of the tokens is for the
matcher. Parameter names are the reference's (`layers.0.0.fn.to_q`, ...), which the module tree below spells out.
"""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

ATTENTION_DROPOUT = 0.2
MLP_DROPOUT = 0.05


class TemporalTransformer(nn.Module):
    """Tokens to tokens.

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
        attention = _Attention(width, num_heads)
        widen = nn.Linear(width, mlp_width), nn.GELU(), nn.Dropout(MLP_DROPOUT)
        ffn = nn.Sequential(*widen, nn.Linear(mlp_width, width), nn.Dropout(MLP_DROPOUT))
        self.layers = nn.ModuleList([nn.ModuleList([attention, nn.Sequential(OrderedDict(net=ffn))])])

    def forward(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        for part in ("0.0", "0.1"):
            tokens = tokens + self.layers.get_submodule(part)(tokens)
        return tokens


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        projections = {name: nn.Linear(width, width, bias=False) for name in ("to_q", "to_k", "to_v")}
        out = nn.Sequential(nn.Linear(width, width), nn.Dropout(ATTENTION_DROPOUT))
        self.fn = nn.ModuleDict({**projections, "to_out": out})

    def forward(self, tokens: Tensor) -> Tensor:
        normed, heads = self.norm(tokens), (self.num_heads, -1)
        q, k, v = (self.fn[name](normed).unflatten(2, heads).transpose(1, 2) for name in ("to_q", "to_k", "to_v"))
        return self.fn["to_out"](scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
