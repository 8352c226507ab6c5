"""A few-shot model: an encoder and a head. What is trained, evaluated and checkpointed.

Letters: n clips, T frames, d joint width; S support clips, Q queries, N way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.heads import Head


class FewShotModel(nn.Module):
    """Clips of an episode to logits.

    Args:
        encoder: clips to clip tokens.
        head: clip tokens to logits.
    """

    def __init__(self, encoder: ClipEncoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def reads_flow(self) -> bool:
        """Whether clips come with flow."""
        return self.encoder.reads_flow

    @property
    def reads_text(self) -> bool:
        """Whether support clips come with their class's text."""
        return self.encoder.separate_roles or self.head.reads_text

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.head.log_scale.device

    def forward(
        self, query: Sequence[Tensor], support: Sequence[Tensor], labels: Tensor, text: Tensor | None = None
    ) -> Tensor:
        """Answer an episode.

        Args:
            query: frames (Q, T, 3, H, W), and flow (Q, T, 2, H, W) where it is read.
            support: the same of S clips.
            labels: (S,) int64 in 0..N-1, each at least once.
            text: (N, d) of the classes, where they are read.

        Returns:
            Logits (Q, N).
        """
        words = text[labels] if self.reads_text else None
        support_tokens = self.encoder(*support, text=words)
        return self.head.episode_logits(self.encoder(*query), support_tokens, labels, text)

    def tunable(self) -> dict[str, Tensor]:
        """What training changes, by name: the content of a checkpoint. The head's scales come first."""
        scales = {f"head.{name}" for name, _ in self.head.named_parameters(recurse=False)}
        learned = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return dict(sorted(learned.items(), key=lambda item: item[0] not in scales))
