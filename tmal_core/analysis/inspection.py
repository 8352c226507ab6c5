"""One episode looked at closely: every distance, every probability, every prediction.

Of a bank with several views of each video the first one is looked at, which is what `ClipReader.evaluate` shows;
`episode_table` alone counts answers as the protocol does, in the views that it draws.

Letters: V videos, T frames, M motion tokens, d joint width; N way, K shot, q queries in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tmal_core.data.episodes import Episode, EpisodeSampler
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.matching import Breakdown, breakdown
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MatchingHead
from tmal_core.models.open_clip_access import kind_of


@dataclass(frozen=True)
class Question:
    """What is asked: an episode, or clips that somebody chose."""

    classes: tuple[str, ...]
    """N names, in the order of the labels 0..N-1."""
    support: np.ndarray
    """(N, K) rows of the catalogue."""
    query: np.ndarray
    """(q,) rows."""
    labels: np.ndarray
    """(q,) the queries' own labels; -1 where a query is of none of the classes, or nobody knows of which."""

    @classmethod
    def of(cls, episode: Episode) -> Question:
        """All queries of an episode, class by class."""
        way, queries = episode.query.shape
        return cls(episode.classes, episode.support, episode.query.ravel(), np.arange(way).repeat(queries))


@dataclass(frozen=True)
class EpisodeResult:
    """What a method makes of a question; support clips in the order of the labels, class by class."""

    question: Question
    distances: np.ndarray
    """(q, N * K) float32, every query to every support clip, or to the prototype of the clip's class where the method
    averages shots; minus the logit of the clip's class where an episode is answered as a whole."""
    probabilities: np.ndarray
    """(q, N) float32, with the learned scale."""

    @property
    def nearness(self) -> np.ndarray:
        """(q, N * K) in 0..1, for colours: 1 is the nearest clip of a query's row, 0 the farthest."""
        lowest, highest = self.distances.min(1, keepdims=True), self.distances.max(1, keepdims=True)
        return 1 - (self.distances - lowest) / np.maximum(highest - lowest, np.finfo(np.float32).tiny)

    @property
    def predicted(self) -> np.ndarray:
        """(q,) labels."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> np.ndarray:
        """(q,) bool."""
        return self.predicted == self.question.labels


class Tokens(NamedTuple):
    """Clip tokens of a question."""

    query: Tensor
    """(q, T + M, d), encoded as queries."""
    support: Tensor
    """(N * K, T + M, d), encoded as support, class by class."""
    text: Tensor | None
    """(N, d) of the classes, where the method reads names."""


@dataclass(frozen=True)
class Asked:
    """A question put to a method: its answer, and what was matched for it."""

    model: FewShotModel
    question: Question
    tokens: Tokens

    @cached_property
    def result(self) -> EpisodeResult:
        """The answer."""
        with torch.no_grad():
            query, support, text = self._on_device
            logits = self.model.head.episode_logits(query, support, self._labels, text)
            if self.model.head.by_episode:
                distances = -logits[:, self._labels]
            else:
                matched, prototypes, at = self._matched
                distances = self.model.head.distances(matched, prototypes)[:, at]
        return EpisodeResult(self.question, distances.cpu().numpy(), logits.softmax(1).cpu().numpy())

    def features(self, query: int, support: int) -> tuple[Tensor, Tensor]:
        """What is matched of a query and a support clip, or its class's prototype: (T, d) and (T, d) on the CPU.

        Raises:
            SettingsError: no two clips are matched, as an episode is answered as a whole.
        """
        matched, prototypes, at = self._matched
        with torch.no_grad():
            matched, prototypes = self.model.head.in_episode(matched, prototypes)
        return matched[query].cpu(), prototypes[at[support]].cpu()

    @cached_property
    def _agreed(self) -> Tensor | None:
        """(q, N or N * K, T, T) what pairs of frames take off the matcher's distances, where they do."""
        matched, prototypes, _ = self._matched
        with torch.no_grad():
            found = self.model.head.agreed(matched, prototypes)
        return None if found is None else found.cpu()

    def parts(self, query: int, support: int) -> Breakdown | None:
        """The distance of the two taken apart; None where the method matches no frames, or moments of several."""
        head = self.model.head
        if not isinstance(head, MatchingHead) or not self.model.encoder.of_frames:
            return None
        agreed, at = self._agreed, self._matched[2]
        own = None if agreed is None else agreed[query, int(at[support])]
        return breakdown(*self.features(query, support), head.matching, head.smoothing, own)

    @property
    def _on_device(self) -> tuple[Tensor, Tensor, Tensor | None]:
        query, support, text = self.tokens
        device = self.model.device
        return query.to(device), support.to(device), None if text is None else text.to(device)

    @property
    def _labels(self) -> Tensor:
        """(N * K,) of the support clips."""
        way, shot = self.question.support.shape
        return torch.arange(way, device=self.model.device).repeat_interleave(shot)

    @cached_property
    def _matched(self) -> tuple[Tensor, Tensor, Tensor]:
        """Modulated queries (q, T, d), prototypes (N or N * K, T, d), and which one a support clip is in, (N * K,)."""
        _require_pairs(self.model)
        query, support, text = self._on_device
        with torch.no_grad():
            prototypes, labels = self.model.head.prototypes(support, self._labels, text)
            matched = self.model.head.modulate(query)
        own = torch.arange(len(support), device=self.model.device)
        return matched, prototypes, own if len(labels) == len(own) else self._labels


def evaluate_episode(model: FewShotModel, bank: Bank, episode: Episode) -> EpisodeResult:
    """One episode from the bank."""
    question = Question.of(episode)
    return Asked(model, question, banked(bank, question)).result


def banked(bank: Bank, question: Question) -> Tokens:
    """A question's clip tokens out of the bank."""
    query, support = (torch.from_numpy(rows.ravel()) for rows in (question.query, question.support))
    text = None if bank.text is None else bank.text.of_videos(question.support[:, 0])
    return Tokens(bank.query[query], bank.support[support], text)


def _require_pairs(model: FewShotModel) -> None:
    if model.head.by_episode:
        got = f"{type(model.head).__name__}, which answers an episode as a whole"
        raise SettingsError("a method that matches one clip with another", got, "Look at another method's.")


@torch.no_grad()
def matched_features(model: FewShotModel, bank: Bank, query: int, support: int) -> tuple[Tensor, Tensor]:
    """What the model matches of two rows of the bank in a 1-shot episode: modulated frame features (T, d) of either.

    One is read as a query, the other as the only support clip of its class, with its name where the model reads names.
    On the CPU, wherever the model is.

    Raises:
        SettingsError: it matches no two clips, or moments of several frames.
    """
    _require_pairs(model)
    if not model.encoder.of_frames:
        got = f"{kind_of(model.encoder.clip.visual)}, which gives moments of several"
        raise SettingsError("an encoder that gives a feature of each frame", got, "Look at another encoder's.")
    device, words = model.device, None
    if model.reads_text and bank.text is not None:
        words = bank.text.of_videos(np.array([support])).to(device)
    as_query = model.head.modulate(bank.query[[query]].to(device))
    matched = model.head.in_episode(as_query, model.head.modulate(bank.support[[support]].to(device), words))
    return matched[0][0].cpu(), matched[1][0].cpu()


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
