"""CLIP's image tower under Hugging Face's names, which checkpoints of TS-FSAR have, and under open_clip's."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tmal_core.errors import WeightsError

_WHOLE = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layernorm.weight",
    "ln_pre.bias": "pre_layernorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
_IN_BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_THEIR_BLOCK = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")
_OUR_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_JOINT = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
_PROJ, _THEIR_PROJ = "proj", "projection.weight"


def to_hugging_face(tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names to Hugging Face's: queries, keys and values apart, the projection transposed."""
    found = {}
    for name, value in tower.items():
        if name == _PROJ:
            found[_THEIR_PROJ] = value.T.contiguous()
        elif name in _WHOLE:
            found[_WHOLE[name]] = value
        elif joint := _JOINT.fullmatch(name):
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                found[f"layers.{joint[1]}.self_attn.{letter}_proj.{joint[2]}"] = part
        elif (block := _OUR_BLOCK.fullmatch(name)) and block[2] in _IN_BLOCK:
            found[f"layers.{block[1]}.{_IN_BLOCK[block[2]]}.{block[3]}"] = value
        else:
            found[name] = value
    return found


def from_hugging_face(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The other way; names that are nobody's stay as they are.

    Raises:
        WeightsError: a block has not all of queries, keys and values; `source` says where the weights are from.
    """
    whole, in_block = ({theirs: ours for ours, theirs in names.items()} for names in (_WHOLE, _IN_BLOCK))
    found, apart = {}, dict[str, dict[str, Tensor]]()
    for name, value in state.items():
        block = _THEIR_BLOCK.fullmatch(name)
        if name == _THEIR_PROJ:
            found[_PROJ] = value.T.contiguous()
        elif name in whole:
            found[whole[name]] = value
        elif block and block[2] in in_block:
            found[f"transformer.resblocks.{block[1]}.{in_block[block[2]]}.{block[3]}"] = value
        elif block and block[2] in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            joint = f"transformer.resblocks.{block[1]}.attn.in_proj_{block[3]}"
            apart.setdefault(joint, {})[block[2][len("self_attn.")]] = value
        else:
            found[name] = value
    for name, parts in apart.items():
        if parts.keys() != set("qkv"):
            got = f"{source} with {', '.join(sorted(parts))} alone of {name}"
            raise WeightsError("queries, keys and values of every block", got, "Take a checkpoint of TS-FSAR.")
        found[name] = torch.cat([parts[letter] for letter in "qkv"])
    return found
