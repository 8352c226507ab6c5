"""One block of CLIP's image tower, in its two halves: between them stands a temporal adapter.

    attended     tokens + attention(norm(tokens))
    fed forward  attended + mlp(norm(attended))

Letters: n frames, P patches, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from tmal_core.models import blocks_fast, fast_paths
from tmal_core.models.open_clip_access import embedded


def attend(block: nn.Module, tokens: Tensor, class_token_only: bool = False) -> Tensor:
    """Tokens plus the block's attention to them.

    Args:
        block: a residual attention block of open_clip.
        tokens: (n, 1 + P, D), CLS first.
        class_token_only: ask for the class token alone; the others are attended to and left out.

    Returns:
        (n, 1 + P, D), or (n, 1, D) for the class token alone.
    """
    if fast_paths.joint_projection():
        return blocks_fast.attend(block, tokens, class_token_only)
    tokens = tokens + block.ls_1(block.attention(block.ln_1(tokens)))
    return tokens[:, :1] if class_token_only else tokens


def feed_forward(block: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens (n, L, D) plus the block's feed-forward part of them."""
    if fast_paths.folded_gelu(block):
        return blocks_fast.feed_forward(block, tokens)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def plain_tokens(visual: nn.Module, pictures: Tensor) -> Iterator[Tensor]:
    """CLIP's own tokens of pictures (n, 3, H, W): those that enter the first block, and that leave each block."""
    tokens = embedded(visual, pictures)
    yield tokens
    for block in visual.transformer.resblocks:
        tokens = feed_forward(block, attend(block, tokens))
        yield tokens
