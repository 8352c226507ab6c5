"""Temporal adapters in a frozen CLIP (Pan et al., NeurIPS 2022), matched by OTAM or by averaged frames."""

from tmal_core.models.encoder import build_encoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MeanHead, OTAMHead
from tmal_core.models.methods.registry import ALIGNED, FRAMES_ALONE, SCORES, Method, aligned, scores

_READS = SCORES | {"adapters", "bottleneck", "side_width", "temporal_attention", "tune_backbone"}
METHODS = (
    Method(
        "st_adapter_mean",
        "temporal adapters, mean-pooled",
        trained=True,
        build=lambda clip, parts: FewShotModel(build_encoder(clip, parts), MeanHead(**scores(clip, parts))),
        reads=_READS,
        fixed={**FRAMES_ALONE, "matching": "mean"},
    ),
    Method(
        "st_adapter",
        "temporal adapters, OTAM",
        trained=True,
        build=lambda clip, parts: FewShotModel(build_encoder(clip, parts), OTAMHead(**aligned(clip, parts))),
        reads=_READS | ALIGNED,
        fixed={**FRAMES_ALONE, "matching": "otam"},
    ),
)
