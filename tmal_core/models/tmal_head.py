"""TMAL's way to answer: any matcher on frame features that gates mix with their motion token and the class's text."""

from typing import Any

from torch import Tensor

from tmal_core.models.heads import MatchingHead
from tmal_core.models.prototypes import PrototypeModulation


class TMALHead(MatchingHead):
    """Clip tokens to logits; untrained, those of the matcher on plain frame features.

    Args:
        matching: name of the matcher.
        modulation: of prototypes and queries; None where nothing joins there.
        reads_text: whether prototypes come with text.
        motion_token: whether clip tokens end with a motion token.
        scores: as of `MatchingHead`, its smoothing and centring too.
    """

    def __init__(
        self,
        matching: str,
        modulation: PrototypeModulation | None,
        reads_text: bool,
        motion_token: bool,
        **scores: Any,
    ) -> None:
        super().__init__(matching, **scores)
        self.modulation = modulation
        self.reads_text, self.motion_token, self.merges_shots = reads_text, motion_token, modulation is not None

    def modulate(self, clip_tokens: Tensor, text: Tensor | None = None) -> Tensor:
        frames = self.frame_features(clip_tokens)
        if self.modulation is None:
            return self.centred(frames)
        motion = clip_tokens[:, -1] if self.motion_token else None
        return self.centred(self.modulation(frames, motion, text if self.reads_text else None))
