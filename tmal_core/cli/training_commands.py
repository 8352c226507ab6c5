"""What trains, and what takes the place of training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tmal_core.cli.options import NONE, Method, Out, Preset, Sets, experiment_of, flag, opt
from tmal_core.errors import SettingsError
from tmal_core.runtime.files import require_writable

NORMALISED = "of the pictures in 0..1, where not CLIP's: 0.45 0.225 for CLIP-FSAR's of UCF101 and 5 shots"


def train(preset: Preset = "tiny", sets: Sets = NONE, method: Method = None, out: Out = Path("runs/train")) -> None:
    """Train one method, --method or model.method; goes on where it was stopped."""
    experiment = experiment_of(preset, sets, out, method)
    from tmal_core.models.summary import parameter_table
    from tmal_core.runtime.run_folders import Run
    from tmal_core.tasks.train import train_method

    with Run.create(out, experiment.settings, "train", experiment.set_by_user) as run:
        model, state = train_method(experiment, run)
    print(parameter_table(model).to_string(index=False))
    print(f"{experiment.name}: best on val {state.best_pct:.2f} %, in {out}")


def study(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Annotated[Path, opt("folder of the study")] = Path("runs/study"),
    variant: Annotated[list[str], opt("may be given again (default: all)", "NAME", show_default=False)] = NONE,
    seeds: Annotated[int | None, opt("seeds of training on test, 0..N-1", "N", min=1, show_default="5")] = None,
    processes: Annotated[int, opt("trainings at once", "N", min=1)] = 1,
    val_only: Annotated[bool, flag("--val-only", "ask val alone: no look at test")] = False,
) -> None:
    """Compare every variant on val, then those named beforehand on test; goes on where it stopped."""
    if val_only and seeds is not None:
        remedy = "Leave --seeds out: val is asked with one seed."
        raise SettingsError("--seeds without --val-only", "both", remedy)
    require_writable(out / "tables" / "study.json")
    experiment = experiment_of(preset, sets, method="tmal")
    from tmal_core.evaluation.ledger import looks_in_words
    from tmal_core.tasks.study import run_rounds, save_study

    asked = range(5 if seeds is None else seeds)
    rounds = run_rounds(experiment, out.resolve(), variant or None, asked, processes, val_only)
    tables = save_study(experiment, rounds, out)
    for split, table in tables.accuracy.groupby("split", sort=False):
        mean = table.pivot(index="title", columns="episode_type", values="accuracy_pct")
        print(f"{split}\n{mean.loc[table['title'].unique()].round(1).to_string()}")
    if tables.goals is not None:
        print(tables.goals.round(1).to_string(index=False))
    print(f"every digit: {out / 'tables'}\n{looks_in_words(experiment.settings.data.folder)}")


def adopt(
    source: Annotated[str, opt("checkpoint, or its name in weights", "FILE", "--from")],
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Out = Path("runs/adopted"),
    normalised: Annotated[tuple[float, float] | None, opt(NORMALISED, "MEAN STD")] = None,
) -> None:
    """Make a run of a checkpoint of CLIP-FSAR, ST-Adapter or TS-FSAR, to evaluate and use it."""
    experiment = experiment_of(preset, sets, out)
    from tmal_core.tasks.adopt import adopt_checkpoint

    run, adopted = adopt_checkpoint(experiment, source, normalised)
    print(f"{adopted.name} in {run.path}: tmal evaluate --out {run.path}")
