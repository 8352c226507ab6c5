"""One episode looked at closely: every distance, every probability, every prediction.

Of a bank with several views of each video the first one is looked at, which is what `ClipReader.evaluate` shows;
`episode_table` alone counts answers as the protocol does, in the views that it draws.

Letters: V videos, T frames, d joint width; N way, K shot, Q queries per class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tmal_core.data.episodes import Episode, EpisodeSampler
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.models.few_shot import FewShotModel


@dataclass(frozen=True)
class EpisodeResult:
    """What a method makes of one episode; clips in the order of the labels, class by class."""

    episode: Episode
    distances: np.ndarray
    """(N * Q, N * K) float32, every query to every support clip, or to the prototype of the clip's class where the
    method averages shots."""
    probabilities: np.ndarray
    """(N * Q, N) float32, with the learned scale."""

    @property
    def nearness(self) -> np.ndarray:
        """(N * Q, N * K) in 0..1, for colours: 1 is the nearest clip of a query's row, 0 the farthest."""
        lowest, highest = self.distances.min(1, keepdims=True), self.distances.max(1, keepdims=True)
        return 1 - (self.distances - lowest) / np.maximum(highest - lowest, np.finfo(np.float32).tiny)

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
def evaluate_episode(model: FewShotModel, bank: Bank, episode: Episode) -> EpisodeResult:
    """One episode from the bank."""
    device = model.device
    query = bank.query[torch.from_numpy(episode.query.reshape(-1))].to(device)
    support = bank.support[torch.from_numpy(episode.support.reshape(-1))].to(device)
    labels = torch.arange(len(episode.support), device=device).repeat_interleave(episode.support.shape[1])
    text = bank.text.of_videos(episode.support[:, 0]).to(device) if bank.text is not None else None
    logits = model.head.episode_logits(query, support, labels, text)
    prototypes, prototype_labels = model.head.prototypes(support, labels, text)
    distances = model.head.distances(model.head.modulate(query), prototypes)
    if len(prototype_labels) != len(labels):
        distances = distances[:, labels]
    return EpisodeResult(episode, distances.cpu().numpy(), logits.softmax(1).cpu().numpy())


@torch.no_grad()
def matched_features(model: FewShotModel, bank: Bank, query: int, support: int) -> tuple[Tensor, Tensor]:
    """What the model matches of two rows of the bank in a 1-shot episode: modulated frame features (T, d) of either.

    One is read as a query, the other as the only support clip of its class, with its name where the model reads names.
    On the CPU, wherever the model is.
    """
    device, words = model.device, None
    if model.reads_text and bank.text is not None:
        words = bank.text.of_videos(np.array([support])).to(device)
    as_query = model.head.modulate(bank.query[[query]].to(device))
    return as_query[0].cpu(), model.head.modulate(bank.support[[support]].to(device), words)[0].cpu()


def episode_table(
    models: Mapping[str, FewShotModel], banks: Mapping[str, Bank], sampler: EpisodeSampler, count: int
) -> pd.DataFrame:
    """Which of the sampler's first `count` episodes are worth a look: queries answered right, in percent.

    Of models and banks of the sampler's catalogue by method; one row per episode, a column `episode`, a column per
    method, and `classes`.
    """
    episodes = Episodes.draw(sampler, count)
    outcomes = {name: evaluate(model, banks[name], episodes) for name, model in models.items()}
    right = {name: 100.0 * outcome.correct.mean((1, 2)) for name, outcome in outcomes.items()}
    classes = [" · ".join(sampler[i].classes) for i in range(count)]
    return pd.DataFrame({"episode": np.arange(count), **right, "classes": classes})
