"""The plain versions that benchmarks compare with: the same numbers, computed as the reference code does.

Frozen CLIP as open_clip runs it, ST-Adapter with its permutations, OTAM cell by cell, support and queries encoded one
after the other, and nothing kept between episodes.

Letters: n clips, T frames, P patches, D width; Q queries, S supports, U support frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from tmal_core.models.adapters import STAdapter
from tmal_core.models.encoder import BEFORE_FFN, ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.open_clip_access import embedded, pooled


def encode(encoder: ClipEncoder, frames: Tensor) -> Tensor:
    """Frame features (n, T, d) of clips (n, T, 3, H, W), by a frozen CLIP or one with adapters before the FFN."""
    visual = encoder.clip.visual
    tokens = embedded(visual, frames.flatten(0, 1))
    adapters = encoder.adapters[BEFORE_FFN] if BEFORE_FFN in encoder.adapters else [None] * encoder.depth
    for block, adapter in zip(visual.transformer.resblocks, adapters, strict=True):
        tokens = tokens + block.ls_1(block.attention(q_x=block.ln_1(tokens)))
        if adapter is not None:
            tokens = adapted(adapter, tokens, frames.shape[1])
        tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return pooled(visual, tokens).unflatten(0, frames.shape[:2])


def adapted(adapter: STAdapter, tokens: Tensor, num_frames: int) -> Tensor:
    """Tokens (n * T, 1 + P, D) after the adapter: patches taken out, channels moved to the front and back again."""
    side = math.isqrt(tokens.shape[1] - 1)
    hidden = adapter.fc1(tokens[:, 1:]).view(-1, num_frames, side, side, adapter.fc1.out_features)
    mixed = adapter.conv(hidden.permute(0, 4, 1, 2, 3).contiguous()).permute(0, 2, 3, 4, 1).contiguous()
    out = tokens.clone()
    out[:, 1:] += adapter.fc2(mixed.view(len(tokens), side * side, -1))
    return out


def cosine(query: Tensor, support: Tensor) -> Tensor:
    """Distances (Q, S, T, U) of frames (Q, T, D) and (S, U, D)."""
    first, second = query.flatten(0, 1), support.flatten(0, 1)
    norms = first.norm(dim=1)[:, None] * second.norm(dim=1)[None]
    distances = 1 - first @ second.T / (norms + 0.01)
    return distances.view(*query.shape[:2], *support.shape[:2]).transpose(1, 2)


def otam(distances: Tensor, smoothing: float = 0.5) -> Tensor:
    """Distances (Q, S) from (Q, S, T, U), both directions."""
    return _one_way(distances, smoothing) + _one_way(distances.transpose(2, 3), smoothing)


def _one_way(distances: Tensor, smoothing: float) -> Tensor:
    d = pad(distances, (1, 1))
    num_rows, num_columns = d.shape[2:]
    costs = torch.zeros_like(d)
    for m in range(1, num_columns):
        costs[:, :, 0, m] = d[:, :, 0, m] + costs[:, :, 0, m - 1]
    for row in range(1, num_rows):
        for m in range(1, num_columns):
            before = [(row - 1, m - 1), (row, m - 1)]
            if m in (1, num_columns - 1):
                before.append((row - 1, m))
            total = sum(torch.exp(-costs[:, :, i, j] / smoothing) for i, j in before)
            costs[:, :, row, m] = d[:, :, row, m] - smoothing * torch.log(total)
    return costs[:, :, -1, -1]


def logits(query: Tensor, support: Tensor, way: int, smoothing: float = 0.5) -> Tensor:
    """Minus the mean distance of frame features (Q, T, d) to each class, (Q, way); support (S, U, d) class by class."""
    return -otam(cosine(query, support), smoothing).unflatten(1, (way, -1)).mean(2)


class Episode(NamedTuple):
    """Clips of an episode, class by class: (way * K, T, 3, H, W) and (way * Q, T, 3, H, W)."""

    support: Tensor
    query: Tensor
    way: int


def answers(model: FewShotModel, episodes: Iterable[Episode]) -> Iterator[Tensor]:
    """The protocol: logits (way * Q, way) of one episode after another, every clip of it encoded."""
    with torch.no_grad():
        for episode in episodes:
            support, query = encode(model.encoder, episode.support), encode(model.encoder, episode.query)
            yield logits(query, support, episode.way, **model.head.options)


def step(model: FewShotModel, episode: Episode, optimiser: torch.optim.Optimizer, clip_norm: float) -> float:
    """One training step, and its loss."""
    model.train()
    support, query = encode(model.encoder, episode.support), encode(model.encoder, episode.query)
    scores = model.head.log_scale.exp() * logits(query, support, episode.way, **model.head.options)
    truth = torch.arange(episode.way, device=scores.device).repeat_interleave(len(query) // episode.way)
    loss = cross_entropy(scores, truth)
    loss.backward()
    nn.utils.clip_grad_norm_(model.tunable().values(), clip_norm)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss.item()
