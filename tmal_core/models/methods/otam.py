"""Frozen CLIP, frames aligned in their order (Cao et al., "Few-Shot Video Classification via Temporal Alignment")."""

from __future__ import annotations

from torch import nn

from tmal_core.config import ModelSettings
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import OTAMHead
from tmal_core.models.methods.registry import Method, scores
from tmal_core.models.methods.zero_shot import FROZEN


def _build(clip: nn.Module, parts: ModelSettings) -> FewShotModel:
    return FewShotModel(ClipEncoder(clip), OTAMHead(parts.smoothing, **scores(clip, parts)))


METHOD = Method(
    name="otam",
    title="frozen CLIP, OTAM",
    trained=False,
    build=_build,
    reads=frozenset({"logit_scale", "prompt", "smoothing", "text_score"}),
    fixed={**FROZEN, "matching": "otam"},
)
