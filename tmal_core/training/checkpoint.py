"""Checkpoints: what was learned, what it stands on, and what training needs to go on as if it had not stopped.

A checkpoint belongs to the frozen weights beneath it and to the parts and shapes of what was learned; data set, way,
shot, matcher or device may be others when it is used. What it was trained with is recorded in it.

Saved with `torch.save`, read with `weights_only=True`: no code in a checkpoint ever runs. Written atomically.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tmal_core.errors import WeightsError
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.summary import frozen_hash
from tmal_core.runtime.files import atomic_path


@dataclass(frozen=True)
class Origin:
    """What trained weights come from."""

    digest: str  # names everything that they depend on; training goes on under the same alone
    settings: dict[str, Any] = field(default_factory=dict, hash=False)  # dotted keys, to be shown beside results
    classes: dict[str, list[str]] = field(default_factory=dict, hash=False)  # split -> names, where they are known


def save_checkpoint(path: Path, model: FewShotModel, origin: Origin, **state: Any) -> None:
    """Write the model's tunable tensors, the frozen weights' hash, what they come from, and any further state."""
    content = {
        "tunable": {name: tensor.detach().cpu() for name, tensor in model.tunable().items()},
        "frame_std": None if math.isnan(model.head.frame_std) or not model.head.in_std else model.head.frame_std,
        "backbone": frozen_hash(model.encoder.clip),
        "settings_hash": origin.digest,
        "trained_with": origin.settings,
        "trained_classes": origin.classes,  # older checkpoints have none
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save({**content, **state}, temporary)


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """The whole content of a checkpoint.

    Raises:
        WeightsError: no file, or not a checkpoint.
    """
    if not path.is_file():
        raise WeightsError("a checkpoint", f"{path}, which is not there", "Train first, or correct the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"tunable", "backbone", "settings_hash", "trained_with"} - content.keys()
    except Exception as error:  # torch.load raises many kinds; each means that this is no checkpoint of ours
        what = " ".join(str(error).split())[:120]
        raise WeightsError(
            "a checkpoint of this package", f"{path} ({what})", "Remove it, then train again."
        ) from error
    if missing:
        got = f"{path} without {', '.join(sorted(missing))}"
        raise WeightsError("a checkpoint of this version of the package", got, "Remove it, then train again.")
    return content


def load_checkpoint(path: Path, model: FewShotModel, origin: Origin | None = None) -> dict[str, Any]:
    """Load the tunable tensors into the model and return the whole checkpoint.

    Args:
        model: of the same parts, on the same backbone.
        origin: to go on training: refuse a checkpoint of other settings. None takes any that fits the model.

    Raises:
        WeightsError: no file, not a checkpoint, of other settings, other parts, or on another backbone.
    """
    content = read_checkpoint_file(path)
    if origin is not None and content["settings_hash"] != origin.digest:
        remedy = "Train in another run folder, or with the same settings."
        got = f"{path} of {content['settings_hash']}"
        raise WeightsError(f"a checkpoint of settings {origin.digest}", got, remedy)
    model.head.take_shapes(content["tunable"])
    wanted = {name: tuple(tensor.shape) for name, tensor in model.tunable().items()}
    given = {name: tuple(tensor.shape) for name, tensor in content["tunable"].items()}
    if wanted != given:
        differing = sorted(set(wanted.items()) ^ set(given.items()))
        got = f"{path} with {len(given)} (first difference: {differing[0][0]})"
        raise WeightsError(f"{len(wanted)} tunable tensors", got, "Use the method and parts that it was trained with.")
    beneath = frozen_hash(model.encoder.clip)
    if content["backbone"] != beneath:
        got = f"{path} on {content['backbone']}"
        remedy = "Set model.backbone and model.pretrained to the CLIP that it was trained on."
        raise WeightsError(f"a checkpoint on the frozen weights {beneath}", got, remedy)
    if model.head.in_std:
        if content.get("frame_std") is None:
            remedy = "Set model.smoothing_unit to absolute, or train again."
            raise WeightsError("a checkpoint trained with model.smoothing_unit std", f"{path} of absolute", remedy)
        model.head.frame_std = content["frame_std"]
    model.load_state_dict(content["tunable"], strict=False)
    return content
