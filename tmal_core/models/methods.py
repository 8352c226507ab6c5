"""The methods by name: the same parts, put together otherwise.

A method is a set of switches of `ModelSettings` that it forces; everything else is as the settings say. `tmal` forces
nothing: its ablations are switches of the settings themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from tmal_core.config import ModelSettings
from tmal_core.errors import SettingsError
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.tmal import TMAL


@dataclass(frozen=True)
class Method:
    """A named choice of parts.

    Attributes:
        title: for tables and plots.
        trained: whether anything is learned.
        forced: switches of `ModelSettings` and what they are set to.
        text_only: whether class names are all there is to compare with, no support clip.
    """

    title: str
    trained: bool
    forced: MappingProxyType[str, Any] = field(hash=False)
    text_only: bool = False


def _method(title: str, trained: bool, text_only: bool = False, **forced: Any) -> Method:
    return Method(title, trained, MappingProxyType(forced), text_only)


_RGB = {"flow_encoder": "none", "text": False, "fusion": "none"}
_FROZEN = {"adapters": "none", **_RGB}

METHODS = {
    "zero_shot": _method("frozen CLIP, class names, no support", False, True, **_FROZEN, matching="mean"),
    "protonet": _method("frozen CLIP, mean-pooled", False, **_FROZEN, matching="mean"),
    "otam": _method("frozen CLIP, OTAM", False, **_FROZEN, matching="otam"),
    "clip_fsar": _method(
        "CLIP-FSAR, fine-tuned",
        True,
        adapters="none",
        flow_encoder="none",
        text=True,
        fusion="prototype",
        gated=False,
        tune_backbone=True,
        matching="otam",
    ),
    "st_adapter_mean": _method("temporal adapters, mean-pooled", True, **_RGB, matching="mean"),
    "st_adapter": _method("temporal adapters, OTAM", True, **_RGB, matching="otam"),
    "tmal": _method("TMAL", True),
}


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in METHODS:
        raise SettingsError(f"a method among {', '.join(METHODS)}", repr(name), "Set model.method to one of them.")
    return METHODS[name]


def resolved(settings: ModelSettings) -> ModelSettings:
    """The settings with what their method forces."""
    return settings.model_copy(update=dict(method(settings.method).forced))


def needs_names(settings: ModelSettings) -> bool:
    """Whether the method that the settings name reads names of classes, in its features or for its answers."""
    parts = resolved(settings)
    return parts.reads_text or parts.text_score > 0 or method(settings.method).text_only


def inputs(settings: ModelSettings) -> tuple[str, ...]:
    """What the method that the settings name is given, in words for tables; no weights are needed."""
    return ("frames", *["flow"] * resolved(settings).reads_flow, *["class names"] * needs_names(settings))


def build(settings: ModelSettings, device: str | torch.device = "cpu") -> TMAL:
    """The model that the settings name, on its backbone, untrained."""
    clip = load_backbone(located(settings.backbone), settings.pretrained, device)
    return TMAL(clip, resolved(settings)).to(device)
