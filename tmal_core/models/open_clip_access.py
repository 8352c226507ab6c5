"""What this package takes of open_clip beyond its public interface, all of it here.

These names may change with any release of open_clip: pyproject.toml holds the release below the next major one, and a
test asks the installed one for every name of `NEEDED`. open_clip's models have no types worth the name: Any.
"""

from typing import Any

import open_clip
from jaxtyping import Float
from open_clip.model import convert_to_custom_text_state_dict as convert_to_custom_text_state_dict
from open_clip.pretrained import get_pretrained_cfg as get_pretrained_cfg
from open_clip.pretrained import list_pretrained_tags_by_model as list_pretrained_tags_by_model
from open_clip.tokenizer import HFTokenizer as HFTokenizer
from open_clip.transformer import QuickGELU as QuickGELU
from open_clip.transformer import ResidualAttentionBlock as ResidualAttentionBlock
from open_clip.transformer import VisionTransformer as VisionTransformer
from torch import Tensor, nn

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std, each of red, green and blue in 0..1, by which pictures are normalised."""
CLIP_STATISTICS: Statistics = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
"""OpenAI's, which most CLIPs have kept."""

_PATCH = 16  # pixels of a side; what a tower without patches is counted in

NEEDED = {
    "VisionTransformer": ("_embeds", "_pool"),
    "a tower": ("attn_pool", "conv1", "grid_size", "image_size", "pool_type", "positional_embedding", "proj"),
    "any tower": ("image_size", "preprocess_cfg"),
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


def has_clip_blocks(visual: Any) -> bool:
    """Whether a tower is made of CLIP's own ViT blocks, one after the other: adapters and fusion stand in these, and
    `models.blocks` computes them. Others normalise in more places, which it would leave out without a word."""
    return isinstance(visual, VisionTransformer) and all(
        type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks
    )


def kind_of(visual: Any) -> str:
    """What a tower is made of, in words."""
    if isinstance(visual, VisionTransformer):
        return f"ViT of {type(visual.transformer.resblocks[0]).__name__}"
    return f"timm's {type(visual.trunk).__name__}" if hasattr(visual, "trunk") else type(visual).__name__


def image_size(visual: Any) -> tuple[int, int]:
    """Height and width of the pictures that a tower takes, in pixels."""
    size = visual.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def tokens_of_picture(visual: Any) -> int:
    """How many tokens a picture is to a tower; one that keeps none is counted as a ViT of patches of 16 pixels."""
    if has_clip_blocks(visual):
        return visual.positional_embedding.shape[0]
    height, width = image_size(visual)
    return max(1, (height // _PATCH) * (width // _PATCH))


def statistics(visual: Any) -> Statistics:
    """By which a tower's pictures are normalised; CLIP's for one that was made without."""
    config = getattr(visual, "preprocess_cfg", None)
    return CLIP_STATISTICS if config is None else (tuple(config["mean"]), tuple(config["std"]))


def set_statistics(visual: Any, found: Statistics) -> None:
    """Say by which a tower's pictures are normalised."""
    visual.preprocess_cfg = {**getattr(visual, "preprocess_cfg", {}), "mean": found[0], "std": found[1]}


def has_text(clip: Any) -> bool:
    """Whether a backbone encodes names: video encoders do not."""
    return hasattr(clip, "encode_text")


def text_width(clip: Any) -> int:
    """Width of text features, and of picture features where they are compared with them."""
    if hasattr(clip, "text"):
        return clip.text.output_dim
    projection = clip.text_projection
    return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]


def uses_quickgelu(clip: Any) -> bool:
    """Whether a CLIP's blocks have OpenAI's activation."""
    return any(isinstance(module, QuickGELU) for module in clip.modules())
