"""A few-shot model: an encoder and a head. What is trained, evaluated and checkpointed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.frozen_encoder import Encoder
from tmal_core.models.heads import Head, given
from tmal_core.models.open_clip_access import kind_of


class FewShotModel(nn.Module):
    """Clips of an episode to logits: the encoder makes clip tokens of them, the head logits of these.

    `reads_motion`, `reads_text`: whether clips come with flow or differences, and support clips with the class's text.
    """

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.reads_motion, self.reads_text = encoder.reads_motion, encoder.separate_roles or head.reads_text

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.head.log_scale.device

    @property
    def clip_encoder(self) -> ClipEncoder:
        """The encoder, for whoever looks at its blocks and patches; WeightsError where its answers are not made of
        CLIP's own."""
        if not isinstance(self.encoder, ClipEncoder):
            got = f"{type(self.encoder).__name__} with {kind_of(self.encoder.clip.visual)}"
            remedy = "Look at a method that runs CLIP's blocks one by one, on a CLIP ViT."
            raise WeightsError("an encoder whose blocks and patches can be looked into", got, remedy)
        return self.encoder

    def forward(
        self,
        query: Sequence[Tensor],
        support: Sequence[Tensor],
        labels: Int64[Tensor, " s"],
        text: Float[Tensor, "n d"] | None = None,
    ) -> Float[Tensor, "q n"]:
        """Logits of an episode.

        Args:
            query: frames (Q, T, 3, H, W), and flow (Q, T, 2, H, W) where it is read.
            support: the same of S clips.
            labels: of the S clips, in 0..N-1, each at least once.
            text: of the classes, where they are read.

        Raises:
            ValueError: text or flow is read and none came.
        """
        words = given(text)[labels] if self.reads_text else None
        support_tokens = self.encoder(*support, text=words)
        return self.head.episode_logits(self.encoder(*query), support_tokens, labels, text)

    def tunable(self) -> dict[str, Tensor]:
        """What training changes, by name: the content of a checkpoint. The head's scales come first."""
        scales = {f"head.{name}" for name, _ in self.head.named_parameters(recurse=False)}
        learned = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return dict(sorted(learned.items(), key=lambda item: item[0] not in scales))
