"""A frozen encoder of whole clips, by tubelets of neighbouring frames. Clips in, clip tokens out.

A video transformer attends over all tubelets of a clip. Its clip tokens are the means of the last layer's tokens over
the places of each time step, T' = T / tubelet of them, so that every matcher has steps to compare in their order. It
stands where a CLIP stands elsewhere, and has no text: methods that read class names refuse it (`models.methods.build`).

Letters: n clips, T frames, T' time steps, d width.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.errors import SettingsError
from tmal_core.models.frozen_encoder import Clips, ClipTokens, Encoder, Flow, Text


class VideoTower(nn.Module):
    """A video transformer of transformers, frozen, in CLIP's place.

    Args:
        visual: takes pixels (n, T, 3, h, w) and answers with a `last_hidden_state` (n, T' * places, d), time first.
        name: for messages.
        image_size: h = w, in pixels.
        width: d.
        tubelet: frames of a time step.
        num_frames: T that its positions are made for; None where any multiple of a tubelet will do.
        made_as: its whole architecture. Of heads or activation no weight tells, and two encoders that differ in these
            alone must not share a key (`frozen_hash`, `bank_key`).
    """

    def __init__(
        self,
        visual: nn.Module,
        name: str,
        image_size: int,
        width: int,
        tubelet: int,
        num_frames: int | None,
        made_as: str = "",
    ) -> None:
        super().__init__()
        frozen: Any = visual.requires_grad_(False).eval()
        frozen.image_size = image_size  # where towers of open_clip have it
        self.visual = frozen
        self.name, self.width, self.tubelet, self.num_frames = name, width, tubelet, num_frames
        # What heads start a scale of names from, which nobody asks for here: the start of CLIP's training.
        self.register_buffer("logit_scale", torch.tensor(math.log(1 / 0.07)))
        digest = hashlib.sha256(made_as.encode()).digest()
        self.register_buffer("made_as", torch.tensor(list(digest), dtype=torch.uint8))

    def encode_video(self, frames: Clips) -> Float[Tensor, "n s d"]:
        """Time steps of clips.

        Raises:
            SettingsError: a number of frames that it does not take.
        """
        num_frames = frames.shape[1]
        if num_frames != (self.num_frames or num_frames) or num_frames % self.tubelet:
            takes = f"{self.num_frames}" if self.num_frames else f"a multiple of {self.tubelet}"
            remedy = f"Set sampling.num_frames to {self.num_frames or 'such a number'}."
            raise SettingsError(f"{takes} frames a clip, as {self.name} takes", str(num_frames), remedy)
        tokens = self.visual(frames).last_hidden_state
        return tokens.unflatten(1, (num_frames // self.tubelet, -1)).mean(2)


class VideoEncoder(Encoder):
    """Clips to the time steps of a frozen video transformer.

    Args:
        tower: in eval mode.
    """

    of_frames = False

    def __init__(self, tower: VideoTower) -> None:
        super().__init__()
        self.clip, self.adapters, self.joint_width = tower, nn.ModuleDict(), tower.width

    def forward(self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None) -> ClipTokens:
        """Time steps (n, T', d); flow and text are not read."""
        return self.clip.encode_video(frames)
