"""Episodes over a feature bank as index arrays: all of them are matched together, some at a time.

Letters: V videos, k views, E episodes, N way, K shot, Q queries per class, U prototypes; in one episode q = N * Q
queries and u prototypes (N, or N * K where shots are not averaged).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tmal_core.data.episodes import EpisodeSampler
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import Head, visual_logits
from tmal_core.runtime.seeding import scrambled

_PAIRS_AT_ONCE_CPU = 1024  # in episodes: their clips and tables should stay in the cache
_PAIRS_AT_ONCE = 40_000  # in a table, and on a GPU
_CLIPS_AT_ONCE = 1024
_NUMBERS_AT_ONCE_CPU = 1 << 21  # of the clip tokens of episodes that are answered as a whole
_NUMBERS_AT_ONCE = 1 << 28  # on a GPU
_TABLE_OVER_PAIRS = 1.5  # a table of all distances may have so many times the pairs of the episodes: it copies no clip


@dataclass(frozen=True)
class Episodes:
    """E drawn episodes of one episode type as index arrays; all methods are compared on the same ones."""

    name: str  # of the episode type
    support: np.ndarray  # (E, N, K) rows of the split
    query: np.ndarray  # (E, N, Q) rows of the split
    seed: int = 0  # of the stream that they are the first E of

    @classmethod
    def draw(cls, sampler: EpisodeSampler, count: int) -> Episodes:
        """Episodes 0..count-1 of the sampler."""
        _, support, query = sampler.draw(np.arange(count))
        return cls(sampler.episode_type.name, support, query, sampler.seed)

    @property
    def way(self) -> int:
        return self.support.shape[1]

    def views(self, num_views: int) -> tuple[np.ndarray, np.ndarray]:
        """Which view each slot uses, (E, N, K) and (E, N, Q) in 0..num_views-1: by (seed, episode, slot) alone.

        >>> rows = np.arange(4).reshape(1, 2, 2)  # one 2-way episode: a support clip and a query of each class
        >>> Episodes("all", rows[:, :, :1], rows[:, :, 1:], seed=3).views(4)[0].ravel()
        array([3, 1])
        """
        shots = self.support[0].size
        slots = shots + self.query[0].size
        counter = np.arange(len(self.support), dtype=np.uint64)[:, None] * np.uint64(1 << 20)
        key = scrambled(np.array([self.seed], np.uint64))
        mixed = scrambled(counter + np.arange(slots, dtype=np.uint64) + key)
        drawn = (mixed % np.uint64(num_views)).astype(np.int64)
        return drawn[:, :shots].reshape(self.support.shape), drawn[:, shots:].reshape(self.query.shape)


@dataclass(frozen=True)
class Outcome:
    """What a method found: one row per query, in the order of the episodes.

    Logits are minus mean distances, or similarities to class names (no learned scale: it changes no prediction), or the
    log of both scores combined.
    """

    episodes: Episodes
    logits: np.ndarray  # (E, N * Q, N) float32
    positions: str = ""  # hash of the frames that the clips showed; two methods are compared on the same ones

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
def evaluate(model: FewShotModel, bank: Bank, episodes: Episodes) -> Outcome:
    """Every query's logits from a bank: the same as the model's own, one episode at a time.

    The bank lies on the CPU, and the model where it will. A query's modulation and a prototype of the same support
    clips are computed once for all episodes.
    """
    head, device = model.head, model.device
    # Row v of the bank is video v in its first view; one of another view lies so many times V further on.
    support, query = (
        view * bank.num_videos + rows
        for view, rows in zip(episodes.views(bank.views), (episodes.support, episodes.query), strict=True)
    )
    if head.by_episode:
        return Outcome(episodes, _whole(model, bank, support, query), bank.positions)
    queries, inverse = np.unique(query, return_inverse=True)
    query_at = torch.from_numpy(inverse.reshape(len(query), -1)).to(device)
    tokens = bank.query[torch.from_numpy(queries)].to(device)
    scores = _visual(head, bank, support, tokens, query_at, episodes.way) if head.compares_support else None
    if head.scores_text:
        assert bank.text is not None  # heads that read names come with banks that have them
        similarity = head.text_similarity(tokens, bank.text.features.to(device))
        asked = torch.from_numpy(bank.text.class_of[episodes.support[:, :, 0]]).to(device)
        scores = head.score(scores, similarity[query_at[:, :, None], asked[:, None, :]])
    assert scores is not None  # a head compares support, or reads names, or both
    return Outcome(episodes, scores.cpu().numpy(), bank.positions)


def _whole(model: FewShotModel, bank: Bank, support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Logits (E, q, N) of episodes that are answered as a whole, some at a time; support (E, N, K) and query are bank
    rows."""
    num_episodes, way, shot = support.shape
    rows = [torch.from_numpy(part.reshape(num_episodes, -1)) for part in (query, support)]
    labels = torch.arange(way, device=model.device).repeat_interleave(shot)
    words = None
    if bank.text is not None and (model.reads_text or model.head.scores_text):
        words = bank.text.of_videos(support[:, :, 0] % bank.num_videos)
    numbers = bank.query[0].numel() * sum(part.shape[1] for part in rows)
    size = max(1, (_NUMBERS_AT_ONCE_CPU if model.device.type == "cpu" else _NUMBERS_AT_ONCE) // numbers)
    found = []
    for first in range(0, num_episodes, size):
        chosen = slice(first, first + size)
        asked = _chosen(bank.query, rows[0][chosen]).to(model.device)
        shown = _chosen(bank.support, rows[1][chosen]).to(model.device)
        text = None if words is None else words[chosen].to(model.device)
        answers = model.head.group_logits(asked, shown, labels, text)
        found.append(answers.float().cpu())
    return torch.cat(found).numpy()


def _visual(head: Head, bank: Bank, support: np.ndarray, tokens: Tensor, query_at: Tensor, way: int) -> Tensor:
    """Minus mean distances (E, q, N) of the queries, rows `query_at` (E, q) of their clip tokens, to each class."""
    prototypes, prototype_at, labels = _prototypes(head, bank, support, tokens.device)
    modulated = torch.cat([head.modulate(part) for part in tokens.split(_CLIPS_AT_ONCE)])
    distances = _distances(head, modulated, prototypes, query_at, prototype_at)
    return visual_logits(distances.flatten(0, 1), labels, way).unflatten(0, query_at.shape)


def _prototypes(head: Head, bank: Bank, support: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Prototypes (U, T, d), where episodes find theirs (E, u), and the labels (u,) of these; support are bank rows."""
    num_episodes, way, shot = support.shape
    labels = torch.arange(way, device=device)
    if not head.merges_shots:
        support, shot, labels = support.reshape(num_episodes, way * shot, 1), 1, labels.repeat_interleave(shot)
    # The order of a class's shots does not matter: the same clips are the same prototype.
    sets, at = np.unique(np.sort(support.reshape(-1, shot), 1), axis=0, return_inverse=True)
    words = None
    if head.reads_text:
        assert bank.text is not None
        words = bank.text.of_videos(sets[:, 0] % bank.num_videos)
    parts = []
    for first in range(0, len(sets), _CLIPS_AT_ONCE):
        chosen = slice(first, first + _CLIPS_AT_ONCE)
        means = bank.support[torch.from_numpy(sets[chosen])].to(device).mean(1)
        parts.append(head.modulate(means, None if words is None else words[chosen].to(device)))
    return torch.cat(parts), torch.from_numpy(at.reshape(num_episodes, -1)).to(device), labels


def _distances(head: Head, query: Tensor, prototypes: Tensor, query_at: Tensor, prototype_at: Tensor) -> Tensor:
    """Distances (E, q, u) of the episodes' queries (E, q) to their prototypes (E, u), some at a time.

    Few pairs of many are found episode by episode, and a clip is copied out once for all of its episode's pairs; where
    the episodes ask for most pairs there are, a table of all comes first, unless a distance depends on the episode.
    """
    in_episode = query_at.shape[1] * prototype_at.shape[1]
    most_are_asked = len(query) * len(prototypes) <= _TABLE_OVER_PAIRS * in_episode * len(query_at)
    if most_are_asked and not head.by_support:
        rows = max(1, _PAIRS_AT_ONCE // len(prototypes))
        table = torch.cat([head.distances(part, prototypes) for part in query.split(rows)])
        return table[query_at[:, :, None], prototype_at[:, None, :]]
    size = max(1, (_PAIRS_AT_ONCE_CPU if query.device.type == "cpu" else _PAIRS_AT_ONCE) // in_episode)
    parts = zip(query_at.split(size), prototype_at.split(size), strict=True)
    return torch.cat([head.group_distances(_chosen(query, one), _chosen(prototypes, other)) for one, other in parts])


def _chosen(clips: Tensor, at: Tensor) -> Tensor:
    """`clips[at]`, several times as fast on a CPU: whole clips are copied, not numbers one by one."""
    return clips.index_select(0, at.flatten()).unflatten(0, at.shape)
