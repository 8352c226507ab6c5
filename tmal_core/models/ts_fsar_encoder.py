"""TS-FSAR's encoder: a frozen CLIP, the side network beside it, and the adapter behind it. Clips in, clip tokens out.

A clip token of TS-FSAR is all that its answers need of a frame, in one row: the distances among the side network's
channels (`v`), its class token, the same raised to CLIP's joint space, and CLIP's own frame feature after the adapter.
The tokens themselves, half as many numbers again, are not kept.

"Task-Specific Distance Correlation Matching for Few-Shot Action Recognition", AAAI 2026 (arXiv 2512.11340).
Letters: n clips, T frames, D width of the side network, M = D (D + 1) / 2, d joint width.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.config import TSFSARSettings
from tmal_core.errors import SettingsError
from tmal_core.models.frozen_encoder import Clips, ClipTokens, Encoder, Flow, Text
from tmal_core.models.open_clip_access import joint_width
from tmal_core.models.side_network import HEAD_WIDTH, FrameAdapter, SideNetwork, beside
from tmal_core.models.task_matching import frame_representation


class Described(NamedTuple):
    """The parts of clip tokens."""

    channels: Float[Tensor, "*n t m"]
    class_token: Float[Tensor, "*n t width"]
    raised: Float[Tensor, "*n t d"]
    adapted: Float[Tensor, "*n t d"]


def described(clip_tokens: Float[Tensor, "*n t l"], side_width: int) -> Described:
    """Clip tokens taken apart, without a copy."""
    num_channels = side_width * (side_width + 1) // 2
    joint = (clip_tokens.shape[-1] - num_channels - side_width) // 2
    return Described(*clip_tokens.split([num_channels, side_width, joint, joint], dim=-1))


class TSFSAREncoder(Encoder):
    """Clips to clip tokens (n, T, M + D + 2 d), the same in both roles.

    Args:
        clip: an open_clip model; frozen.
        parts: the side network's settings.

    Raises:
        SettingsError: a width or a block that the tower cannot have.
    """

    def __init__(self, clip: Any, parts: TSFSARSettings) -> None:
        super().__init__()
        self.clip, self.adapters, visual = clip.requires_grad_(False), nn.ModuleDict(), clip.visual
        self.depth, self.joint_width, self.alpha = len(visual.transformer.resblocks), joint_width(visual), parts.alpha
        clip_width = visual.conv1.out_channels
        _require(parts, clip_width, self.depth)
        where = parts.num_frames, parts.temporal_blocks
        self.side = SideNetwork(clip_width, self.depth, parts.side_width, *where)
        self.adapter = FrameAdapter(self.joint_width, parts.residual)
        self.up_ln = nn.LayerNorm(parts.side_width)
        self.up_linear = nn.Linear(parts.side_width, self.joint_width, bias=False)
        self.side.start_from(visual)
        self.adapter.attn.start_from(visual.transformer.resblocks[-1].attn)

    def forward(self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None) -> ClipTokens:
        """Clip tokens; flow and text are not read, and may come along."""
        tokens, features = beside(self.clip.visual, self.side, frames, self.low_memory)
        class_token = tokens[:, :, 0]
        parts = class_token, self.up_linear(self.up_ln(class_token)), self.adapter(features)
        channels = frame_representation(tokens, self.alpha)
        return torch.cat([channels, *(part.to(channels.dtype) for part in parts)], dim=-1)


def _require(parts: TSFSARSettings, clip_width: int, depth: int) -> None:
    if parts.side_width % HEAD_WIDTH or parts.side_width > clip_width:
        expected = f"model.ts_fsar.side_width a multiple of {HEAD_WIDTH} up to CLIP's {clip_width}"
        raise SettingsError(expected, str(parts.side_width), "Change it.")
    if missing := sorted(set(parts.temporal_blocks) - set(range(depth))):
        expected = f"model.ts_fsar.temporal_blocks out of 0..{depth - 1}, the blocks of this CLIP"
        raise SettingsError(expected, str(missing), "Name blocks that there are.")
