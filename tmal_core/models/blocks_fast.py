"""The block of `blocks`, computed in few passes over memory and with little kept for the backward pass.

`nn.MultiheadAttention` rearranges its input and output in memory, here queries, keys and values stay where their
projection wrote them, and the weights of the attention are not built (but for bfloat16 on a CPU). CLIP's QuickGELU
x * sigmoid(1.702 x) is silu(1.702 x) / 1.702, and both factors are free as factors of the matrix products around it:
one pass instead of three, and one tensor kept instead of two.

Letters: n frames, L tokens that ask, M tokens that answer, D width, H heads.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from tmal_core.models import fast_paths

_QUICK = 1.702


def attend(block: Any, tokens: Tensor, class_token_only: bool = False) -> Tensor:
    """As `blocks.attend`."""
    normed, attention, width = block.ln_1(tokens), block.attn, tokens.shape[-1]
    weight, bias, heads = attention.in_proj_weight, attention.in_proj_bias, (attention.num_heads, -1)
    if class_token_only:
        query = linear(normed[:, :1], weight[:width], bias[:width]).unflatten(-1, heads)
        others = linear(normed, weight[width:], bias[width:]).unflatten(-1, (2, *heads))
        parts, tokens = (query, *others.unbind(2)), tokens[:, :1]
    else:
        parts = linear(normed, weight, bias).unflatten(-1, (3, *heads)).unbind(2)
    attended_nHLd = attended(*(part.transpose(1, 2) for part in parts))
    return tokens + block.ls_1(attention.out_proj(attended_nHLd.transpose(1, 2).flatten(2)))


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention: (n, H, L, d), (n, H, M, d) and (n, H, M, d) to (n, H, L, d).

    With its weights built it is as exact, and takes an eighth more memory in a training step.
    """
    if not fast_paths.built_weights(query):
        return scaled_dot_product_attention(query, key, value)
    shape = query.shape[:2]
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))
    logits = torch.baddbmm(query.new_zeros(1), query, key.transpose(1, 2), beta=0, alpha=query.shape[-1] ** -0.5)
    return torch.bmm(logits.softmax(-1), value).unflatten(0, shape)


def feed_forward(block: Any, tokens: Tensor) -> Tensor:
    """As `blocks.feed_forward`, of a block with QuickGELU."""
    normed, mlp = block.ln_2(tokens), block.mlp
    rows = normed.flatten(0, 1)
    hidden = torch.addmm(mlp.c_fc.bias, rows, mlp.c_fc.weight.t(), beta=_QUICK, alpha=_QUICK)
    out = torch.addmm(mlp.c_proj.bias, silu(hidden), mlp.c_proj.weight.t(), alpha=1 / _QUICK)
    return tokens + block.ls_2(out.view_as(tokens))
