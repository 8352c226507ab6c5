"""One episode looked at closely: every distance, every probability, every answer.

Letters: V videos, T frames, d joint width; N way, K shot, Q queries per class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tmal_core.data.episodes import Episode
from tmal_core.models.tmal import TMAL, class_logits


@dataclass(frozen=True)
class Answer:
    """What a method answered to one episode; clips in the order of the labels, class by class.

    Attributes:
        episode: the question.
        distances: (N * Q, N * K) float32, every query to every support clip.
        probabilities: (N * Q, N) float32, with the learned scale.
    """

    episode: Episode
    distances: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(N * Q,) labels."""
        return self.probabilities.argmax(1)

    @property
    def labels(self) -> np.ndarray:
        """(N * Q,) the queries' own labels."""
        way, queries = self.episode.query.shape
        return np.arange(way).repeat(queries)

    @property
    def correct(self) -> np.ndarray:
        """(N * Q,) bool."""
        return self.predicted == self.labels


@torch.no_grad()
def answer_episode(model: TMAL, features: Tensor, episode: Episode) -> Answer:
    """Answer one episode from the bank's frame features (V, T, d)."""
    query, support = (features[rows.reshape(-1)] for rows in (episode.query, episode.support))
    distances = model.distances(query, support)
    labels = torch.arange(len(episode.support)).repeat_interleave(episode.support.shape[1])
    logits = model.log_scale.exp().cpu() * class_logits(distances, labels)
    return Answer(episode, distances.numpy(), logits.softmax(1).numpy())
