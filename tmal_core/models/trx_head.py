"""TRX's way to answer: tuples of frames of a query look at the tuples of all shots of a class.

Perrett et al., "Temporal-Relational CrossTransformers for Few-Shot Action Recognition", CVPR 2021, section 3. For each
number n of frames in a tuple there is one cross-transformer:

    tuples       frames t1 < ... < tn of a clip side by side, each with its sine and cosine positions added
    keys         LayerNorm(k_linear(tuple)),  values  v_linear(tuple); the same maps for queries and support
    prototype    of a query's tuple and a class: the values of all tuples of all its shots, weighted by
                 softmax(query's key . their keys / sqrt(width))
    distance     mean over the query's tuples of |value - prototype|^2

A class's prototype is another one for every query, so no distance between two clips is behind an answer: an episode is
answered as a whole. Logits are minus the distances, averaged over the transformers as the paper's equal shares; the
public code (github.com/tobyperrett/trx, db3f17b) takes the length of the vector of distances in place of their mean.
Names of parameters, the 0.1 on positions and the dropout behind them are that code's. Its `norm_v` is used by nothing
and left out; the bias of `v_linear` is there as in its checkpoints, though it falls out of value - prototype. Frame
features are CLIP's, as they are.

Letters: n clips, T frames, d joint width, C tuples, W width of keys and values; g episodes, Q queries, S support clips,
N way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tmal_core.matching.cosine import at_least_float32
from tmal_core.models.heads import Head, given

Clips = Float[Tensor, "g n t d"]
Tuples = Float[Tensor, "g n c w"]
POSITION_SCALE, DROPOUT = 0.1, 0.1
_NUMBERS_AT_ONCE_CPU, _NUMBERS_AT_ONCE = 1 << 22, 1 << 28  # of keys of tuples, in episodes that are answered together


class TRXHead(Head):
    """Clip tokens to logits, by a cross-transformer for each of `tuples`, the numbers of frames in a tuple.

    Args:
        width: d.
        tuple_width: W, 1152 in the paper.
        names: the scale of names and their share in the answers, as of `Head`.
    """

    by_episode = True

    def __init__(self, width: int, tuples: Sequence[int] = (2, 3), tuple_width: int = 1152, **names: Any) -> None:
        super().__init__(**names)
        self.log_scale.requires_grad_(False)  # distances are taken as they are
        self.transformers = nn.ModuleList(CrossTransformer(width, size, tuple_width) for size in tuples)
        self.sizes, self.tuple_width, self.least_frames = tuple(tuples), tuple_width, max(tuples)

    def episode_logits(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None = None) -> Tensor:
        return self._logits(query[None], support[None], labels, None if text is None else text[None])[0]

    def group_logits(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None = None) -> Tensor:
        """Some episodes at a time: keys and values of their tuples are many times as large as their clip tokens."""
        num_clips, num_frames = query.shape[1] + support.shape[1], query.shape[2]
        numbers = num_clips * max(math.comb(num_frames, size) for size in self.sizes) * self.tuple_width
        size = max(1, (_NUMBERS_AT_ONCE_CPU if query.device.type == "cpu" else _NUMBERS_AT_ONCE) // numbers)
        texts = [None] * math.ceil(len(query) / size) if text is None else text.split(size)
        groups = zip(query.split(size), support.split(size), texts, strict=True)
        return torch.cat([self._logits(one, other, labels, words) for one, other, words in groups])

    def _logits(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None) -> Tensor:
        query, support = at_least_float32(query, support)
        with torch.autocast(query.device.type, enabled=False):  # distances lie closer than bfloat16 tells apart
            distances = torch.stack([distance(query, support, labels) for distance in self.transformers]).mean(0)
            similarity = None
            if self.scores_text:
                similarity = torch.stack([self.text_similarity(*one) for one in zip(query, given(text), strict=True)])
            return self.score(-distances, similarity)


class CrossTransformer(nn.Module):
    """Distances of queries to classes by tuples of `size` frames of `width`, with keys and values of `tuple_width`."""

    def __init__(self, width: int, size: int, tuple_width: int) -> None:
        super().__init__()
        self.size, self.dropout = size, nn.Dropout(DROPOUT)
        self.k_linear, self.v_linear = (nn.Linear(width * size, tuple_width) for _ in range(2))
        self.norm_k = nn.LayerNorm(tuple_width)

    def forward(
        self, query: Float[Tensor, "g q t d"], support: Float[Tensor, "g s t d"], labels: Int64[Tensor, " s"]
    ) -> Float[Tensor, "g q way"]:
        """Distances of the queries (g, Q, T, d) of g episodes to each class of their support (g, S, T, d).

        Labels are in 0..N-1, each at least once, the same ones in all episodes.

        Raises:
            ValueError: a clip has fewer frames than a tuple.
        """
        if query.shape[2] < self.size:
            raise ValueError(f"expected clips of {self.size} frames or more for such tuples, got {query.shape[2]}")
        (query_keys, query_values), (keys, values) = self._keys_and_values(query), self._keys_and_values(support)
        asked = query_keys.flatten(1, 2) / math.sqrt(query_keys.shape[3])
        distances = []
        for label in range(int(labels.max()) + 1):
            shots = torch.nonzero(labels == label)[:, 0]
            own_keys, own_values = (of_clips[:, shots].flatten(1, 2) for of_clips in (keys, values))
            weights = (asked @ own_keys.transpose(1, 2)).softmax(2)
            prototypes = (weights @ own_values).unflatten(1, query_values.shape[1:3])
            distances.append((query_values - prototypes).square().sum(3).mean(2))
        return torch.stack(distances, 2)

    def _keys_and_values(self, clips: Clips) -> tuple[Tuples, Tuples]:
        """Of all tuples.

        What a linear map makes of frames side by side is the sum of what its parts make of each: a frame passes once
        for each place in a tuple, not once for each tuple that it is in.
        """
        frames = self.dropout(clips + positions(clips.shape[2], clips.shape[3]).to(clips))
        places = torch.combinations(torch.arange(clips.shape[2], device=clips.device), self.size).unbind(1)
        keys, values = (
            sum(
                (frames @ part.T)[:, :, chosen]
                for part, chosen in zip(linear.weight.chunk(self.size, 1), places, strict=True)
            )
            + linear.bias
            for linear in (self.k_linear, self.v_linear)
        )
        return self.norm_k(keys), values


def positions(num_frames: int, width: int) -> Float[Tensor, "t d"]:
    """Sines of the frame's number in even columns and cosines in odd ones (Vaswani et al., 2017), times 0.1.

    >>> positions(2, 4)[:, :2]
    tensor([[0.0000, 0.1000],
            [0.0841, 0.0540]])
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(num_frames)[:, None] * rates
    return POSITION_SCALE * torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]
