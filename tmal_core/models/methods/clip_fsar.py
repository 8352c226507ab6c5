"""CLIP-FSAR: CLIP's image tower fine-tuned, prototypes that read the class name (Wang et al., IJCV 2023)."""

from typing import Any

from tmal_core.config import ModelSettings
from tmal_core.models.clip_fsar_head import CLIPFSARHead
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods.registry import NAMES, Method


def _build(clip: Any, parts: ModelSettings) -> FewShotModel:
    encoder = ClipEncoder(clip, tune_backbone=True)
    return FewShotModel(encoder, CLIPFSARHead(encoder.joint_width, parts.mlp_width, parts.smoothing, parts.text_score))


_FIXED = {"adapters": "none", "flow_encoder": "none", "text": True, "fusion": "prototype"}
_REFERENCE = {"matching": "otam", "smoothing_unit": "absolute", "centre": "none"}
METHOD = Method(
    "clip_fsar",
    "CLIP-FSAR, fine-tuned",
    trained=True,
    build=_build,
    reads=NAMES | {"mlp_width", "smoothing", "text_score"},
    fixed={**_FIXED, **_REFERENCE, "tune_backbone": True},
    starts_as_clip=False,
)
