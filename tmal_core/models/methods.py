"""The methods by name: the same parts, put together otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tmal_core.config import ModelSettings
from tmal_core.errors import SettingsError
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.tmal import BEFORE_ATTENTION, BEFORE_FFN, TMAL


@dataclass(frozen=True)
class Method:
    """A named choice of parts.

    Attributes:
        title: for tables and plots.
        adapted: whether temporal adapters stand in the blocks (and are trained); else CLIP is as it came.
        matching: distance between clips, or "text" where class names are all there is to compare with.
    """

    title: str
    adapted: bool
    matching: str

    @property
    def trained(self) -> bool:
        """Whether anything is learned."""
        return self.adapted


TEXT = "text"
METHODS = {
    "zero_shot": Method("frozen CLIP, class names, no support", False, TEXT),
    "protonet": Method("frozen CLIP, mean-pooled", False, "mean"),
    "otam": Method("frozen CLIP, OTAM", False, "otam"),
    "st_adapter_mean": Method("temporal adapters, mean-pooled", True, "mean"),
    "st_adapter": Method("temporal adapters, OTAM", True, "otam"),
}


_PLACES = {
    "ffn": (BEFORE_FFN,),
    "attention": (BEFORE_ATTENTION,),
    "both": (BEFORE_ATTENTION, BEFORE_FFN),
}


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in METHODS:
        raise SettingsError(f"a method among {', '.join(METHODS)}", repr(name), "Set model.method to one of them.")
    return METHODS[name]


def build(settings: ModelSettings, device: str | torch.device = "cpu") -> TMAL:
    """The model that the settings name, on its backbone, untrained."""
    parts = method(settings.method)
    model = TMAL(
        load_backbone(located(settings.backbone), settings.pretrained, device),
        adapters=_PLACES[settings.adapters] if parts.adapted else (),
        bottleneck=settings.bottleneck,
        matching="mean" if parts.matching == TEXT else parts.matching,
        smoothing=settings.smoothing,
        logit_scale=settings.logit_scale,
    )
    return model.to(device)
