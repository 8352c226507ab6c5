"""TS-FSAR's way to answer: channel distances matched by a matrix that the task makes, and two scores of class names.

"Task-Specific Distance Correlation Matching for Few-Shot Action Recognition", AAAI 2026 (arXiv 2512.11340), as its code
computes it (github.com/yaozhang0417/TS-FSAR, commit 1a91053); the form of its checkpoints is `references.TSFSAR`.

    in training   logits: the matching's scores as they are
    at test       log of p_matching^a p_clip^b p_lsn^c, each p over the episode's classes

Letters: g episodes, n clips, S support clips, Q queries, N way, C training classes, T frames, d joint width.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize

from tmal_core.config import TSFSARSettings
from tmal_core.models.heads import Head, Names, given
from tmal_core.models.prototypes import class_means
from tmal_core.models.task_matching import TaskMatching
from tmal_core.models.ts_fsar_encoder import described
from tmal_core.models.ts_fsar_scores import distillation_loss, log_fused

Words = Float[Tensor, "*g c d"]
Logits = Float[Tensor, "*n c"]


class TSFSARHead(Head):
    """Clip tokens of `TSFSAREncoder` to logits.

    Args:
        parts: widths, temperatures, powers at test, and weights of the losses.
    """

    by_episode = reads_text = True

    def __init__(self, parts: TSFSARSettings) -> None:
        super().__init__()
        self.log_scale.requires_grad_(False)  # scores are logits as they are
        self.register_parameter("log_text_scale", None)  # the names' are settings
        self.parts = parts
        self.matching = TaskMatching(parts.side_width, parts.num_frames, parts.alpha)
        self.guided: nn.Linear | None = None
        """Channel distances to training classes; there once these are known."""

    @property
    def scores_text(self) -> bool:
        return any(self.parts.powers[1:]) and not self.training

    def take_classes(self, num_classes: int) -> None:
        """Make the classifier of the training classes."""
        width, generator = self.parts.side_width, self.matching.generator.weight
        channels = width * (width + 1) // 2
        self.guided = nn.Linear(channels, num_classes, bias=False, device=generator.device, dtype=generator.dtype)

    def take_shapes(self, tensors: dict[str, Tensor]) -> None:
        if "head.guided.weight" in tensors:
            self.take_classes(len(tensors["head.guided.weight"]))

    def episode_logits(
        self,
        query: Float[Tensor, "q t l"],
        support: Float[Tensor, "s t l"],
        labels: Int64[Tensor, " s"],
        text: Float[Tensor, "n d"] | None = None,
    ) -> Float[Tensor, "q n"]:
        return self.group_logits(query[None], support[None], labels, None if text is None else text[None])[0]

    def group_logits(
        self,
        query: Float[Tensor, "g q t l"],
        support: Float[Tensor, "g s t l"],
        labels: Int64[Tensor, " s"],
        text: Words | None = None,
    ) -> Float[Tensor, "g q n"]:
        asked, shown = (described(clips, self.parts.side_width) for clips in (query, support))
        prototypes = _means(shown.channels, labels)
        task = asked.class_token.mean(2) + shown.class_token.mean((1, 2))[:, None]
        scores = self.matching.scores(asked.channels, prototypes, task)
        if not self.scores_text:
            return scores
        words = given(text)
        return log_fused((scores, self._clip_logits(query, words), self._side_logits(query, words)), self.parts.powers)

    def class_loss(
        self, clip_tokens: Float[Tensor, "n t l"], class_text: Names, class_ids: Int64[Tensor, " n"]
    ) -> Tensor:
        """The losses of all clips over the training classes, with their weights: of the side network by channel
        distances and by text, of the adapted CLIP by text, and what the last teaches the first."""
        assert self.guided is not None  # training knows its classes
        p = self.parts
        mean = described(clip_tokens, p.side_width).channels.mean(1)
        with torch.autocast(mean.device.type, enabled=False):
            guided = self.guided(dropout(mean, p.dropout, self.training))
        clip, side = self._clip_logits(clip_tokens, class_text), self._side_logits(clip_tokens, class_text)
        taught = distillation_loss(guided, clip, p.distillation_temperature) + cross_entropy(clip, class_ids)
        by_name = p.guided_weight * cross_entropy(guided, class_ids) + p.side_weight * cross_entropy(side, class_ids)
        return by_name + p.clip_weight * taught

    def _clip_logits(self, clip_tokens: Float[Tensor, "*n t l"], text: Words) -> Logits:
        adapted = described(clip_tokens, self.parts.side_width).adapted
        return self.parts.clip_temperature * _cosines(adapted, text)

    def _side_logits(self, clip_tokens: Float[Tensor, "*n t l"], text: Words) -> Logits:
        raised = described(clip_tokens, self.parts.side_width).raised
        return self.parts.side_temperature * _cosines(raised, text)


def _means(channels: Float[Tensor, "g s t m"], labels: Int64[Tensor, " s"]) -> Float[Tensor, "g n t m"]:
    """Of each class, in ascending order of label: without a copy where the clips already lie class by class."""
    way = len(labels.unique())
    shot = len(labels) // way
    if not torch.equal(labels, torch.arange(way, device=labels.device).repeat_interleave(shot)):
        return torch.stack([class_means(clips, labels) for clips in channels])
    return channels if shot == 1 else channels.unflatten(1, (way, shot)).mean(2)


def _cosines(frames: Float[Tensor, "*n t d"], text: Words) -> Float[Tensor, "*n c"]:
    """Of mean frame features with names, in float32."""
    with torch.autocast(frames.device.type, enabled=False):
        return normalize(frames.mean(-2), dim=-1) @ normalize(text.to(frames.dtype), dim=-1).transpose(-2, -1)
