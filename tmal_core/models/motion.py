"""Motion encoders: optical flow becomes motion tokens on CLIP's patch grid, and one motion token per clip.

Three encoders, chosen by `model.flow_encoder`:

- `stem`: a light convolutional stem, learned; the same tokens serve every fusion level;
- `difference`: the same stem of grey differences of neighbouring native frames: what flow is made of, and no flow;
- `clip`: the flow as a colour-coded picture through the same frozen CLIP; each level gets the tokens that enter it.

Letters: N clips, T frames, S side of the crop, P patches, C width of motion tokens, D of the tower, d joint.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.models import fast_paths
from tmal_core.models.blocks import plain_tokens
from tmal_core.models.motion_fast import stem_tokens
from tmal_core.models.open_clip_access import pooled, statistics

FLOW_UNIT = 0.02
"""Flow enters the networks in units of this share of the crop's side per native frame: 4.5 px of 224, 1.3 px of 64."""


@dataclass(frozen=True)
class Motion:
    """What a motion encoder makes of clips."""

    levels: dict[int, Tensor]
    """Block number -> (N * T, P, C) motion tokens that join before it."""
    clip: Tensor | None
    """(N, d), one motion token per clip; None where the encoder makes none."""

    def of_first(self, num_clips: int, num_frames: int) -> "Motion":
        """The same of the first clips alone."""
        levels = {block: tokens[: num_clips * num_frames] for block, tokens in self.levels.items()}
        return Motion(levels, None if self.clip is None else self.clip[:num_clips])


GREY_UNIT = 0.125
"""Differences enter the stem in units of this share of the range from black to white: on `motion` clips their root mean
square is then 1.0, and the length of flow in its own unit has 1.06."""


class StemEncoder(nn.Module):
    """Two strided convolutions and one over neighbouring patches, on flow.

    Args:
        patch: side of CLIP's patches, in pixels of the crop.
        width: C.
        joint_width: d of the clip's motion token; None for no such token.
        blocks: fusion levels.
    """

    channels = 2

    def __init__(self, patch: int, width: int, joint_width: int | None, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = blocks
        first = max(stride for stride in (4, 2, 1) if patch % stride == 0)
        self.stem = nn.Sequential(
            nn.Conv2d(self.channels, width, first, stride=first),
            nn.GELU(),
            nn.Conv2d(width, width, patch // first, stride=patch // first),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.to_joint = None if joint_width is None else nn.Linear(width, joint_width)

    def forward(self, flow_px: Float[Tensor, "n t c s s"]) -> Motion:
        """Flow in pixels of the crop to motion tokens."""
        scaled = flow_px.flatten(0, 1) / self.unit(flow_px.shape[-1])
        fast = fast_paths.stem_products()
        tokens = stem_tokens(self.stem, scaled) if fast else self.stem(scaled).flatten(2).transpose(1, 2)
        levels = dict.fromkeys(self.blocks, tokens)
        if self.to_joint is None:
            return Motion(levels, None)
        return Motion(levels, self.to_joint(tokens.unflatten(0, flow_px.shape[:2]).mean((1, 2))))

    def unit(self, side: int) -> float:
        """What counts as one, in a crop of that side."""
        return FLOW_UNIT * side


class DifferenceEncoder(StemEncoder):
    """The same of grey differences (n, T, 1, S, S) in -1..1."""

    channels = 1

    def unit(self, side: int) -> float:
        return GREY_UNIT


class PictureEncoder(nn.Module):
    """The frozen image tower `visual`, no part of this module, on colour-coded flow; `blocks` are the fusion levels."""

    mean: Tensor
    std: Tensor

    def __init__(self, visual: Any, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self._visual = (visual,)  # in a tuple it is no submodule: its weights are the encoder's
        self.blocks = blocks
        for name, value in zip(("mean", "std"), statistics(visual), strict=True):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, flow_px: Float[Tensor, "n t 2 s s"]) -> Motion:
        """Flow in pixels of the crop to motion tokens."""
        pictures = (flow_picture(flow_px.flatten(0, 1)) - self.mean) / self.std
        (visual,), levels = self._visual, {}
        for block, tokens in enumerate(plain_tokens(visual, pictures), start=1):  # one by one: few are kept
            if block in self.blocks:
                levels[block] = tokens[:, 1:]
        return Motion(levels, pooled(visual, tokens).unflatten(0, flow_px.shape[:2]).mean(1))


def flow_picture(flow_px: Float[Tensor, "n 2 s s"]) -> Float[Tensor, "n 3 s s"]:
    """Flow, in pixels of the crop, as colours in 0..1: hue is the direction, saturation the length.

    No motion is white; a length of 4 `FLOW_UNIT`s (8 % of the side a frame) and more is fully saturated.

    >>> to_the_right = torch.tensor([8.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 64, 64)
    >>> flow_picture(to_the_right)[0, :, 0, 0]
    tensor([1.0000, 0.2500, 0.2500])
    """
    length = flow_px.norm(dim=1, keepdim=True) / (4 * FLOW_UNIT * flow_px.shape[-1])
    angle = torch.atan2(flow_px[:, 1:], flow_px[:, :1])
    phases = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], device=flow_px.device).view(1, 3, 1, 1)
    hue = 0.5 + 0.5 * torch.cos(angle - phases)
    return 1 - length.clamp(max=1.0) * (1 - hue)
