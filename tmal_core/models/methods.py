"""The methods by name: the same parts, put together otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tmal_core.config import ModelSettings, in_project
from tmal_core.errors import SettingsError
from tmal_core.models.backbone import load_backbone
from tmal_core.models.tmal import BEFORE_FFN, TMAL


@dataclass(frozen=True)
class Method:
    """A named choice of parts.

    Attributes:
        title: for tables and plots.
        adapters: places of temporal adapters in each block.
        matching: distance between clips.
        trained: whether anything is learned.
    """

    title: str
    adapters: tuple[str, ...]
    matching: str
    trained: bool


METHODS = {
    "protonet": Method("frozen CLIP, mean-pooled", (), "mean", trained=False),
    "otam": Method("frozen CLIP, OTAM", (), "otam", trained=False),
    "st_adapter_mean": Method("temporal adapters, mean-pooled", (BEFORE_FFN,), "mean", trained=True),
    "st_adapter": Method("temporal adapters, OTAM", (BEFORE_FFN,), "otam", trained=True),
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
    folder = in_project(settings.backbone)
    model = TMAL(
        load_backbone(str(folder) if folder.is_dir() else settings.backbone, settings.pretrained, device),
        adapters=parts.adapters,
        bottleneck=settings.bottleneck,
        matching=parts.matching,
        smoothing=settings.smoothing,
        logit_scale=settings.logit_scale,
    )
    return model.to(device)
