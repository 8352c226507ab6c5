"""Frozen CLIP and the classes' names; support clips are not looked at (Radford et al., 2021)."""

from __future__ import annotations

from torch import nn

from tmal_core.config import ModelSettings
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import ZeroShotHead
from tmal_core.models.methods.registry import Method

FROZEN = {"adapters": "none", "flow_encoder": "none", "text": False, "fusion": "none"}
"""What methods on plain frame features fix: nothing is added to CLIP."""


def _build(clip: nn.Module, parts: ModelSettings) -> FewShotModel:
    return FewShotModel(ClipEncoder(clip), ZeroShotHead(clip.logit_scale))


METHOD = Method(
    name="zero_shot",
    title="frozen CLIP, class names, no support",
    trained=False,
    build=_build,
    reads=frozenset({"prompt"}),
    fixed={**FROZEN, "matching": "mean", "text_score": 1.0},
)
