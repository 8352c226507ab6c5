"""TMAL's way to answer: any matcher on frame features that gates mix with their motion token and the class's text."""

from typing import Any

from torch import Tensor

from tmal_core.matching import cosine_distance
from tmal_core.matching.cosine import group_cosine_distance
from tmal_core.models.heads import MatchingHead
from tmal_core.models.prototypes import PrototypeModulation
from tmal_core.models.task_conditioning import TaskConditioning


class TMALHead(MatchingHead):
    """Clip tokens to logits; untrained, those of the matcher on plain frame features.

    Args:
        matching: name of the matcher.
        modulation: of prototypes and queries; None where nothing joins there.
        reads_text: whether prototypes come with text.
        motion_token: whether clip tokens end with a motion token.
        conditioning: what the matcher's distance is lessened by; None where the episode has no say. Not where frames
            are averaged or only compared centred.
        scores: as of `MatchingHead`, its smoothing and centring too.
    """

    def __init__(
        self,
        matching: str,
        modulation: PrototypeModulation | None,
        reads_text: bool,
        motion_token: bool,
        conditioning: TaskConditioning | None = None,
        **scores: Any,
    ) -> None:
        super().__init__(matching, **scores)
        self.modulation, self.conditioning = modulation, conditioning
        self.reads_text, self.motion_token, self.merges_shots = reads_text, motion_token, modulation is not None

    def modulate(self, clip_tokens: Tensor, text: Tensor | None = None) -> Tensor:
        frames = self.frame_features(clip_tokens)
        if self.modulation is None:
            return self.centred(frames)
        motion = clip_tokens[:, -1] if self.motion_token else None
        return self.centred(self.modulation(frames, motion, text if self.reads_text else None))

    @property
    def conditioned(self) -> bool:
        """Whether the episode says which moments are to agree."""
        return self.conditioning is not None and self.matching != "mean"

    @property
    def by_support(self) -> bool:
        return self.conditioned or super().by_support

    def agreed(self, query: Tensor, prototypes: Tensor) -> Tensor | None:
        if not self.conditioned:
            return None
        return self._agreed(query, prototypes, cosine_distance(*self.in_episode(query, prototypes)))

    def distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        found = super().distances(query, prototypes)
        if not self.conditioned:
            return found
        between = cosine_distance(*self.in_episode(query, prototypes))
        return found - self._agreed(query, prototypes, between).sum((-2, -1))

    def group_distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        found = super().group_distances(query, prototypes)
        if not self.conditioned:
            return found
        between = group_cosine_distance(*self.in_episode(query, prototypes))
        return found - self._agreed(query, prototypes, between).sum((-2, -1))

    def _agreed(self, query: Tensor, prototypes: Tensor, between: Tensor) -> Tensor:
        assert self.conditioning is not None
        width = self.conditioning.generator.in_features  # without what is centred, of which no mean is left
        return self.conditioning(query[..., :width], prototypes[..., :width], between)
