"""Motion encoders: optical flow becomes motion tokens on CLIP's patch grid, and one motion token per clip.

Two encoders, chosen by `model.flow_encoder`:

- `stem`: a light convolutional stem, learned; the same tokens serve every fusion level;
- `clip`: the flow as a colour-coded picture through the same frozen CLIP; each level gets the tokens that enter it.

Letters: N clips, T frames, h, w samples of the flow, P patches, C width of motion tokens, D of the tower, d joint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn

from tmal_core.models import fast_paths
from tmal_core.models.blocks import plain_tokens
from tmal_core.models.motion_fast import stem_tokens
from tmal_core.models.open_clip_access import pooled

FLOW_UNIT = 0.02
"""Flow enters the networks in units of this share of the crop's side per native frame: 4.5 px of 224, 1.3 px of 64."""


@dataclass(frozen=True)
class Motion:
    """What a motion encoder makes of clips."""

    levels: dict[int, Tensor]
    """Block number -> (N * T, P, C) motion tokens that join before it."""
    clip: Tensor | None
    """(N, d), one motion token per clip; None where the encoder makes none."""

    def of_first(self, num_clips: int, num_frames: int) -> Motion:
        """The same of the first clips alone."""
        levels = {block: tokens[: num_clips * num_frames] for block, tokens in self.levels.items()}
        return Motion(levels, None if self.clip is None else self.clip[:num_clips])


class StemEncoder(nn.Module):
    """Two strided convolutions and one over neighbouring patches.

    Args:
        patch: side of CLIP's patches, in pixels of the crop.
        width: C.
        joint_width: d of the clip's motion token; None for no such token.
        blocks: fusion levels.
    """

    def __init__(self, patch: int, width: int, joint_width: int | None, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = blocks
        first = max(stride for stride in (4, 2, 1) if patch % stride == 0)
        self.stem = nn.Sequential(
            nn.Conv2d(2, width, first, stride=first),
            nn.GELU(),
            nn.Conv2d(width, width, patch // first, stride=patch // first),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.to_joint = None if joint_width is None else nn.Linear(width, joint_width)

    def forward(self, flow_px: Tensor) -> Motion:
        """Flow (N, T, 2, S, S) in pixels of the crop of side S to motion tokens."""
        num_clips, num_frames = flow_px.shape[:2]
        scaled = flow_px.flatten(0, 1) / (FLOW_UNIT * flow_px.shape[-1])
        tokens = self._tokens(scaled)
        levels = dict.fromkeys(self.blocks, tokens)
        if self.to_joint is None:
            return Motion(levels, None)
        return Motion(levels, self.to_joint(tokens.unflatten(0, (num_clips, num_frames)).mean((1, 2))))

    def _tokens(self, scaled: Tensor) -> Tensor:
        """(n, 2, S, S) to (n, P, C)."""
        if fast_paths.stem_products():
            return stem_tokens(self.stem, scaled)
        return self.stem(scaled).flatten(2).transpose(1, 2)


class PictureEncoder(nn.Module):
    """The frozen image tower on colour-coded flow.

    Args:
        visual: the tower; not a part of this module.
        blocks: fusion levels.
    """

    def __init__(self, visual: nn.Module, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self._visual = (visual,)  # in a tuple it is no submodule: its weights are the encoder's
        self.blocks = blocks
        for name, value in (("mean", OPENAI_DATASET_MEAN), ("std", OPENAI_DATASET_STD)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, flow_px: Tensor) -> Motion:
        """Flow (N, T, 2, S, S) in pixels of the crop of side S to motion tokens."""
        num_clips, num_frames = flow_px.shape[:2]
        pictures = (flow_picture(flow_px.flatten(0, 1)) - self.mean) / self.std
        (visual,), levels = self._visual, {}
        for block, tokens in enumerate(plain_tokens(visual, pictures), start=1):  # one by one: few are kept
            if block in self.blocks:
                levels[block] = tokens[:, 1:]
        return Motion(levels, pooled(visual, tokens).unflatten(0, (num_clips, num_frames)).mean(1))


def flow_picture(flow_px: Tensor) -> Tensor:
    """Flow as colours: hue is the direction, saturation the length; no motion is white.

    Args:
        flow_px: (n, 2, S, S) in pixels of the crop.

    Returns:
        (n, 3, S, S) in 0..1; a length of 4 `FLOW_UNIT`s (8 % of the side a frame) and more is fully saturated.
    """
    length = flow_px.norm(dim=1, keepdim=True) / (4 * FLOW_UNIT * flow_px.shape[-1])
    angle = torch.atan2(flow_px[:, 1:], flow_px[:, :1])
    phases = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], device=flow_px.device).view(1, 3, 1, 1)
    hue = 0.5 + 0.5 * torch.cos(angle - phases)
    saturation = length.clamp(max=1.0)
    return 1 - saturation * (1 - hue)
