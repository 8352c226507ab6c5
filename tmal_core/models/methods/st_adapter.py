"""Temporal adapters in a frozen CLIP (Pan et al., NeurIPS 2022), matched by OTAM or by averaged frames."""

from __future__ import annotations

from torch import nn

from tmal_core.config import ModelSettings
from tmal_core.models.encoder import build_encoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MeanHead, OTAMHead
from tmal_core.models.methods.registry import Method, scores

_FRAMES_ALONE = {"flow_encoder": "none", "text": False, "fusion": "none"}
_READS = frozenset({"adapters", "bottleneck", "logit_scale", "prompt", "text_score", "tune_backbone"})


def _with_mean(clip: nn.Module, parts: ModelSettings) -> FewShotModel:
    return FewShotModel(build_encoder(clip, parts), MeanHead(**scores(clip, parts)))


def _with_otam(clip: nn.Module, parts: ModelSettings) -> FewShotModel:
    return FewShotModel(build_encoder(clip, parts), OTAMHead(parts.smoothing, **scores(clip, parts)))


MEAN = Method(
    name="st_adapter_mean",
    title="temporal adapters, mean-pooled",
    trained=True,
    build=_with_mean,
    reads=_READS,
    fixed={**_FRAMES_ALONE, "matching": "mean"},
)
OTAM = Method(
    name="st_adapter",
    title="temporal adapters, OTAM",
    trained=True,
    build=_with_otam,
    reads=_READS | {"smoothing"},
    fixed={**_FRAMES_ALONE, "matching": "otam"},
)
