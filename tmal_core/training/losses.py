"""What training minimises.

Letters: N way, m clips per class (shots and queries together), K shot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tmal_core.clips import EpisodeClips
from tmal_core.models.tmal import TMAL


@dataclass(frozen=True)
class EpisodeLoss:
    """Loss of one episode (a scalar with gradient) and its accuracy in percent."""

    loss: Tensor
    accuracy_pct: float


def episode_loss(model: TMAL, clips: EpisodeClips, rotate: bool = False) -> EpisodeLoss:
    """Cross-entropy of the queries' logits; support and queries pass the backbone together.

    Args:
        rotate: let the clips of each class take turns as its support. Encoding is what costs, matching is nearly free,
            so one episode's clips make m episodes. Only where support and query files are of one kind.
    """
    device = model.log_scale.device
    features = model.encode(torch.cat([clips.support, clips.query]).to(device))
    labels = torch.cat([clips.support_labels, clips.query_labels])
    films = torch.cat([clips.support_films, clips.query_films])
    shot = len(clips.support) // (int(labels.max()) + 1)
    rounds = _rotations(labels, films, shot) if rotate and clips.exchangeable else _as_drawn(labels, len(clips.support))
    logits, truth = [], []
    for support, query in rounds:
        logits.append(model.episode_logits(features[query], features[support], labels[support].to(device)))
        truth.append(labels[query])
    logits, truth = torch.cat(logits).float(), torch.cat(truth).to(device)
    accuracy_pct = 100.0 * (logits.argmax(1) == truth).float().mean().item()
    return EpisodeLoss(F.cross_entropy(logits, truth), accuracy_pct)


def _as_drawn(labels: Tensor, num_support: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The episode as the sampler drew it: rows of its support and of its queries."""
    rows = torch.arange(len(labels))
    yield rows[:num_support], rows[num_support:]


def _rotations(labels: Tensor, films: Tensor, shot: int) -> Iterator[tuple[Tensor, Tensor]]:
    """m splits of the clips into support and queries; no query is a version of a support clip."""
    by_class = torch.stack([torch.nonzero(labels == label)[:, 0] for label in labels.unique()])
    way, size = by_class.shape
    for turn in range(size):
        # Classes are shifted against each other: their clips in one column may be versions of one film.
        columns = (turn + torch.arange(way)[:, None] + torch.arange(shot)) % size
        support = by_class.gather(1, columns).flatten()
        query = torch.nonzero(~torch.isin(films, films[support]))[:, 0]
        if len(query):
            yield support, query
