"""Frozen CLIP, frames averaged: the nearest class by the cosine of means (Snell et al., NeurIPS 2017, on CLIP)."""

from __future__ import annotations

from torch import nn

from tmal_core.config import ModelSettings
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MeanHead
from tmal_core.models.methods.registry import Method, scores
from tmal_core.models.methods.zero_shot import FROZEN


def _build(clip: nn.Module, parts: ModelSettings) -> FewShotModel:
    return FewShotModel(ClipEncoder(clip), MeanHead(**scores(clip, parts)))


METHOD = Method(
    name="protonet",
    title="frozen CLIP, mean-pooled",
    trained=False,
    build=_build,
    reads=frozenset({"logit_scale", "prompt", "text_score"}),
    fixed={**FROZEN, "matching": "mean"},
)
