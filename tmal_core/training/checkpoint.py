"""Checkpoints: what was learned, and what training needs to go on as if it had not stopped.

Saved with `torch.save`, read with `weights_only=True`: no code in a checkpoint ever runs. Written atomically.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tmal_core.errors import WeightsError
from tmal_core.models.few_shot import FewShotModel
from tmal_core.runtime.files import atomic_path


def save_checkpoint(path: Path, model: FewShotModel, settings_hash: str, **state: Any) -> None:
    """Write the model's tunable tensors, the hash of what they depend on, and any further state."""
    tunable = {name: tensor.detach().cpu() for name, tensor in model.tunable().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save({"tunable": tunable, "settings_hash": settings_hash, **state}, temporary)


def load_checkpoint(path: Path, model: FewShotModel, settings_hash: str | None = None) -> dict[str, Any]:
    """Load the tunable tensors into the model and return the whole checkpoint.

    Args:
        path: the file.
        model: built from the same settings.
        settings_hash: refuse a checkpoint of other settings; None takes any that fits.

    Raises:
        WeightsError: no file, not a checkpoint, of other settings, or of another architecture.
    """
    if not path.is_file():
        raise WeightsError("a checkpoint", f"{path}, which is not there", "Train first, or correct the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tunable, found = content["tunable"], content["settings_hash"]
    except Exception as error:  # torch.load raises many kinds; each means that this is no checkpoint of ours
        what = " ".join(str(error).split())[:120]
        raise WeightsError("a checkpoint of this package", f"{path} ({what})", "Train again.") from error
    if settings_hash is not None and found != settings_hash:
        remedy = "Train in another run folder, or with the same settings."
        raise WeightsError(f"a checkpoint of settings {settings_hash}", f"{path} of {found}", remedy)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.tunable().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tunable.items()}
    if wanted != given:
        differing = sorted(set(wanted.items()) ^ set(given.items()))
        got = f"{path} with {len(given)} (first difference: {differing[0][0]})"
        raise WeightsError(f"{len(wanted)} tunable tensors", got, "Use the settings that it was trained with.")
    model.load_state_dict(tunable, strict=False)
    return content
