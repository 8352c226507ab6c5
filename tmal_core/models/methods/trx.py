"""Temporal adapters in a frozen CLIP, answered by TRX's cross-transformers (Perrett et al., CVPR 2021).

TRX fine-tunes a ResNet-50; here the encoder is that of `st_adapter`, so that the two differ in how they match alone.
`model.adapters: none` is a CLIP that stays as it is.
"""

from typing import Any

from tmal_core.config import ModelSettings
from tmal_core.models.encoder import build_encoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods.registry import FRAMES_ALONE, NAMES, Method, scores
from tmal_core.models.trx_head import TRXHead


def _build(clip: Any, parts: ModelSettings) -> FewShotModel:
    encoder, names = build_encoder(clip, parts), scores(clip, parts)
    names.pop("logit_scale")  # distances are taken as they are
    return FewShotModel(encoder, TRXHead(encoder.joint_width, parts.tuples, parts.tuple_width, **names))


METHOD = Method(
    "trx",
    "temporal adapters, TRX",
    trained=True,
    build=_build,
    reads=NAMES
    | {"adapters", "bottleneck", "side_width", "temporal_attention", "text_score", "tune_backbone"}
    | {"tuple_width", "tuples"},
    fixed=FRAMES_ALONE,
    starts_as_clip=False,
)
