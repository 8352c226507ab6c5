"""The command line: `tmal <command>`, one command per task. `tmal --install-completion` teaches it to the shell.

An error of the user ends in one line on stderr and exit code 1, Ctrl-C in one line and 130. Anything else that escapes
keeps its traceback: it is a defect of ours. Each command imports what it needs when it runs, so that help is instant.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from tmal_core import __version__
from tmal_core.errors import DataError, SettingsError, TmalError
from tmal_core.runtime.files import full_disk_is_clear, require_writable

if TYPE_CHECKING:
    from tmal_core.config import Settings
    from tmal_core.experiment import Experiment
    from tmal_core.runtime.run_folders import Run

EXAMPLES = """examples:

\b
  tmal suite --preset tiny --set training.episodes=500 --set seed=3 --out runs/x
  tmal train --preset tiny --set training.learning_rate=0.002 --out runs/fast
  tmal runs runs
"""
METHODS = "zero_shot, protonet, otam, clip_fsar, st_adapter_mean, st_adapter, tmal"
"""For help, which is not to wait for torch; a test holds it against the methods that there are."""
FIRST_OF_RUNS = ("run", "status", "created", "kind", "error", "preset", "seed", "seconds")
"""Columns of the list of runs that come first where there is no room for all."""
_PLACES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
"""What the system says of a path that a user chose badly. That a file is missing is told where it is looked for."""

_WIDE: dict[str, Any] = {"context_settings": {"max_content_width": 120}, "rich_markup_mode": None}
app = typer.Typer(name="tmal", epilog=EXAMPLES, pretty_exceptions_enable=False, **_WIDE)
splits = typer.Typer(no_args_is_help=True, help="Lists of a real data set.", **_WIDE)
weights = typer.Typer(**_WIDE)
app.add_typer(splits, name="splits")
app.add_typer(weights, name="weights")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "10")  # a log wants a line now and then, not ten a second
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP's threads wait for each other in a loop of 300,000 rounds, which takes the core from the one that is
        # waited for: beside other work a training step took over ten times as long. Read when torch is loaded.
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    try:
        with full_disk_is_clear(Path.cwd()):
            code = app(sys.argv[1:] if argv is None else list(argv), prog_name="tmal", standalone_mode=False) or 0
            if code == 130:  # which typer makes of Ctrl-C, without a word
                raise KeyboardInterrupt
            return code
    except TmalError as error:
        told = error
    except OSError as error:
        if error.errno not in _PLACES or error.filename is None:
            raise
        got, remedy = f"{error.filename} ({error.strerror})", "Choose another place, or make it readable and writable."
        told = DataError("a place that can be read and written", got, remedy)
    except (KeyboardInterrupt, typer.Abort):
        print("\ntmal: interrupted. The same command goes on where it can.", file=sys.stderr)
        return 130
    except typer.TyperException as error:
        error.show()  # type: ignore[attr-defined] # what is raised is a ClickException, which has it
        return error.exit_code
    print(f"tmal: error: {' '.join(str(told).split())}", file=sys.stderr)
    return 1


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """What `--set` and its like give; values are read as YAML, the last of a key wins.

    >>> parse_overrides(["training.episodes=500", "model.text=false", "data.root=my/clips"])
    {'training.episodes': 500, 'model.text': False, 'data.root': 'my/clips'}
    """
    import yaml

    overrides = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (sign and key.strip()):
            raise SettingsError("key=value", repr(pair), "Write for example --set training.episodes=500.")
        try:
            overrides[key.strip()] = yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a date that is none
            raise SettingsError("a YAML value", repr(pair), "Put quotes around the value.") from error
    return overrides


def _opt(help_: str, of: str | None = None, *names: str, **more: Any) -> Any:
    """An option: its help, what its value is called there, and its names where they are not its parameter's."""
    return Option(*names, help=help_, metavar=of, **more)


def _many(help_: str, of: str, *names: str, **more: Any) -> Any:
    return _opt(f"{help_}; may be given again", of, *names, **more)


def _flag(name: str, help_: str) -> Any:
    return _opt(help_, None, name)  # named, or there would be a --no-... too


def _preset(default: str) -> Any:
    return _opt(f"a preset's name or a YAML file (default: {default})", None, "--preset", show_default=False)


NONE: list[str] = []
NO_RUNS: list[Path] = []
_LISTS = "a checkout of CLIP-FSAR, a folder with its lists, or a single list"
_DEAL = "the folder has one subfolder per class: deal them out, as 64/12/24, classes or percentages"
_TABLES = "run folder: its settings and trained methods are used, tables are written to it "
_TABLES += "(default: runs/train; with --checkpoint runs/evaluate)"
_NORMALISED = "of the pictures in 0..1, where not CLIP's: 0.45 0.225 for CLIP-FSAR's of UCF101 and 5 shots"
_READ = "a run folder, or a checkpoint in one: its method is used under --preset and --set; it is only read"
_TRAINED = "a run folder of `tmal train`, or a checkpoint in one; its settings are used (default: untrained)"
_UNTRAINED = f"{METHODS} (default: the run's; without --checkpoint otam, which matches frame by frame)"
_FINAL = "answer test instead: every time is counted in test_looks.jsonl beside the catalogue"
_LEAVE_OUT = "leave out the tested classes that the weights of --checkpoint were trained on in another data set"
_OVERLAP = "which these are: those of the same name, or similar ones too (default: similar)"
_TOO = "ask each data set once more without the classes that some run was trained on in another one"
_AGAIN = f"{METHODS}; may be given again (default: the run's)"

Preset = Annotated[str, _preset("tiny")]
Sets = Annotated[list[str], _many("change one setting, as in training.episodes=500", "KEY=VALUE", "--set")]
Out = Annotated[Path, _opt("run folder")]
Beside = Annotated[Path | None, _opt("folder of the data set, in place of data.root; flow is kept beside it")]
Kept = Annotated[Path | None, _opt("keep computed flow here for the next time (default: nowhere)", "FOLDER")]
Method = Annotated[str | None, _opt(f"one of {METHODS}", "NAME", show_default=False)]
Methods = Annotated[list[str], _opt(_AGAIN, "NAME", "--method", show_default=False)]
Seconds = Annotated[int | None, _opt("longest time for one cell", "SECONDS", min=1, show_default="none")]
Cluster = Literal["slurm", "local"]
Overlap = Literal["same", "similar"]


@app.callback(invoke_without_command=True)
def _about(context: typer.Context, version: Annotated[bool, _flag("--version", "show the version and leave")] = False):
    """Few-shot action recognition: data, training, evaluation and the suite of notebooks."""
    if version or context.invoked_subcommand is None:
        print(f"tmal {__version__}" if version else context.get_help())
        raise typer.Exit


@app.command()
def suite(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Out = Path("runs/suite"),
    fresh: Annotated[bool, _flag("--fresh", "empty the run folder first instead of going on in it")] = False,
    parameter: Annotated[list[str], _many("a further parameter of the notebooks that know it", "NAME=VALUE")] = NONE,
    cell_timeout: Seconds = None,
) -> None:
    """Run all notebooks in order and write a report."""
    _settings(preset, sets)  # a wrong setting is told before the notebook libraries are loaded
    from tmal_core.suite.notebook_runs import run_suite
    from tmal_core.suite.terminal_lines import TerminalLines

    lines = TerminalLines()
    try:
        run_suite(
            out,
            preset,
            parse_overrides(sets),
            parse_overrides(parameter),
            fresh=fresh,
            cell_timeout_s=cell_timeout,
            say=lines.say,
            renew=lines.renew,
        )
    finally:
        lines.clear()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """JupyterLab at the first notebook, until Ctrl-C; options are those of `jupyter lab`."""
    from tmal_core.suite.lab import open_lab

    open_lab(context.args)


@app.command()
def synthesise(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Annotated[Path | None, _opt("its folder, in place of data.root")] = None,
) -> None:
    """Make the diagnostic data set, where it is missing."""
    settings = _settings(preset, sets, out)
    from tmal_core.tasks.synthesise import make_diagnostic

    catalog = make_diagnostic(settings.data, settings.compute.num_threads)
    print(f"{len(catalog.table)} clips in {out or settings.data.root}")


@app.command("pretrain-tiny")
def pretrain_tiny(
    out: Annotated[Path, _opt("folder")] = Path("runs/tiny_clip"),
    steps: Annotated[int | None, _opt("training steps", min=1, show_default="the recipe's")] = None,
    seed: Annotated[int | None, _opt("seed", show_default="the recipe's")] = None,
) -> None:
    """Train the small CLIP that the project ships."""
    from tmal_core.tasks.pretrain_tiny import Recipe, pretrain_tiny_clip

    given = {"steps": steps, "seed": seed}
    facts = pretrain_tiny_clip(out, Recipe(**{key: value for key, value in given.items() if value is not None}))
    print(f"{out}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))


@splits.command("import")
def import_lists(
    sources: Annotated[list[Path], _many(_LISTS, "PATH", "--from")],
    preset: Annotated[str, _opt("of the data set: a preset's name or a YAML file")],
    out: Annotated[Path | None, _opt("data folder, in place of the preset's data.root")] = None,
    labels: Annotated[Path | None, _opt("of Something-Something's label files", "FOLDER")] = None,
    any_counts: Annotated[bool, _flag("--any-counts", "accept lists with more or fewer videos than published")] = False,
) -> None:
    """Read lists in CLIP-FSAR's format, check them, and write splits.csv into the data folder."""
    data = _settings(preset, []).data
    from tmal_core.tasks.splits import import_splits

    print(import_splits(sources, data.name, out or data.folder, labels, any_counts))


@app.command()
def prepare(
    preset: Annotated[str | None, _preset("none; own videos take kinetics100")] = None,
    sets: Sets = NONE,
    videos: Annotated[Path | None, _opt("folder of the videos (default: that of the last pass, data.root)")] = None,
    out: Annotated[Path | None, _opt("data folder of catalogue and reports, in place of data.root")] = None,
    split_by_class: Annotated[str | None, _opt(_DEAL, "TRAIN/VAL/TEST")] = None,
    check: Annotated[bool, _flag("--check", "only compare lists and folder; no video is opened")] = False,
) -> None:
    """Examine the videos of a data set and write its catalogue; goes on."""
    if split_by_class and videos is None:
        raise SettingsError("--videos with --split-by-class", "none", "Name the folder with one subfolder per class.")
    if not split_by_class and preset is None:
        remedy = "Name one of the real data sets, or pass --split-by-class for your own videos."
        raise SettingsError("--preset or --split-by-class", "neither", remedy)
    # Your own clips are nearest to Kinetics, but their classes may speak of left and right.
    near = ["sampling.flip=false", "sampling.augment_queries=false", "prepare.max_lost=0.02"] if preset is None else []
    settings = _settings(preset or "kinetics100", [*near, *sets], None if split_by_class else out)
    from tmal_core.tasks.prepare import own_settings, prepare_data_set, prepare_own

    if split_by_class and videos:
        settings = own_settings(settings, videos, out)
        prepared, written = prepare_own(settings, videos, split_by_class, decode=not check)
        print(f"{prepared}\nfor all later commands: --preset {written}")
    else:
        print(prepare_data_set(settings, videos, decode=not check))


@app.command()
def flow(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Beside = None,
    estimator: Annotated[str | None, _opt("in place of flow.estimator", "NAME")] = None,
    cluster: Annotated[Cluster | None, _opt("run as jobs by submitit", show_default="this process")] = None,
    num_shards: Annotated[int, _opt("jobs on the cluster", "N", min=1)] = 1,
    job: Annotated[list[str], _many("a parameter of submitit, as in slurm_partition=gpu", "NAME=VALUE")] = NONE,
) -> None:
    """Optical flow for every video, where it is missing."""
    if (job or num_shards > 1) and cluster is None:
        remedy = "Add --cluster slurm, or leave out --num-shards and --job."
        raise SettingsError("--cluster with --num-shards and --job", "none", remedy)
    experiment = _experiment(preset, [*sets, *([f"flow.estimator={estimator}"] if estimator else [])], data=out)
    from tmal_core.tasks.flow import extract_flow

    print(extract_flow(experiment, cluster, num_shards, parse_overrides(job) or None))


@weights.callback(invoke_without_command=True)
def _weights(context: typer.Context) -> None:
    """Weights files: what is there, what is missing, where it belongs."""
    if context.invoked_subcommand is None:
        list_all()


@weights.command("list")
def list_all() -> None:
    """A table of all files, each held against its checksum."""
    from tmal_core.tasks.weights import list_weights

    print(list_weights())


@weights.command()
def fetch(
    name: Annotated[str, Argument(help="from the list, or <model>:<weights> as open_clip calls them")],
    url: Annotated[str | None, _opt("where from, in place of the official address")] = None,
) -> None:
    """Download one, check it, and move it into its place."""
    from tmal_core.tasks.weights import fetch_weights

    print(fetch_weights(name, url))


@weights.command()
def record(name: Annotated[str, Argument(help="from the list")]) -> None:
    """Write down the checksum of a file whose publisher states none."""
    from tmal_core.tasks.weights import record_weights

    print(record_weights(name))


@app.command()
def train(preset: Preset = "tiny", sets: Sets = NONE, method: Method = None, out: Out = Path("runs/train")) -> None:
    """Train one method, --method or model.method; goes on where it was stopped."""
    experiment = _experiment(preset, sets, out, method)
    from tmal_core.models.summary import parameter_table
    from tmal_core.runtime.run_folders import Run
    from tmal_core.tasks.train import train_method

    with Run.create(out, experiment.settings, "train", experiment.set_by_user) as run:
        model, state = train_method(experiment, run)
    print(parameter_table(model).to_string(index=False))
    print(f"{experiment.name}: best on val {state.best_pct:.2f} %, in {out}")


@app.command()
def study(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Annotated[Path, _opt("folder of the study")] = Path("runs/study"),
    variant: Annotated[list[str], _opt("may be given again (default: all)", "NAME", show_default=False)] = NONE,
    seeds: Annotated[int, _opt("seeds of training on test, 0..N-1", "N", min=1)] = 5,
    processes: Annotated[int, _opt("trainings at once", "N", min=1)] = 1,
    val_only: Annotated[bool, _flag("--val-only", "ask val alone: no look at test")] = False,
) -> None:
    """Compare every variant on val, then those named beforehand on test; goes on where it stopped."""
    experiment = _experiment(preset, sets, method="tmal")
    from tmal_core.evaluation.ledger import looks_in_words
    from tmal_core.tasks.study import run_rounds, save_study

    rounds = run_rounds(experiment, out.resolve(), variant or None, range(seeds), processes, val_only)
    tables = save_study(experiment, rounds, out)
    for split, table in tables.accuracy.groupby("split", sort=False):
        mean = table.pivot(index="title", columns="episode_type", values="accuracy_pct")
        print(f"{split}\n{mean.loc[table['title'].unique()].round(1).to_string()}")
    if tables.goals is not None:
        print(tables.goals.round(1).to_string(index=False))
    print(f"every digit: {out / 'tables'}\n{looks_in_words(experiment.settings.data.folder)}")


@app.command()
def adopt(
    source: Annotated[str, _opt("checkpoint, or its name in weights", "FILE", "--from")],
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Out = Path("runs/adopted"),
    normalised: Annotated[tuple[float, float] | None, _opt(_NORMALISED, "MEAN STD")] = None,
) -> None:
    """Make a run of a checkpoint of CLIP-FSAR or ST-Adapter, to evaluate and use it."""
    experiment = _experiment(preset, sets, out)
    from tmal_core.tasks.adopt import adopt_checkpoint

    run, adopted = adopt_checkpoint(experiment, source, normalised)
    print(f"{adopted.name} in {run.path}: tmal evaluate --out {run.path}")


@app.command()
def evaluate(
    preset: Annotated[str | None, _preset("the run's, or tiny")] = None,
    sets: Sets = NONE,
    out: Annotated[Path | None, _opt(_TABLES)] = None,
    checkpoint: Annotated[Path | None, _opt(_READ, "PATH")] = None,
    method: Methods = NONE,
    final: Annotated[bool, _flag("--final", _FINAL)] = False,
    leave_out_overlap: Annotated[bool, _flag("--leave-out-overlap", _LEAVE_OUT)] = False,
    overlap: Annotated[Overlap | None, _opt(_OVERLAP, show_default=False)] = None,
) -> None:
    """Accuracy of methods on val, or with --final on test, by episode type, with intervals."""
    split = "test" if final else "val"
    left_out = _left_out(leave_out_overlap, overlap)
    experiment, run = _evaluated(preset, parse_overrides(sets), out, checkpoint, method, split, left_out)
    from tmal_core.evaluation.ledger import looks_in_words
    from tmal_core.experiment import trained_in_words
    from tmal_core.tasks.evaluate import evaluate_methods, result_table, save_table
    from tmal_core.tasks.trained_classes import save_overlap

    with run if run.record["kind"] == "evaluate" else nullcontext():  # a run of training keeps its status
        experiments = experiment.of_methods(method) if method and not checkpoint else {experiment.name: experiment}
        table = result_table(experiments, evaluate_methods(experiments, split), split)
        path = save_table(table, run.path, f"evaluate-{split}")
    shown = table[["method", "episode_type", "accuracy_pct", "low_pct", "high_pct", "episodes"]]
    print(shown.round(2).to_string(index=False))
    for name, one in experiments.items():
        if one.trained_with:
            print(f"{name}: {trained_in_words(one)}")
            if told := save_overlap(one, split, run.path, left_out):
                print(told)
    print(f"every digit: {path}")
    if lost := int(table["lost_videos"].iloc[0]):
        print(f"{lost} listed videos of {split} are lost: {path.parent / f'lost-{split}.csv'}")
    if final:
        print(looks_in_words(experiment.settings.data.folder))


@app.command()
def cross(
    test: Annotated[list[str], _many("a data set to test on: a preset's name or a YAML file", "PRESET", "--test")],
    train: Annotated[list[Path], _many("a run folder of `tmal train`: each of its methods is tested", "RUN")] = NO_RUNS,
    method: Annotated[list[str], _many("one that learns nothing, as otam: the floor", "NAME", "--method")] = NONE,
    sets: Sets = NONE,
    out: Annotated[Path, _opt("folder of answers and tables")] = Path("runs/cross"),
    final: Annotated[bool, _flag("--final", _FINAL)] = False,
    leave_out_overlap: Annotated[bool, _flag("--leave-out-overlap", _TOO)] = False,
    overlap: Annotated[Overlap | None, _opt(_OVERLAP, show_default=False)] = None,
) -> None:
    """Test runs on other data sets than they were trained on, all on the same episodes; goes on where it stopped."""
    left_out, overrides = _left_out(leave_out_overlap, overlap), parse_overrides(sets)
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
    from tmal_core.tasks.trained_classes import without_overlap

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


@app.command()
def classify(
    support: Annotated[Path, _opt("of examples, one subfolder per class", "FOLDER")],
    queries: Annotated[Path, _opt("of the new clips: a folder, or one video", "PATH")],
    preset: Annotated[str | None, _preset("kinetics100")] = None,
    sets: Sets = NONE,
    checkpoint: Annotated[Path | None, _opt(_TRAINED, "PATH")] = None,
    method: Annotated[str | None, _opt(_UNTRAINED, "NAME")] = None,
    unsure_below: Annotated[float, _opt("answers less probable than this are 'unsure'", "P")] = 0.6,
    flow_folder: Kept = None,
    force: Annotated[bool, _flag("--force", "accept a backbone that never saw a photograph")] = False,
    out: Annotated[Path, _opt("table")] = Path("answers.csv"),
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


@app.command()
def inspector(
    run: Annotated[Path, Argument(help="run folder whose episodes are looked at")] = Path("runs/suite"),
    port: Annotated[int | None, _opt("of 127.0.0.1", "N", min=1, max=65535, show_default="any free one")] = None,
) -> None:
    """Serve the episode inspector of a run as a page, to this machine alone."""
    from tmal_core.suite.inspector_server import serve_inspector

    serve_inspector(run, port)


@app.command()
def runs(
    root: Annotated[Path, Argument(help="folder of runs")] = Path("runs"),
    wide: Annotated[bool, _flag("--wide", "every column and all of each, as in a file")] = False,
) -> None:
    """List the runs below a folder."""
    from tmal_core.runtime.run_folders import runs as all_runs
    from tmal_core.runtime.tables import fitted

    table = all_runs(root).dropna(axis="columns", how="all")
    if not len(table):
        print("no runs")
    elif wide or not sys.stdout.isatty():
        print(table.to_string(index=False))
    else:
        first = [name for name in FIRST_OF_RUNS if name in table]
        table["created"] = table["created"].str[:16].str.replace("T", " ")
        print(fitted(table[[*first, *table.columns.drop(first)]], shutil.get_terminal_size().columns))


def _settings(preset: str, sets: Sequence[str], data: Path | None = None) -> Settings:
    """What preset and --set say, with the data in another folder."""
    from tmal_core.config import load_settings

    return load_settings(preset, _overrides(sets, data))


def _experiment(
    preset: str, sets: Sequence[str], out: Path | None = None, method: str | None = None, data: Path | None = None
) -> Experiment:
    _settings(preset, sets, data)  # a wrong setting is told before anything heavy is loaded
    from tmal_core.experiment import Experiment

    return Experiment.of(preset, _overrides(sets, data), method, out and out.resolve())


def _overrides(sets: Sequence[str], data: Path | None) -> dict[str, Any]:
    return parse_overrides(sets) | ({"data.root": str(data.resolve())} if data else {})


if __name__ == "__main__":
    sys.exit(main())
