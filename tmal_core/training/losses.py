"""What training minimises.

Letters: N way, m clips per class (shots and queries together), K shot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from tmal_core.data.clips import EpisodeClips
from tmal_core.matching.cosine import at_least_float32
from tmal_core.models.few_shot import FewShotModel


@dataclass(frozen=True)
class EpisodeLoss:
    """What one episode costs."""

    loss: Tensor  # a scalar with gradient
    accuracy_pct: float
    text_loss: float = math.nan  # what of it is video-text cross-entropy, before its weight; nan where there is none
    parts: dict[str, Tensor] = field(default_factory=dict)  # what it is the sum of: scalars with gradient, by name


def episode_loss(
    model: FewShotModel,
    clips: EpisodeClips,
    class_text: Tensor | None = None,
    rotate: bool = False,
    text_weight: float = 0.0,
) -> EpisodeLoss:
    """Cross-entropy of the queries' logits; support and queries pass the backbone together.

    Args:
        class_text: (C, d) of all training classes, on the model's device; where the model reads text.
        rotate: let the clips of each class take turns as its support. Encoding is what costs, matching is nearly free,
            so one episode's clips make m episodes. Only where support and query files are of one kind.
        text_weight: w of the video-text cross-entropy over all training classes that is added (CLIP-FSAR, eq. 9).
    """
    device = model.device
    text = class_text[clips.classes.to(device)] if class_text is not None and model.reads_text else None
    clip_text = None if text is None else text[clips.labels.to(device)]
    flow_px = None if clips.flow_px is None else clips.flow_px.to(device, non_blocking=True)
    # Clips that take turns are all support once. Else only those that were drawn as such need that role, which costs as
    # much again from the first text level on.
    num_support = None if rotate else clips.num_support
    frames = clips.frames.to(device, non_blocking=True)
    as_query, as_support = model.encoder.encode_roles(frames, flow_px, clip_text, num_support)
    shot = clips.num_support // len(clips.classes)
    turns = [torch.arange(len(clips.labels)).tensor_split([clips.num_support])]  # the episode as it was drawn
    if rotate and clips.exchangeable:
        turns = list(_rotations(clips.labels, clips.bases, shot))
    answers = []
    for support, query in turns:
        labels = clips.labels[support].to(device)
        answers.append(model.head.episode_logits(as_query[query], as_support[support], labels, text))
    (logits,) = at_least_float32(torch.cat(answers))
    truth = clips.labels[torch.cat([query for _, query in turns])].to(device)
    accuracy_pct = 100.0 * (logits.argmax(1) == truth).float().mean().item()
    loss = F.cross_entropy(logits, truth)
    if not text_weight or class_text is None or text is None:
        return EpisodeLoss(loss, accuracy_pct, parts={"episode": loss})
    named = clips.classes[clips.labels[clips.named]].to(device)
    text_loss = model.head.class_loss(as_query[clips.named], class_text, named)
    parts = {"episode": loss, "text": text_weight * text_loss}
    return EpisodeLoss(loss + parts["text"], accuracy_pct, text_loss.item(), parts)


def gradient_norms(parts: Mapping[str, Tensor], tunable: Mapping[str, Tensor]) -> dict[str, float]:
    """Length of each loss's gradient with respect to all parameters that are tuned; a backward pass each, which leaves
    the graph, the parameters and their `grad` as they are."""
    norms = {}
    for name, loss in parts.items():
        found = torch.autograd.grad(loss, list(tunable.values()), retain_graph=True, allow_unused=True)
        lengths = [torch.linalg.vector_norm(gradient.float()) for gradient in found if gradient is not None]
        norms[name] = torch.linalg.vector_norm(torch.stack(lengths)).item()
    return norms


def _rotations(labels: Tensor, bases: Tensor, shot: int) -> Iterator[tuple[Tensor, Tensor]]:
    """m splits of the clips into support and queries; no query is a version of a support clip."""
    by_class = torch.stack([torch.nonzero(labels == label)[:, 0] for label in labels.unique()])
    way, size = by_class.shape
    for turn in range(size):
        # Classes are shifted against each other: their clips in one column may be versions of one base.
        columns = (turn + torch.arange(way)[:, None] + torch.arange(shot)) % size
        support = by_class.gather(1, columns).flatten()
        query = torch.nonzero(~torch.isin(bases, bases[support]))[:, 0]
        if len(query):
            yield support, query
