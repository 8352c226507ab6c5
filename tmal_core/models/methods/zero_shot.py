"""Frozen CLIP and the classes' names; support clips are not looked at (Radford et al., 2021)."""

from tmal_core.models.encoder import frozen
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import ZeroShotHead
from tmal_core.models.methods.registry import FRAMES_ALONE, NAMES, Method

METHOD = Method(
    "zero_shot",
    "frozen CLIP, class names, no support",
    trained=False,
    any_tower=True,
    build=lambda clip, parts: FewShotModel(frozen(clip), ZeroShotHead(clip.logit_scale)),
    reads=NAMES,
    fixed={"adapters": "none", **FRAMES_ALONE, "matching": "mean", "text_score": 1.0},
)
