"""What a model asks of its encoder, and the frozen one: any image tower as it is, picture by picture.

Clips in, clip tokens out. A tower of CLIP's own ViT blocks is run block by block (`models.encoder`), because something
may join there; every other tower of open_clip's, timm's among them, gives its pictures' features and nothing else.

Letters: n clips, T frames, d width of the features, that texts share.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.models.open_clip_access import text_width

Clips = Float[Tensor, "n t 3 h w"]  # frames, normalised by the tower's mean and std
Flow = Float[Tensor, "n t c h w"]  # to the next native frame: c 2, in pixels of the crop; or grey differences, c 1
Text = Float[Tensor, "n d"]  # of each clip's class
ClipTokens = Float[Tensor, "n l width"]  # most often T frame features, width d, and M motion tokens


class Encoder(nn.Module):
    """Clips to clip tokens: the base of all encoders.

    `clip` is what it stands on, an open_clip model in eval mode, `joint_width` d. `reads_motion` says whether clips
    come with flow or differences, `separate_roles` whether a clip has other tokens as support, with its class's text,
    than as query, and `motion_token` whether clip tokens end with a motion token.
    """

    clip: Any
    joint_width: int
    adapters: nn.ModuleDict
    """Place in a block -> one adapter per block; empty where none can stand."""
    reads_motion = False
    separate_roles = False
    motion_token = False
    of_frames = True
    """Whether a clip has one token for each frame, apart from the motion token; else each is of several frames."""
    tune_backbone = False
    """Whether the image tower itself is learned."""
    low_memory = False
    """Whether training gives time for memory: blocks are computed anew in the backward pass."""

    def train(self, mode: bool = True) -> Encoder:
        """Switch what is learned; CLIP has nothing to switch and stays in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def encode_roles(
        self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None, num_support: int | None = None
    ) -> tuple[ClipTokens, Float[Tensor, "support l width"]]:
        """Clip tokens as query and as support: the same tensor twice where roles do not differ."""
        tokens = self(frames, flow_px)
        return tokens, tokens


class FrozenEncoder(Encoder):
    """The features that an image tower gives of each frame; nothing of it is learned, and nothing joins.

    Args:
        clip: an open_clip model (`load_backbone`) with any image tower; frozen, in eval mode.
    """

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False).eval()
        self.adapters, self.joint_width = nn.ModuleDict(), text_width(clip)

    def forward(self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None) -> ClipTokens:
        """Frame features (n, T, d); flow and text are not read."""
        features = self.clip.encode_image(frames.flatten(0, 1), normalize=False)  # CoCa's default would normalise
        return features.unflatten(0, frames.shape[:2])
