"""What every notebook begins with: its settings, its run folder, and what the result depends on beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from tmal_core.config import Settings, in_project, load_settings, settings_hash
from tmal_core.runtime.devices import set_up
from tmal_core.runtime.run_folders import Run, environment, last_trained

BY_HAND = Path("runs/interactive")
"""Where notebooks that are opened by hand begin a run."""


class OpenedRun(NamedTuple):
    """The run that a notebook adds to."""

    settings: Settings
    run: Run
    run_dir: Path
    device: torch.device
    facts: pd.DataFrame
    """Preset, seed, hash of the settings, name of the run, versions and machine: one value a row."""


def open_run(preset: str | Path, overrides: Mapping[str, Any], run_dir: str | Path, seed: int) -> OpenedRun:
    """The run that a notebook's parameters name; a new one where there is none.

    Args:
        preset, overrides, seed: the settings, as for `load_settings`.
        run_dir: its folder, a relative one from the project's root. Empty: the run in `runs/` that a suite or a
            notebook has trained with these settings, the last one of several; `BY_HAND` if there is none.

    Raises:
        SettingsError: a wrong preset or override, or a GPU that is not there.
        RunError: the folder holds something else, or a run of other settings.
    """
    settings = load_settings(preset, {**overrides, "seed": seed})
    by_hand = in_project(BY_HAND)
    path = in_project(run_dir) if str(run_dir) else last_trained(by_hand.parent, settings) or by_hand
    run = Run.join(path, settings)
    device = set_up(settings)
    facts = {"preset": settings.preset, "seed": settings.seed, "settings": settings_hash(settings), "run": path.name}
    table = pd.Series({**facts, **environment(settings)}, name="value").to_frame()
    return OpenedRun(settings, run, path, device, table)
