"""The video classifier of the ST-Adapter paper: a CLIP ViT with temporal adapters in its blocks.

Pan et al., "ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning", NeurIPS 2022.
Letters: B clips, T frames, P patches, D width, H, W pixels.
A block: adapter, attention, adapter, FFN (CLIP's pre-norm block with an adapter before each half). The clip's feature
is the CLS token averaged over frames, then `ln_post`, dropout and a linear layer. Names are the reference's, so its
checkpoints load by name. Few-shot methods use the adapters alone (`models.adapters`); this is for parity.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.models.adapters import STAdapter
from tmal_core.models.blocks import attend, feed_forward
from tmal_core.models.open_clip_access import QuickGELU, VisionTransformer, embedded
from tmal_core.models.state_dicts import load_strictly, own_names, read_checkpoint, vit_shape
from tmal_core.runtime.tensor_files import describe_content, is_state_dict

DROPOUT = 0.5
_PLACES = ("adapter_pre_attn", "adapter_pre_mlp")
_CONVOLUTION = re.compile(rf"transformer\.resblocks\.(\d+)\.({'|'.join(_PLACES)})\.conv\.weight")


class STAdapterClassifier(VisionTransformer):
    """Clips to class logits: CLIP's image tower without its projection, with adapters and a linear layer.

    Args:
        num_classes: of the data set.
        image_size, patch_size: in pixels.
        width, layers, heads: of the tower, 64 channels a head unless given.
        bottleneck, kernel_size: of the adapters.
        adapter_blocks: indices from 0 of the blocks that have adapters; all unless given.
        before_attention, before_mlp: which places of those blocks have one ("24x384": both; "12x384": before the FFN).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 768,
        layers: int = 12,
        heads: int | None = None,
        bottleneck: int = 384,
        kernel_size: tuple[int, int, int] = (3, 1, 1),
        adapter_blocks: Collection[int] | None = None,
        before_attention: bool = True,
        before_mlp: bool = True,
    ) -> None:
        heads = heads or max(1, width // 64)
        super().__init__(image_size, patch_size, width, layers, heads, mlp_ratio=4.0, act_layer=QuickGELU)
        self.proj = None
        for number, block in enumerate(self.transformer.resblocks):
            for place, wanted in zip(_PLACES, (before_attention, before_mlp), strict=True):
                here = wanted and (adapter_blocks is None or number in adapter_blocks)
                setattr(block, place, STAdapter(width, bottleneck, kernel_size) if here else None)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(width, num_classes)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], source: str = "the state dict") -> "STAdapterClassifier":
        """The classifier that a reference checkpoint is of, with its weights; kernel, places and sizes from the shapes.

        Raises:
            WeightsError: if this is no ST-Adapter checkpoint on a CLIP ViT.
        """
        shape = vit_shape(state, source)
        adapters = {(int(m[1]), m[2]): state[m[0]] for m in map(_CONVOLUTION.fullmatch, state) if m}
        kernel, head = next(iter(adapters.values()), None), state.get("fc.bias")
        if kernel is None or kernel.ndim != 5 or head is None:
            got = f"{source} without {_PLACES[0]} or {_PLACES[1]} in any block, or without fc.bias"
            raise WeightsError("the weights of an ST-Adapter classifier", got, "Take a checkpoint of ST-Adapter's.")
        bottleneck, _, *kernel_size = kernel.shape
        blocks, places = ({key[part] for key in adapters} for part in (0, 1))
        where: dict[str, Any] = {"before_attention": _PLACES[0] in places, "before_mlp": _PLACES[1] in places}
        where |= {"bottleneck": bottleneck, "kernel_size": tuple(kernel_size), "adapter_blocks": blocks}
        model = cls(head.shape[0], **shape._asdict(), **where)
        load_strictly(model, state, source)
        return model

    def forward(self, clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b classes"]:
        """Class logits of clips, CLIP-normalised, channels before frames as the reference takes them.

        Raises:
            ValueError: if the clips have another shape or size.
        """
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[3:] != self.image_size:
            height, width = self.image_size
            raise ValueError(f"expected clips (B, 3, T, {height}, {width}), got {tuple(clips.shape)}")
        tokens, num_frames = embedded(self, clips.transpose(1, 2).flatten(0, 1)), clips.shape[2]
        for block in self.transformer.resblocks:
            for adapter, half in ((block.adapter_pre_attn, attend), (block.adapter_pre_mlp, feed_forward)):
                tokens = half(block, tokens if adapter is None else adapter(tokens, num_frames))
        clip_features = tokens[:, 0].unflatten(0, (-1, num_frames)).mean(1)
        return self.fc(self.dropout(self.ln_post(clip_features)))


def load_st_adapter(path: str | Path, backbone: nn.Module | None = None) -> STAdapterClassifier:
    """Read a checkpoint of ST-Adapter (a file, or its name in `runtime.weights_files`), in eval mode on the CPU.

    The reference writes what it trained alone, `{"model": ...}` with adapters and `fc`; the rest, OpenAI's ViT, is
    taken from `backbone`, CLIP's image tower (`load_backbone(...).visual`).

    Raises:
        WeightsError: no such file, an unreadable one, one of another model, or one without the frozen weights and no
            backbone.
    """
    content = read_checkpoint(path)
    state: Any = content.get("model", content) if isinstance(content, dict) else content
    if not is_state_dict(state):
        got, remedy = f"{path} ({describe_content(content)})", "Take a checkpoint that ST-Adapter wrote."
        raise WeightsError("a checkpoint of ST-Adapter with `model`, a dict of tensors", got, remedy)
    state = own_names(state, str(path))
    if backbone is not None:
        state = {name: value for name, value in backbone.state_dict().items() if name != "proj"} | state
    elif "conv1.weight" not in state:
        got = f"{path}, which holds the trained ones alone"
        remedy = "Pass the image tower they were trained on, load_backbone('ViT-B-16-quickgelu', 'openai').visual."
        raise WeightsError("all weights of an ST-Adapter classifier", got, remedy)
    return STAdapterClassifier.from_state_dict({name: value.float() for name, value in state.items()}, str(path)).eval()
