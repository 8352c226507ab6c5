"""The methods by name, each a file of this folder, and what the settings make of them."""

from __future__ import annotations

import torch

from tmal_core.config import ModelSettings
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import clip_fsar, otam, protonet, st_adapter, tmal, zero_shot
from tmal_core.models.methods.registry import METHODS, Method, method, register
from tmal_core.models.methods.unread_switches import unread

__all__ = ["METHODS", "Method", "build", "inputs", "method", "needs_names", "register", "resolved", "unread"]

for _found in (
    zero_shot.METHOD,
    protonet.METHOD,
    otam.METHOD,
    clip_fsar.METHOD,
    st_adapter.MEAN,
    st_adapter.OTAM,
    tmal.METHOD,
):
    register(_found)


def resolved(settings: ModelSettings) -> ModelSettings:
    """The settings with what their method fixes."""
    return settings.model_copy(update=dict(method(settings.method).fixed))


def needs_names(settings: ModelSettings) -> bool:
    """Whether the method that the settings name reads names of classes, in its features or for its answers."""
    parts = resolved(settings)
    return parts.reads_text or parts.text_score > 0


def inputs(settings: ModelSettings) -> tuple[str, ...]:
    """What the method that the settings name is given, in words for tables; no weights are needed."""
    return ("frames", *["flow"] * resolved(settings).reads_flow, *["class names"] * needs_names(settings))


def build(settings: ModelSettings, device: str | torch.device = "cpu") -> FewShotModel:
    """The model that the settings name, on its backbone, untrained."""
    clip = load_backbone(located(settings.backbone), settings.pretrained, device)
    return method(settings.method).build(clip, resolved(settings)).to(device)
