"""One block of CLIP's image tower, in its two halves: between them stands a temporal adapter.

    attended     tokens + attention(norm(tokens))
    fed forward  attended + mlp(norm(attended))

A block is a residual attention block of open_clip. Letters: n frames, P patches, L tokens, D width.
"""

from collections.abc import Iterator
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tmal_core.models import blocks_fast, fast_paths
from tmal_core.models.open_clip_access import embedded


def attend(block: Any, tokens: Float[Tensor, "n l d"], class_token_only: bool = False) -> Float[Tensor, "n asked d"]:
    """Tokens, CLS first, plus the block's attention to them; of all tokens, or of the class token alone."""
    if fast_paths.joint_projection():
        return blocks_fast.attend(block, tokens, class_token_only)
    tokens = tokens + block.ls_1(block.attention(block.ln_1(tokens)))
    return tokens[:, :1] if class_token_only else tokens


def feed_forward(block: Any, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
    """Tokens plus the block's feed-forward part of them."""
    if fast_paths.folded_gelu(block):
        return blocks_fast.feed_forward(block, tokens)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def plain_tokens(visual: Any, pictures: Tensor) -> Iterator[Tensor]:
    """CLIP's own tokens of pictures (n, 3, H, W): those that enter the first block, and that leave each block."""
    tokens = embedded(visual, pictures)
    yield tokens
    for block in visual.transformer.resblocks:
        tokens = feed_forward(block, attend(block, tokens))
        yield tokens
