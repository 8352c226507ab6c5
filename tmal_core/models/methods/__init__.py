"""The methods by name, each a file of this folder, and what the settings make of them."""

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
        WeightsError: the backbone cannot be loaded, or it lacks what the method needs: CLIP's own ViT blocks, or a
            text tower.
        SettingsError: the settings say that it reads flow or names, and the model reads none.
    """
    clip, chosen = load_backbone(located(settings.backbone), settings.pretrained, device), method(settings.method)
    if not chosen.any_tower and not has_clip_blocks(clip.visual):
        free = ", ".join(name for name, other in METHODS.items() if other.any_tower)
        got = f"{settings.backbone} with {kind_of(clip.visual)}"
        remedy = f"Choose another model.backbone, or a method that takes any image tower: {free}."
        raise WeightsError(f"an image tower of CLIP's own ViT blocks for {chosen.name}", got, remedy)
    if not has_text(clip) and needs_names(settings):
        silent = ", ".join(name for name, other in METHODS.items() if other.any_tower and name != zero_shot.METHOD.name)
        remedy = f"Set model.text_score to 0 with one of {silent}, or choose a backbone of open_clip's."
        got = f"{settings.backbone}, which encodes videos and no text"
        raise WeightsError(f"a backbone with a text tower for {chosen.name}, which reads class names", got, remedy)
    model, parts = chosen.build(clip, resolved(settings)), resolved(settings)
    for reads, said, switch in (
        (model.reads_motion, parts.reads_motion, 'flow_encoder "none"'),
        (model.reads_text, parts.reads_text, "text False"),
    ):
        if said and not reads:  # tables would say that it reads what it does not
            got = f"one that reads {switch.split('_')[0].split()[0]} by its settings alone"
            remedy = f"Let the method fix {switch} (`registry.FRAMES_ALONE` fixes both)."
            raise SettingsError(f"a model of {chosen.name} that reads what its settings say", got, remedy)
    return model.to(device)
