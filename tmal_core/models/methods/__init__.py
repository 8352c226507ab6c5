"""The methods by name, each a file of this folder, and what the settings make of them."""

from typing import Any

import torch

from tmal_core.config import ModelSettings
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import clip_fsar, frozen, otam, protonet, st_adapter, tmal, trx, ts_fsar, zero_shot
from tmal_core.models.methods.registry import (
    METHODS,
    Method,
    method,
    needs_names,
    register,
    resolved,
    text_at_test,
    title_of,
)
from tmal_core.models.methods.unread_switches import unread
from tmal_core.models.open_clip_access import has_clip_blocks, has_text, kind_of

__all__ = [
    "METHODS",
    "Method",
    "build",
    "build_on",
    "inputs",
    "method",
    "needs_names",
    "register",
    "resolved",
    "text_at_test",
    "title_of",
    "unread",
]

_FROZEN = (zero_shot.METHOD, protonet.METHOD, otam.METHOD, frozen.METHOD)
_FOUND = (*_FROZEN, clip_fsar.METHOD, *st_adapter.METHODS, trx.METHOD, ts_fsar.METHOD, tmal.METHOD)
for _method in _FOUND:
    register(_method)


def inputs(settings: ModelSettings) -> tuple[str, ...]:
    """What the method that the settings name is given, in words for tables; no weights are needed."""
    parts, names = resolved(settings), needs_names(settings)
    motion = ["flow"] * parts.reads_flow + ["differences of frames"] * parts.reads_differences
    return ("frames", *motion, *["class names"] * names)


def build(settings: ModelSettings, device: str | torch.device = "cpu") -> FewShotModel:
    """The model that the settings name, on its backbone, untrained.

    Raises:
        WeightsError: the backbone cannot be loaded, or as of `build_on`.
        SettingsError: as of `build_on`.
    """
    return build_on(load_backbone(located(settings.backbone), settings.pretrained, device), settings).to(device)


def build_on(clip: Any, settings: ModelSettings) -> FewShotModel:
    """The model that the settings name, untrained, on their backbone as it was loaded.

    Raises:
        WeightsError: the backbone lacks what the method needs: CLIP's own ViT blocks, or a text tower.
        SettingsError: the settings say that it reads flow or names, and the model reads none.
    """
    chosen, parts = method(settings.method), resolved(settings)
    free = [name for name, other in METHODS.items() if other.any_tower]
    if not chosen.any_tower and not has_clip_blocks(clip.visual):
        got = f"{settings.backbone} with {kind_of(clip.visual)}"
        remedy = f"Choose another model.backbone, or a method that takes any image tower: {', '.join(free)}."
        raise WeightsError(f"an image tower of CLIP's own ViT blocks for {chosen.name}", got, remedy)
    if not has_text(clip) and needs_names(settings):
        silent = ", ".join(name for name in free if name != zero_shot.METHOD.name)
        remedy = f"Set model.text_score to 0 with one of {silent}, or choose a backbone of open_clip's."
        got = f"{settings.backbone}, which encodes videos and no text"
        raise WeightsError(f"a backbone with a text tower for {chosen.name}, which reads class names", got, remedy)
    model = chosen.build(clip, parts)
    _require_read(chosen.name, "flow", parts.reads_motion, model.reads_motion, 'flow_encoder "none"')
    _require_read(chosen.name, "text", parts.reads_text, model.reads_text, "text False")
    return model


def _require_read(name: str, what: str, said: bool, reads: bool, fixed: str) -> None:
    """Tables say what the settings say: a method of one's own must not be told to read what it does not."""
    if said and not reads:
        got, remedy = f"one that reads {what} by its settings alone", f"Let the method fix {fixed} (`FRAMES_ALONE`)."
        raise SettingsError(f"a model of {name} that reads what its settings say", got, remedy)
