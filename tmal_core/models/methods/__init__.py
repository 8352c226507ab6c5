"""The methods by name, each a file of this folder, and what the settings make of them."""

import torch

from tmal_core.config import ModelSettings
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import clip_fsar, otam, protonet, st_adapter, tmal, zero_shot
from tmal_core.models.methods.registry import METHODS, Method, method, needs_names, register, resolved, text_at_test
from tmal_core.models.methods.unread_switches import unread

__all__ = ["METHODS", "Method", "build", "inputs", "method", "needs_names", "register", "resolved"]
__all__ += ["text_at_test", "unread"]

_FOUND = (zero_shot.METHOD, protonet.METHOD, otam.METHOD, clip_fsar.METHOD, *st_adapter.METHODS, tmal.METHOD)
for _method in _FOUND:
    register(_method)


def inputs(settings: ModelSettings) -> tuple[str, ...]:
    """What the method that the settings name is given, in words for tables; no weights are needed."""
    parts, names = resolved(settings), needs_names(settings)
    motion = ["flow"] * parts.reads_flow + ["differences of frames"] * parts.reads_differences
    return ("frames", *motion, *["class names"] * names)


def build(settings: ModelSettings, device: str | torch.device = "cpu") -> FewShotModel:
    """The model that the settings name, on its backbone, untrained."""
    clip = load_backbone(located(settings.backbone), settings.pretrained, device)
    return method(settings.method).build(clip, resolved(settings)).to(device)
