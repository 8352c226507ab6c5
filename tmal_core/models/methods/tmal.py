"""TMAL: temporal adapters, flow and text that join CLIP's tokens and the prototypes, any matcher.

It fixes nothing: its ablations are switches of the settings.
"""

from typing import Any

from tmal_core.config import ModelSettings
from tmal_core.models.encoder import build_encoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.fusion import fuses
from tmal_core.models.methods.registry import Method, aligned, compares_whole_frames
from tmal_core.models.prototypes import PrototypeModulation
from tmal_core.models.task_conditioning import TaskConditioning
from tmal_core.models.tmal_head import TMALHead


def _build(clip: Any, parts: ModelSettings) -> FewShotModel:
    encoder, modulation = build_encoder(clip, parts), None
    reads_text = parts.text and fuses(parts, "prototype")
    if reads_text or encoder.motion_token:
        modulation = PrototypeModulation(encoder.joint_width, parts.mlp_width, reads_text)
    joins = modulation, reads_text, encoder.motion_token, _conditioning(encoder.joint_width, parts)
    head = TMALHead(parts.matching, *joins, **aligned(clip, parts))
    head.log_text_scale.requires_grad_(parts.reads_text)
    return FewShotModel(encoder, head)


def _conditioning(width: int, parts: ModelSettings) -> TaskConditioning | None:
    return TaskConditioning(width) if parts.task_conditioned and compares_whole_frames(parts) else None


METHOD = Method("tmal", "TMAL", trained=True, build=_build, reads=set(ModelSettings.model_fields))
