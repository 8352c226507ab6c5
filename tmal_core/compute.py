"""Where and with how many threads torch computes."""

from __future__ import annotations

import torch

from tmal_core.config import Settings
from tmal_core.errors import SettingsError


def set_up(settings: Settings) -> torch.device:
    """Set torch's threads as asked and return the device.

    Raises:
        SettingsError: a GPU was asked for and there is none.
    """
    torch.set_num_threads(settings.compute.num_threads)
    if settings.compute.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "a CUDA GPU (compute.device: cuda)", "none that torch can use", "Set compute.device to cpu."
        )
    return torch.device(settings.compute.device)
