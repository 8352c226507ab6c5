"""Frozen encoders as a user names them: `NAME`, `NAME:WEIGHTS` or `NAME:random`, NAME being open_clip's, a video
transformer's or a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch

from tmal_core.errors import SettingsError, WeightsError
from tmal_core.models.backbone import FOLDER_WEIGHTS, load_backbone, located
from tmal_core.models.video_towers import VIDEO_TOWERS, WEIGHTS_FILE
from tmal_core.runtime.seeding import seed_everything
from tmal_core.runtime.weights_files import resolve

OWN, RANDOM = "folder", "random"


class NamedEncoder(NamedTuple):
    """A frozen encoder and its weights."""

    name: str  # open_clip's, or a folder
    weights: str  # `folder`, one of open_clip's names for this model, a file, or `random`

    def __str__(self) -> str:
        return f"{self.name}:{self.weights}"


def named_encoders(names: Iterable[str], default: str) -> list[NamedEncoder]:
    """The encoders of these names.

    Args:
        default: weights of a name without; a folder that has weights takes its own.

    Raises:
        SettingsError: no name or no weights where there should be some, the same encoder twice, or none at all.

    >>> [str(found) for found in named_encoders(["ViT-B-16-quickgelu", "ViT-B-32:random"], "openai")]
    ['ViT-B-16-quickgelu:openai', 'ViT-B-32:random']
    """
    found: list[NamedEncoder] = []
    for text in names:
        name, colon, weights = (part.strip() for part in text.partition(":"))
        if not name or bool(colon) != bool(weights):
            remedy = "Put commas between them, as in ViT-B-16-quickgelu:openai,data/tiny_clip:random."
            raise SettingsError("encoders as NAME, NAME:WEIGHTS or NAME:random", repr(text), remedy)
        folder = Path(located(name))
        own = OWN if any((folder / file).is_file() for file in (FOLDER_WEIGHTS, WEIGHTS_FILE)) else default
        encoder = NamedEncoder(name, weights or own)
        if encoder in found:
            raise SettingsError("each encoder once", f"{encoder} twice", "Leave one of them out.")
        found.append(encoder)
    if not found:
        raise SettingsError("encoders as NAME, NAME:WEIGHTS or NAME:random", "none", "Name at least one.")
    return found


def load_encoder(encoder: NamedEncoder, seed: int, device: torch.device) -> Any:
    """The frozen model; random weights are the same for the same seed.

    Raises:
        WeightsError: no weights of that name, or as of `load_backbone`.
    """
    name, weights = encoder
    if (name in VIDEO_TOWERS or name in open_clip.list_models()) and weights != RANDOM:
        video = VIDEO_TOWERS.get(name)
        known = list(video.weights) if video else open_clip.list_pretrained_tags_by_model(name)
        if weights not in known and not resolve(weights).is_file():
            expected = f"weights of {name}: {', '.join(known) or 'open_clip knows none'}; a file, or {RANDOM}"
            raise WeightsError(expected, repr(weights), f"Write {name}:{known[0] if known else RANDOM}, for example.")
    seed_everything(seed, "encoder")
    return load_backbone(located(name), weights, device)
