"""What asks episodes: of runs, of their text, of other data sets, of encoders."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tmal_core.cli.options import (
    METHODS,
    NONE,
    Method,
    Out,
    Preset,
    Sets,
    experiment_of,
    flag,
    many,
    opt,
    parse_overrides,
    preset_option,
)
from tmal_core.errors import SettingsError
from tmal_core.runtime.files import require_writable

if TYPE_CHECKING:
    from tmal_core.experiment import Experiment
    from tmal_core.runtime.run_folders import Run

NO_POWERS: list[float] = []
NO_RUNS: list[Path] = []
TABLES = "run folder: its settings and trained methods are used, tables are written to it "
TABLES += "(default: runs/train; with --checkpoint runs/evaluate)"
READ = "a run folder, or a checkpoint in one: its method is used under --preset and --set; it is only read"
FINAL = "answer test instead: every time is counted in test_looks.jsonl beside the catalogue"
WITHOUT_TEXT = "each method that scores class names (model.text_score) also without that score, in rows of its own"
LEAVE_OUT = "leave out the tested classes that the weights of --checkpoint were trained on in another data set"
OVERLAP = "which these are: those of the same name, or similar ones too (default: similar)"
ENCODERS = "open_clip's models or folders, each as NAME, NAME:WEIGHTS or NAME:random"
TOO = "ask each data set once more without the classes that some run was trained on in another one"
AGAIN = f"{METHODS}; may be given again (default: the run's)"
Methods = Annotated[list[str], opt(AGAIN, "NAME", "--method", show_default=False)]
Overlap = Literal["same", "similar"]
OfRun = Annotated[str | None, preset_option("the run's, or tiny")]
Tables = Annotated[Path | None, opt(TABLES)]
Read = Annotated[Path | None, opt(READ, "PATH")]
Final = Annotated[bool, flag("--final", FINAL)]
Overlapping = Annotated[Overlap | None, opt(OVERLAP, show_default=False)]


def evaluate(
    preset: OfRun = None,
    sets: Sets = NONE,
    out: Tables = None,
    checkpoint: Read = None,
    method: Methods = NONE,
    final: Final = False,
    without_text: Annotated[bool, flag("--without-text", WITHOUT_TEXT)] = False,
    leave_out_overlap: Annotated[bool, flag("--leave-out-overlap", LEAVE_OUT)] = False,
    overlap: Overlapping = None,
) -> None:
    """Accuracy of methods on val, or with --final on test, by episode type, with intervals."""
    split = "test" if final else "val"
    left_out = _left_out(leave_out_overlap, overlap)
    experiment, run = _evaluated(preset, parse_overrides(sets), out, checkpoint, method, split, left_out)
    from tmal_core.evaluation.ledger import looks_in_words
    from tmal_core.experiment import trained_in_words
    from tmal_core.tasks.classes_trained_on import save_overlap
    from tmal_core.tasks.evaluate import (
        evaluate_methods,
        result_table,
        save_answers,
        save_table,
        with_and_without_text,
    )

    with run if run.record["kind"] == "evaluate" else nullcontext():  # a run of training keeps its status
        experiments = experiment.of_methods(method) if method and not checkpoint else {experiment.name: experiment}
        if without_text:
            experiments = with_and_without_text(experiments)
        outcomes = evaluate_methods(experiments, split)
        table = result_table(experiments, outcomes, split)
        path = save_table(table, run.path, f"evaluate-{split}")
        answers = save_answers(experiments, outcomes, split)
    shown = table[["method", "text_at_test", "episode_type", "accuracy_pct", "low_pct", "high_pct", "episodes"]]
    print(shown.round(2).to_string(index=False))
    for name, one in experiments.items():
        if one.trained_with:
            print(f"{name}: {trained_in_words(one)}")
            if told := save_overlap(one, split, run.path, left_out):
                print(told)
    print(f"every digit: {path}; every answer: {answers}")
    if lost := int(table["lost_videos"].iloc[0]):
        print(f"{lost} listed videos of {split} are lost: {path.parent / f'lost-{split}.csv'}")
    if final:
        print(looks_in_words(experiment.settings.data.folder))


def cross(
    test: Annotated[list[str], many("a data set to test on: a preset's name or a YAML file", "PRESET", "--test")],
    train: Annotated[list[Path], many("a run folder of `tmal train`: each of its methods is tested", "RUN")] = NO_RUNS,
    method: Annotated[list[str], many("one that learns nothing, as otam: the floor", "NAME", "--method")] = NONE,
    sets: Sets = NONE,
    out: Annotated[Path, opt("folder of answers and tables")] = Path("runs/cross"),
    final: Final = False,
    leave_out_overlap: Annotated[bool, flag("--leave-out-overlap", TOO)] = False,
    overlap: Overlapping = None,
) -> None:
    """Test runs on other data sets than they were trained on, all on the same episodes; goes on where it stopped."""
    left_out, overrides = _left_out(leave_out_overlap, overlap), parse_overrides(sets)
    if left_out and not train:
        remedy = "Name runs whose training classes are to be left out, or leave --leave-out-overlap out."
        raise SettingsError("--train with --leave-out-overlap", "none", remedy)
    require_writable(out / "tables" / "cross.json")
    from tmal_core.tasks.cross import run_cross, sources_of
    from tmal_core.tasks.cross_tables import save_cross, shown

    split = "test" if final else "val"
    results = run_cross(sources_of(train, method), test, out.resolve(), split, overrides, left_out)
    print(shown(save_cross(results, out)))
    print(f"every digit: {out / 'tables'}")


def _left_out(asked: bool, kind: Overlap | None) -> Overlap | None:
    """Which overlapping classes are left out; None for none."""
    if kind and not asked:
        raise SettingsError("--leave-out-overlap with --overlap", "none", "Add it, or leave out --overlap.")
    return (kind or "similar") if asked else None


def text_score(
    preset: OfRun = None,
    sets: Sets = NONE,
    out: Tables = None,
    checkpoint: Read = None,
    method: Method = None,
    power: Annotated[list[float], many("a share to try, 0..1", "P", "--power", show_default=False)] = NO_POWERS,
) -> None:
    """Which share of class names in the answers, model.text_score, is best on val; clips are encoded once."""
    overrides = parse_overrides(sets)
    if chosen := [key for key in overrides if key.endswith("model.text_score")]:
        raise SettingsError("shares by --power", f"{chosen[0]} in --set", "Leave it out: it is what is asked for.")
    experiment, run = _evaluated(preset, overrides, out, checkpoint, [method] if method else [], "val", None)
    from tmal_core.tasks.evaluate import save_table
    from tmal_core.tasks.text_power import POWERS, text_score_table

    with run if run.record["kind"] == "evaluate" else nullcontext():
        table = text_score_table(experiment, power or POWERS)
        path = save_table(table, run.path, f"text_score-{experiment.name}-val")
    print(table.drop(columns=["method", "split", "settings"]).round(2).to_string(index=False))
    best = table[table["best"]].iloc[0]
    print(f"best on val: model.text_score={best['text_score']} (mean {best['mean_pct']:.2f} %)\nevery digit: {path}")


def _evaluated(
    preset: str | None,
    overrides: dict[str, Any],
    out: Path | None,
    read: Path | None,
    methods: list[str],
    split: str,
    left_out: Overlap | None,
) -> tuple[Experiment, Run]:
    """What is evaluated, and the run that takes its tables: never the one that a checkpoint is read from."""
    from tmal_core.experiment import Experiment, of_checkpoint
    from tmal_core.runtime.run_folders import Run
    from tmal_core.tasks.classes_trained_on import without_overlap

    if left_out and not read:
        remedy = "Name the run of the trained method, and the other data set by --preset."
        raise SettingsError("--checkpoint with --leave-out-overlap", "none", remedy)
    own = not read and Path("runs/train/run.json").exists()
    out = (out or Path("runs/train" if own else "runs/evaluate")).resolve()
    found = not read and (out / "run.json").exists()
    # Of several methods all are asked later, each with its own switches: TMAL fixes none.
    first = methods[0] if len(methods) == 1 else "tmal" if methods else None
    if read and len(methods) > 1:
        raise SettingsError("one method with --checkpoint", ", ".join(methods), "Evaluate one after the other.")
    if found and preset is None:
        return Experiment.of_run(out, overrides, first), Run.open(out)
    if read:
        experiment = of_checkpoint(read, preset, overrides, first, out)
        experiment = without_overlap(experiment, split, left_out) if left_out else experiment
    else:
        experiment = Experiment.of(preset or "tiny", overrides, first, out)
    if found:
        return experiment, Run.open(out)
    return experiment, Run.create(out, experiment.settings, "evaluate", experiment.set_by_user)


def baselines(
    encoders: Annotated[str, opt(ENCODERS, "A,B,...")],
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Out = Path("runs/baselines"),
    final: Final = False,
) -> None:
    """Compare frozen encoders, each under every matcher, on val, or with --final on test; goes on where it stopped."""
    experiment = experiment_of(preset, sets, out, "otam")
    from tmal_core.evaluation.ledger import looks_in_words
    from tmal_core.runtime.run_folders import Run
    from tmal_core.tasks.baselines import require_all, run_baselines

    split = "test" if final else "val"
    with Run.create(out, experiment.settings, "baselines", experiment.set_by_user) as run:
        table = run_baselines(experiment, encoders.split(","), split)
        answered = table[table["left_out"] == ""]
        if len(answered):
            rows = ["encoder", "weights", "title", "text_at_test"]
            wide = answered.pivot_table("accuracy_pct", rows, "episode_type", sort=False)
            print(wide.round(1).to_string())
        print(f"every digit: {run.path / 'tables' / f'baselines-{split}.csv'}")
        if final:
            print(looks_in_words(experiment.settings.data.folder))
        require_all(table)
