"""Frozen CLIP, frames averaged: the nearest class by the cosine of means (Snell et al., NeurIPS 2017, on CLIP)."""

from tmal_core.models.encoder import frozen
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MeanHead
from tmal_core.models.methods.registry import FRAMES_ALONE, SCORES, Method, scores

METHOD = Method(
    "protonet",
    "frozen CLIP, mean-pooled",
    trained=False,
    any_tower=True,
    build=lambda clip, parts: FewShotModel(frozen(clip), MeanHead(**scores(clip, parts))),
    reads=SCORES,
    fixed={"adapters": "none", **FRAMES_ALONE, "matching": "mean"},
)
