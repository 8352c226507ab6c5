"""What this package takes of open_clip beyond its public interface, all of it here.

These names may change with any release of open_clip: pyproject.toml holds the release below the next major one, and a
test asks the installed one for every name of `NEEDED`. open_clip's models have no types worth the name: Any.
"""

from typing import Any

from jaxtyping import Float
from open_clip.model import convert_to_custom_text_state_dict as convert_to_custom_text_state_dict
from open_clip.pretrained import get_pretrained_cfg as get_pretrained_cfg
from open_clip.transformer import QuickGELU as QuickGELU
from open_clip.transformer import ResidualAttentionBlock as ResidualAttentionBlock
from open_clip.transformer import VisionTransformer as VisionTransformer
from torch import Tensor

NEEDED = {
    "VisionTransformer": ("_embeds", "_pool"),
    "a tower": ("attn_pool", "conv1", "grid_size", "image_size", "pool_type", "positional_embedding", "proj"),
    "a block": ("attention", "attn", "ln_1", "ln_2", "ls_1", "ls_2", "mlp"),
    "its attention": ("in_proj_weight", "in_proj_bias", "num_heads", "out_proj"),
    "its feed-forward part": ("c_fc", "c_proj", "gelu"),
}
"""Where open_clip is entered -> names of attributes that this package reads there."""


def embedded(visual: Any, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n l d"]:
    """The tokens, CLS first, that enter the first block."""
    return visual._embeds(pictures)


def pooled(visual: Any, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n joint"]:
    """Tokens that left the last block to features."""
    features, _ = visual._pool(tokens)
    return features if visual.proj is None else features @ visual.proj


def pools_class_token(visual: Any) -> bool:
    """Whether of the last block's tokens the class token alone is read."""
    return visual.attn_pool is None and visual.pool_type == "tok"


def joint_width(visual: Any) -> int:
    """Width of features."""
    return visual.conv1.out_channels if visual.proj is None else visual.proj.shape[1]
