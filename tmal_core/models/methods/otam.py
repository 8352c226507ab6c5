"""Frozen CLIP, frames aligned in their order (Cao et al., "Few-Shot Video Classification via Temporal Alignment")."""

from tmal_core.models.encoder import frozen
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import OTAMHead
from tmal_core.models.methods.registry import ALIGNED, FRAMES_ALONE, Method, aligned

METHOD = Method(
    "otam",
    "frozen CLIP, OTAM",
    trained=False,
    any_tower=True,
    build=lambda clip, parts: FewShotModel(frozen(clip), OTAMHead(**aligned(clip, parts))),
    reads=ALIGNED,
    fixed={"adapters": "none", **FRAMES_ALONE, "matching": "otam"},
)
