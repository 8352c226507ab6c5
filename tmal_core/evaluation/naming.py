"""Naming new clips from a few examples per class: one open question, with as many examples of a class as there are.

A probability is the softmax of the method's logits. How sure it may be is asked of the examples themselves: each that
has a sibling is named from the others, and the logits are made smaller until these answers are as sure as they are
right (Guo et al., On Calibration of Modern Neural Networks, 2017: temperature scaling). A few examples that happen to
be told apart prove little, so the logits are never made larger.

Letters: S examples, Q new clips, N classes, T frames, M motion tokens per clip, d joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.open_clip_access import has_text

_TEMPERATURES = tuple(2 ** (k / 2) for k in range(17))
_CLIPS_AT_ONCE = 256


@dataclass(frozen=True)
class Examples:
    """Encoded examples."""

    query: Tensor  # (S, T + M, d) clip tokens of each example as a query
    support: Tensor  # the same as support clips
    labels: Tensor  # (S,) int64 in 0..N-1, each at least once
    text: Tensor | None = None  # (N, d) of the classes, for models that read names


@dataclass(frozen=True)
class Check:
    """How the examples name each other."""

    asked: int  # examples that were named from the others
    right: int  # those of them that were named right
    temperature: float  # at least 1; the logits of new clips are divided by it


def use_untrained(model: FewShotModel, num_frames: int) -> None:
    """Give an untrained model CLIP's own scale, per pair of matched frames, in place of a learned one.

    On the diagnostic data set's val split (frozen tiny CLIP, family `appearance`) this is 1.6 for OTAM and 26 for
    averaged frames; the most likely of the scales 2^(k/2) are 1 and 16. Where frozen CLIP is at chance they are lower:
    `check` finds that. A video encoder, which was taught no names, has no such scale: there `model.logit_scale` stays.
    """
    if has_text(model.encoder.clip):
        model.head.use_clip_scale(model.encoder.clip.logit_scale, num_frames)


@torch.no_grad()
def logits(model: FewShotModel, query: Tensor, examples: Examples) -> Tensor:
    """Clip tokens of new clips (Q, T + M, d), encoded as queries, to logits (Q, N) on the CPU."""
    device = model.device
    support, labels = examples.support.to(device), examples.labels.to(device)
    text = None if examples.text is None else examples.text.to(device)
    parts = (part.to(device) for part in query.split(_CLIPS_AT_ONCE))
    return torch.cat([model.head.episode_logits(part, support, labels, text) for part in parts]).float().cpu()


def check(model: FewShotModel, examples: Examples) -> Check:
    """Name each example from the others, where its class has others; how often that is right, and how sure to be."""
    counts = examples.labels.bincount()
    asked = torch.nonzero(counts[examples.labels] > 1).flatten()
    if not len(asked):
        return Check(0, 0, 1.0)
    found = torch.cat([logits(model, examples.query[[i]], _without(examples, i)) for i in asked.tolist()])
    truth = examples.labels[asked]
    losses = [float(cross_entropy(found / temperature, truth)) for temperature in _TEMPERATURES]
    right = int((found.argmax(1) == truth).sum())
    return Check(len(asked), right, _TEMPERATURES[losses.index(min(losses))])


def _without(examples: Examples, index: int) -> Examples:
    rest = torch.arange(len(examples.labels)) != index
    return Examples(examples.query[rest], examples.support[rest], examples.labels[rest], examples.text)
