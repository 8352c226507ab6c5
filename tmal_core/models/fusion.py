"""Token fusion: a narrow adapter through which another modality joins CLIP's tokens between two blocks.

The same adapter serves flow (motion tokens meet the co-located patch tokens) and text (a class name's feature meets all
tokens of a support clip). TMAL's description says "hierarchical visual-flow and visual-text fusion" and no more; that
it is an adapter, where its non-linearity stands and that it starts as the identity are this project's choices.

Letters: L tokens, D width of the tower, C width of the source.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.config import ModelSettings
from tmal_core.errors import SettingsError

NUM_LEVELS = 4


class TokenFusion(nn.Module):
    """Tokens plus `up(gelu(down(norm(tokens)) + source(other)))`; the identity until trained, as `up` starts at zero.

    Args:
        width: D of the tokens.
        source_width: C of what joins them.
        bottleneck: width inside.
    """

    def __init__(self, width: int, source_width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.source = nn.Linear(source_width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Float[Tensor, "n l d"], other: Float[Tensor, "n l_or_1 c"]) -> Float[Tensor, "n l d"]:
        """Fuse tokens with the other modality's, or with the one that all of them share."""
        hidden = nn.functional.gelu(self.down(self.norm(tokens)) + self.source(other))
        return tokens + self.up(hidden)


def fuse_patches(fusion: nn.Module, tokens: Tensor, motion: Tensor) -> Tensor:
    """Motion tokens (n, P, C) into the patch tokens of (n, 1 + P, D); the CLS token is left to attention."""
    return torch.cat([tokens[:, :1], fusion(tokens[:, 1:], motion)], dim=1)


def fuses(parts: ModelSettings, place: str) -> bool:
    """Whether flow and text, where they are read, join at "token" or at "prototype"."""
    return parts.fusion in (place, "both")


def fusion_blocks(levels: str | tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Before the attention of which blocks (1..depth, ascending) a modality joins.

    Args:
        levels: "none", "last", "all" (every quarter of the depth), or the numbers themselves.
        depth: blocks of the tower.

    Raises:
        SettingsError: a number outside the tower, or one twice.

    >>> fusion_blocks("all", 12), fusion_blocks("last", 12), fusion_blocks((5, 2), 12)
    ((3, 6, 9, 12), (12,), (2, 5))
    """
    if isinstance(levels, str):
        quarters = tuple(sorted({max(1, round(depth * (i + 1) / NUM_LEVELS)) for i in range(NUM_LEVELS)}))
        return {"none": (), "last": (depth,), "all": quarters}[levels]
    blocks = tuple(sorted(levels))
    if len(set(blocks)) != len(blocks) or any(not 1 <= block <= depth for block in blocks):
        remedy = "Correct model.fusion_levels or model.text_levels."
        raise SettingsError(f"levels among the blocks 1..{depth}, each once", str(list(levels)), remedy)
    return blocks
