"""Clips of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tmal_core.cli.options import METHODS, NONE, Sets, flag, opt, parse_overrides, preset_option
from tmal_core.errors import SettingsError
from tmal_core.runtime.files import require_writable

TRAINED = "a run folder of `tmal train`, or a checkpoint in one; its settings are used (default: untrained)"
UNTRAINED = f"{METHODS} (default: the run's; without --checkpoint otam, which matches frame by frame)"
Kept = Annotated[Path | None, opt("keep computed flow here for the next time (default: nowhere)", "FOLDER")]


def classify(
    support: Annotated[Path, opt("of examples, one subfolder per class", "FOLDER")],
    queries: Annotated[Path, opt("of the new clips: a folder, or one video", "PATH")],
    preset: Annotated[str | None, preset_option("kinetics100")] = None,
    sets: Sets = NONE,
    checkpoint: Annotated[Path | None, opt(TRAINED, "PATH")] = None,
    method: Annotated[str | None, opt(UNTRAINED, "NAME")] = None,
    unsure_below: Annotated[float, opt("answers less probable than this are 'unsure'", "P")] = 0.6,
    flow_folder: Kept = None,
    force: Annotated[bool, flag("--force", "accept a backbone that never saw a photograph")] = False,
    out: Annotated[Path, opt("table")] = Path("answers.csv"),
) -> None:
    """Name new clips from a few examples per class, as CSV."""
    if checkpoint and preset:
        raise SettingsError("--checkpoint or --preset", "both", "A checkpoint has the settings of its run.")
    overrides = parse_overrides(sets)
    require_writable(out)
    from tmal_core.experiment import Experiment, of_checkpoint
    from tmal_core.runtime.tables import save_csv
    from tmal_core.tasks.classify import classify_clips

    if checkpoint:
        experiment = of_checkpoint(checkpoint, None, overrides, method)
    else:
        experiment = Experiment.of(preset or "kinetics100", overrides, method or "otam")
    found = classify_clips(experiment, support, queries, unsure_below, flow_folder, force)
    save_csv(found.table, out)
    print(f"{found}\n{out}")
