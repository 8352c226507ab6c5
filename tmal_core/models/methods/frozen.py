"""Any frozen encoder under any matcher: what features give by themselves, however frames are compared."""

from tmal_core.models.encoder import frozen
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MatchingHead
from tmal_core.models.methods.registry import ALIGNED, FRAMES_ALONE, Method, aligned

METHOD = Method(
    "frozen",
    "frozen encoder, any matcher",
    titled=lambda parts: f"frozen encoder, {parts.matching}",
    trained=False,
    any_tower=True,
    build=lambda clip, parts: FewShotModel(frozen(clip), MatchingHead(parts.matching, **aligned(clip, parts))),
    reads=ALIGNED | {"matching"},
    fixed={"adapters": "none", **FRAMES_ALONE},
)
