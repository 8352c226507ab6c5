"""The video classifier of the ST-Adapter paper: a CLIP ViT with temporal adapters in its blocks.

Pan et al., "ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning", NeurIPS 2022.
Letters: B clips, T frames, P patches, D width, H, W pixels.
A block: adapter, attention, adapter, FFN (CLIP's pre-norm block with an adapter before each half). The clip's feature
is the CLS token averaged over frames, then `ln_post`, dropout and a linear layer. Names are the reference's, so its
checkpoints load by name. Few-shot methods use the adapters alone (`models.adapters`); this is for parity.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.models.adapters import STAdapter
from tmal_core.models.state_dicts import load_strictly, read_checkpoint, vit_shape
from tmal_core.runtime.tensor_files import describe_content, is_state_dict

DROPOUT = 0.5
_PLACES = ("adapter_pre_attn", "adapter_pre_mlp")
_CONVOLUTION = re.compile(rf"transformer\.resblocks\.(\d+)\.({'|'.join(_PLACES)})\.conv\.weight")


class STAdapterClassifier(nn.Module):
    """Clips to class logits.

    Args:
        num_classes: of the data set.
        image_size: H = W in pixels.
        patch_size: in pixels.
        width: D.
        layers: number of blocks.
        heads: of each attention; 64 channels a head unless given.
        bottleneck: of the adapters.
        kernel_size: of the adapters.
        adapter_blocks: indices from 0 of the blocks that have adapters; all unless given.
        before_attention: whether those blocks have one before attention ("24x384": both; "12x384": before the FFN).
        before_mlp: whether they have one before the FFN.
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
        super().__init__()
        num_patches = (image_size // patch_size) ** 2
        adapted = range(layers) if adapter_blocks is None else adapter_blocks
        places = [place for place, wanted in zip(_PLACES, (before_attention, before_mlp), strict=True) if wanted]
        blocks = []
        for block in range(layers):
            here = places if block in adapted else []
            adapters = {place: STAdapter(width, bottleneck, kernel_size) for place in here}
            blocks.append(_Block(width, heads or max(1, width // 64), adapters))
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(1 + num_patches, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(blocks)
        self.ln_post = nn.LayerNorm(width)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(width, num_classes)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], source: str = "the state dict") -> STAdapterClassifier:
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
        model = cls(
            head.shape[0],
            image_size=shape.image_size,
            patch_size=shape.patch_size,
            width=shape.width,
            layers=shape.layers,
            heads=shape.heads,
            bottleneck=kernel.shape[0],
            kernel_size=tuple(kernel.shape[2:]),
            adapter_blocks={block for block, _ in adapters},
            before_attention=_PLACES[0] in {place for _, place in adapters},
            before_mlp=_PLACES[1] in {place for _, place in adapters},
        )
        load_strictly(model, state, source)
        return model

    def forward(self, clips: Tensor) -> Tensor:
        """Class logits.

        Args:
            clips: (B, 3, T, H, W), CLIP-normalised, channels before frames as the reference takes them.

        Returns:
            (B, num_classes).

        Raises:
            ValueError: if the clips have another shape or size.
        """
        size = self.conv1.stride[0] * round((self.positional_embedding.shape[0] - 1) ** 0.5)
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[3:] != (size, size):
            raise ValueError(f"expected clips (B, 3, T, {size}, {size}), got {tuple(clips.shape)}")
        num_frames = clips.shape[2]
        patches = self.conv1(clips.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)
        cls = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        tokens = self.ln_pre(torch.cat([cls, patches], dim=1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            tokens = block(tokens, num_frames)
        clip_features = tokens[:, 0].unflatten(0, (-1, num_frames)).mean(1)
        return self.fc(self.dropout(self.ln_post(clip_features)))


def load_st_adapter(path: str | Path, backbone: nn.Module | None = None) -> STAdapterClassifier:
    """Read a checkpoint of ST-Adapter, in eval mode on the CPU.

    The reference writes what it trained alone, `{"model": ...}` with adapters and `fc`; the rest is OpenAI's ViT.

    Args:
        path: of the file, or its name in `tmal_core.runtime.weights_files`.
        backbone: CLIP's image tower (`load_backbone(...).visual`), whose weights are taken where the file has none.

    Raises:
        WeightsError: no such file, an unreadable one, one of another model, or one without the frozen weights and no
            backbone.
    """
    content = read_checkpoint(path)
    state = content.get("model", content) if isinstance(content, dict) else content
    if not is_state_dict(state):
        got, remedy = f"{path} ({describe_content(content)})", "Take a checkpoint that ST-Adapter wrote."
        raise WeightsError("a checkpoint of ST-Adapter with `model`, a dict of tensors", got, remedy)
    if backbone is not None:
        state = {name: value for name, value in backbone.state_dict().items() if name != "proj"} | state
    elif "conv1.weight" not in state:
        got = f"{path}, which holds the trained ones alone"
        remedy = "Pass the image tower they were trained on, load_backbone('ViT-B-16-quickgelu', 'openai').visual."
        raise WeightsError("all weights of an ST-Adapter classifier", got, remedy)
    return STAdapterClassifier.from_state_dict({name: value.float() for name, value in state.items()}, str(path)).eval()


class _QuickGELU(nn.Module):
    """The sigmoid approximation that OpenAI's CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    """CLIP's block with adapters at the named places."""

    def __init__(self, width: int, heads: int, adapters: Mapping[str, STAdapter]) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        feed_forward = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", _QuickGELU())]
        self.mlp = nn.Sequential(OrderedDict([*feed_forward, ("c_proj", nn.Linear(4 * width, width))]))
        self.ln_2 = nn.LayerNorm(width)
        for place in _PLACES:
            setattr(self, place, adapters.get(place))

    def forward(self, tokens: Tensor, num_frames: int) -> Tensor:
        if self.adapter_pre_attn is not None:
            tokens = self.adapter_pre_attn(tokens, num_frames)
        normed = self.ln_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False)[0]
        if self.adapter_pre_mlp is not None:
            tokens = self.adapter_pre_mlp(tokens, num_frames)
        return tokens + self.mlp(self.ln_2(tokens))
