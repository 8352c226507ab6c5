"""Episodes over a feature bank: distances once per pair of videos, then nothing but indexing.

Letters: V videos, E episodes, N way, K shot, Q queries per class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tmal_core.data.episodes import Episode, EpisodeSampler
from tmal_core.models.tmal import TMAL, class_logits

_PAIRS_AT_ONCE = 40_000


@dataclass(frozen=True)
class Episodes:
    """E drawn episodes of one protocol as index arrays; all methods are compared on the same ones.

    Attributes:
        name: of the protocol.
        support: (E, N, K) rows of the split.
        query: (E, N, Q) rows of the split.
    """

    name: str
    support: np.ndarray
    query: np.ndarray

    @classmethod
    def draw(cls, sampler: EpisodeSampler, count: int) -> Episodes:
        """Episodes 0..count-1 of the sampler."""
        drawn: list[Episode] = [sampler[i] for i in range(count)]
        return cls(sampler.protocol.name, np.stack([e.support for e in drawn]), np.stack([e.query for e in drawn]))

    @property
    def way(self) -> int:
        return self.support.shape[1]


@dataclass(frozen=True)
class Outcome:
    """What a method answered: one row per query, in the order of the episodes.

    Attributes:
        episodes: the questions.
        logits: (E, N * Q, N) float32, minus mean distances, or similarities to class names (no learned scale: it
            changes no answer).
    """

    episodes: Episodes
    logits: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(E, N, Q) labels."""
        return self.logits.argmax(2).reshape(self.episodes.query.shape)

    @property
    def correct(self) -> np.ndarray:
        """(E, N, Q) bool."""
        return self.predicted == np.arange(self.episodes.way)[None, :, None]

    @property
    def accuracy_pct(self) -> float:
        return 100.0 * float(self.correct.mean())


@torch.no_grad()
def evaluate(model: TMAL, features: Tensor, episodes: Episodes) -> Outcome:
    """Answer the episodes from frame features (V, T, d)."""
    queries, query_at = np.unique(episodes.query, return_inverse=True)
    supports, support_at = np.unique(episodes.support, return_inverse=True)
    distances = _distances(model, features[queries], features[supports])
    num_episodes, way, shot = episodes.support.shape
    query_at = query_at.reshape(num_episodes, -1)
    support_at = support_at.reshape(num_episodes, -1)
    wanted = distances[query_at[:, :, None], support_at[:, None, :]]
    labels = torch.arange(way).repeat_interleave(shot)
    logits = class_logits(wanted.flatten(0, 1), labels).unflatten(0, (num_episodes, -1))
    return Outcome(episodes, logits.numpy())


@torch.no_grad()
def evaluate_text(features: Tensor, text: Tensor, class_of: np.ndarray, episodes: Episodes) -> Outcome:
    """Answer the episodes from class names alone; the support clips only say which classes are asked for.

    Args:
        features: (V, T, d) frame features.
        text: (C, d) of all classes of the split.
        class_of: (V,) index into `text` of each video's class.
        episodes: the questions.
    """
    pooled = torch.nn.functional.normalize(features.mean(1), dim=-1)
    similarity = (pooled @ torch.nn.functional.normalize(text, dim=-1).T).numpy()
    asked = class_of[episodes.support[:, :, 0]]
    rows = episodes.query.reshape(len(asked), -1)
    return Outcome(episodes, similarity[rows[:, :, None], asked[:, None, :]])


def _distances(model: TMAL, query: Tensor, support: Tensor) -> Tensor:
    """(Q', S') distances, some rows at a time so that memory stays bounded."""
    rows = max(1, _PAIRS_AT_ONCE // len(support))
    return torch.cat([model.distances(part, support) for part in query.split(rows)])
