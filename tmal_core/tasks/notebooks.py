"""What every notebook begins with: its experiment, its run folder, and what the result depends on beside settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tmal_core.config import in_project
from tmal_core.experiment import Experiment
from tmal_core.runtime.run_folders import Run, environment, last_trained
from tmal_core.viz.widgets.run_choice import RunChoice

BY_HAND = Path("runs/interactive")
"""Where notebooks that are opened by hand begin a run."""
DEFAULT_PRESET = "tiny"


class OpenedRun(NamedTuple):
    """The run that a notebook adds to."""

    experiment: Experiment
    run: Run
    facts: pd.DataFrame
    """Preset, seed, hash of the settings, what the user set, name of the run, versions and machine: one value a row."""


def open_run(preset: str | Path, overrides: Mapping[str, Any], run_dir: str | Path, seed: int) -> OpenedRun:
    """The run that a notebook's parameters name; a new one where there is none.

    Args:
        preset, overrides, seed: the settings, as for `Experiment.of`.
        run_dir: its folder, a relative one from the project's root. Empty: the run in `runs/` that a suite or a
            notebook has trained with these settings, the last one of several; `BY_HAND` if there is none.

    Raises:
        SettingsError: a wrong preset or override, or a GPU that is not there.
        RunError: the folder holds something else, or a run of other settings.
    """
    asked = Experiment.of(preset, {**overrides, "seed": seed})
    by_hand = in_project(BY_HAND)
    path = in_project(run_dir) if str(run_dir) else last_trained(by_hand.parent, asked.common) or by_hand
    experiment = asked.changed({}, run_dir=path)
    run = Run.join(path, experiment.common, experiment.set_by_user)
    return _opened(experiment, run, preset, overrides)


def open_trained(preset: str | Path, overrides: Mapping[str, Any], run_dir: str | Path, seed: int) -> OpenedRun:
    """The run that a notebook looks into.

    With nothing set (no preset, settings or folder, and seed 0) the newest run in `runs/` that has trained weights;
    the facts say which, and its preset and seed. Else, or where there is none, as `open_run`, with `tiny` for an empty
    preset.

    Raises:
        RunError, SettingsError: as `open_run`.
    """
    root = in_project(BY_HAND).parent
    found = [] if str(preset) or str(run_dir) or overrides or seed else RunChoice(root).runs()
    if not found:
        return open_run(preset or DEFAULT_PRESET, overrides, run_dir, seed)
    run = Run.open(root / found[0])
    return _opened(Experiment.of_run(run.path), run, run.settings.preset, run.set_by_user)


def _opened(experiment: Experiment, run: Run, preset: str | Path, set_by_user: Mapping[str, Any]) -> OpenedRun:
    facts: dict[str, Any] = {"preset": preset, "seed": experiment.common.seed, "settings": run.settings_hash}
    facts |= {"set by the user": dict(set_by_user), "run": run.path.name, "computes on": str(experiment.device)}
    facts |= environment(experiment.settings.compute)
    return OpenedRun(experiment, run, pd.Series(facts, name="value").to_frame())
