"""What is explained: how probable a class is for one query, as a function of the query's frames and flow.

The other side of the comparison (support clips, names) stays as it is. So an explanation says what in the query speaks
for the class, through every part of the method: adapters, fusion, modulation and matching.

Letters: n variants of the query, T frames, C crop in pixels, R x C patches, N way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tmal_core.analysis.inspection import Asked
from tmal_core.data.clips import Clip
from tmal_core.evaluation.feature_bank import encode_clips
from tmal_core.models.few_shot import FewShotModel

_AT_ONCE = 32


@dataclass(frozen=True)
class Target:
    """One class of one question."""

    model: FewShotModel
    support: Tensor
    """(N * K, T + M, d) clip tokens, as support."""
    labels: Tensor
    """(N * K,)"""
    text: Tensor | None
    """(N, d), where names are read."""
    label: int
    """Of the class that is explained."""

    @classmethod
    def of(cls, asked: Asked, label: int) -> Target:
        """A class of a question that was asked; by its label."""
        device, (way, shot) = asked.model.device, asked.question.support.shape
        labels = torch.arange(way, device=device).repeat_interleave(shot)
        text = None if asked.tokens.text is None else asked.tokens.text.to(device)
        return cls(asked.model, asked.tokens.support.to(device), labels, text, label)

    @classmethod
    def of_clips(cls, model: FewShotModel, support: Clip, labels: Tensor, text: Tensor | None, label: int) -> Target:
        """A class of a question that was not asked yet: of its support clips (S, ...), their labels (S,) and names."""
        text = text if model.reads_text or model.head.scores_text else None
        words = None if text is None or not model.encoder.separate_roles else text[labels]
        read = support if model.reads_motion else Clip(support.frames)
        with torch.no_grad():
            tokens = torch.cat([tokens for _, tokens in encode_clips(model, read, words)])
        device = model.device
        return cls(model, tokens.to(device), labels.to(device), None if text is None else text.to(device), label)

    def of_label(self, label: int) -> Target:
        """Another class of the same question."""
        return replace(self, label=label)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.model.clip_encoder.clip.visual.grid_size
        return int(rows), int(columns)

    def logits(self, frames: Tensor, flow_px: Tensor | None = None) -> Tensor:
        """(n, N) of n queries (n, T, 3, C, C) with flow (n, T, 2, C, C); differentiable."""
        tokens = self.model.encoder(frames, flow_px if self.model.reads_motion else None)
        return self.of_tokens(tokens)

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """(n, N) of clip tokens (n, T + M, d); differentiable."""
        return self.model.head.episode_logits(tokens, self.support, self.labels, self.text)

    def score(self, frames: Tensor, flow_px: Tensor | None = None) -> Tensor:
        """(n,) log odds of the class against all others together; differentiable, and not flat where it is sure."""
        logits = self.logits(frames, flow_px)
        others = logits.clone()
        others[:, self.label] = -torch.inf
        return logits[:, self.label] - others.logsumexp(1)

    @torch.no_grad()
    def probability(self, variants: Clip) -> Tensor:
        """(n,) of variants of the query, some at a time, on the CPU."""
        found = []
        for first in range(0, len(variants.frames), _AT_ONCE):
            part = [None if x is None else x[first : first + _AT_ONCE].to(self.model.device) for x in variants]
            assert part[0] is not None
            found.append(self.logits(part[0], part[1]).softmax(1)[:, self.label].cpu())
        return torch.cat(found)


def batch_of(model: FewShotModel, clip: Clip) -> tuple[Tensor, Tensor | None]:
    """A clip as a batch of one on the model's device: frames, and flow where the model reads it."""
    flow_px = clip.flow_px if model.reads_motion else None
    return clip.frames[None].to(model.device), None if flow_px is None else flow_px[None].to(model.device)
