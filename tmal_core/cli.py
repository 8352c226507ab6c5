"""The command line: `tmal <command>`, one command per task.

An error of the user ends in one line on stderr and exit code 1, Ctrl-C in one line and 130. Anything else that escapes
keeps its traceback: it is a defect of ours. Each command imports what it needs when it runs, so that help is instant.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmal_core.errors import DataError, SettingsError, TmalError
from tmal_core.runtime.files import full_disk_is_clear

if TYPE_CHECKING:
    from tmal_core.config import Settings

EXAMPLES = """examples:
  tmal suite --preset tiny --set training.episodes=500 --set seed=3 --out runs/x
  tmal train --preset tiny --set training.learning_rate=0.002 --out runs/fast
  tmal runs runs
"""


_PLACES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
"""What the system says of a path that a user chose badly. That a file is missing is told where it is looked for."""
LONGEST_ERROR = 60
"""Characters of a run's error in the list of runs; all of it stands in its run.json."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "10")  # a log wants a line now and then, not ten a second
    try:
        with full_disk_is_clear(getattr(arguments, "out", None) or Path.cwd()):
            arguments.run(arguments)
    except TmalError as error:
        return _refused(error)
    except OSError as error:
        if error.errno not in _PLACES or error.filename is None:
            raise
        got, remedy = f"{error.filename} ({error.strerror})", "Choose another place, or make it readable and writable."
        return _refused(DataError("a place that can be read and written", got, remedy))
    except KeyboardInterrupt:
        print("\ntmal: interrupted. The same command goes on where it can.", file=sys.stderr)
        return 130
    return 0


def _refused(error: TmalError) -> int:
    """Say the error in one line; the exit code."""
    print(f"tmal: error: {' '.join(str(error).split())}", file=sys.stderr)
    return 1


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`["training.episodes=500"]` -> `{"training.episodes": 500}`; values are read as YAML, the last of a key wins."""
    import yaml

    overrides = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (sign and key.strip()):
            remedy = "Write for example --set training.episodes=500."
            raise SettingsError("key=value", repr(pair), remedy)
        try:
            overrides[key.strip()] = yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a date that is none
            raise SettingsError("a YAML value", repr(pair), "Put quotes around the value.") from error
    return overrides


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tmal",
        description="Few-shot action recognition: data, training, evaluation and the suite of notebooks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)

    def command(
        name: str,
        run: Callable[[argparse.Namespace], None],
        text: str,
        settings: bool = True,
        preset: str | None = "tiny",
        otherwise: str = "tiny",
    ):
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        if settings:
            words = f"a preset's name or a YAML file (default: {otherwise})"
            sub.add_argument("--preset", default=preset, help=words)
            sub.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                help="change one setting, as in training.episodes=500; may be given again",
            )
        return sub

    _suite_parser(command("suite", _suite, "run all notebooks in order and write a report"))

    synthesise = command("synthesise", _synthesise, "make the diagnostic data set, where it is missing")
    synthesise.add_argument("--out", type=Path, help="its folder, in place of data.root")

    tiny = command("pretrain-tiny", _pretrain_tiny, "train the small CLIP that the project ships", settings=False)
    tiny.add_argument("--out", type=Path, default=Path("runs/tiny_clip"), help="folder (default: runs/tiny_clip)")
    tiny.add_argument("--steps", type=_count, help="training steps (default: the recipe's)")
    tiny.add_argument("--seed", type=int, help="seed (default: the recipe's)")

    _splits_parser(command("splits", _import_splits, "lists of a real data set", settings=False))

    text = "examine the videos of a data set and write its catalogue; goes on"
    _prepare_parser(command("prepare", _prepare, text, preset=None, otherwise="none; own videos take kinetics100"))

    _flow_parser(command("flow", _flow, "optical flow for every video, where it is missing"))

    _weights_parser(
        command("weights", _weights, "weights files: what is there, what is missing, where it belongs", settings=False)
    )

    train = command("train", _train, "train one method, model.method; goes on where it was stopped")
    train.add_argument("--out", type=Path, default=Path("runs/train"), help="run folder (default: runs/train)")

    _study_parser(
        command("study", _study, "train every variant with several seeds and compare them; goes on where it stopped")
    )

    adopt = command("adopt", _adopt, "make a run of a checkpoint of CLIP-FSAR or ST-Adapter, to evaluate and use it")
    adopt.add_argument(
        "--from", dest="source", required=True, metavar="FILE", help="checkpoint, or its name in weights"
    )
    adopt.add_argument("--out", type=Path, default=Path("runs/adopted"), help="run folder (default: runs/adopted)")

    text = "accuracy of methods on the test split, by protocol, with intervals"
    _evaluate_parser(command("evaluate", _evaluate, text, preset=None, otherwise="the run's, or tiny"))

    text = "name new clips from a few examples per class, as CSV"
    _classify_parser(command("classify", _classify, text, preset=None, otherwise="kinetics100"))

    runs = command("runs", _runs, "list the runs below a folder", settings=False)
    runs.add_argument("root", type=Path, nargs="?", default=Path("runs"), help="folder of runs (default: runs)")
    return parser


def _suite_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs/suite"), help="run folder (default: runs/suite)")
    parser.add_argument("--fresh", action="store_true", help="empty the run folder first instead of going on in it")
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a further parameter of the notebooks that know it; may be given again",
    )
    parser.add_argument(
        "--cell-timeout", type=_count, metavar="SECONDS", help="longest time for one cell (default: none)"
    )


def _prepare_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--videos", type=Path, help="folder of the videos (default: that of the last pass, data.root)")
    parser.add_argument("--out", type=Path, help="data folder of catalogue and reports, in place of data.root")
    parser.add_argument(
        "--split-by-class",
        metavar="TRAIN/VAL/TEST",
        help="the folder has one subfolder per class: deal them out, as 64/12/24, numbers of classes or percentages",
    )
    parser.add_argument("--check", action="store_true", help="only compare lists and folder; no video is opened")


def _flow_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, help="folder of the data set, in place of data.root; flow is kept beside it"
    )
    parser.add_argument("--estimator", metavar="NAME", help="in place of flow.estimator")
    parser.add_argument("--cluster", choices=("slurm", "local"), help="run as jobs by submitit (default: this process)")
    parser.add_argument("--num-shards", type=_count, default=1, metavar="N", help="jobs on the cluster (default: 1)")
    parser.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of submitit, as in slurm_partition=gpu; may be given again",
    )


def _weights_parser(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action="list")
    actions = parser.add_subparsers(dest="action", metavar="<action>", title="actions (default: list)")
    actions.add_parser("list", help="a table of all files, each held against its checksum")
    fetch = actions.add_parser("fetch", help="download one, check it, and move it into its place")
    fetch.add_argument("name", metavar="NAME", help="from the list, or <model>:<weights> as open_clip calls them")
    fetch.add_argument("--url", help="where from, in place of the official address")
    keep = actions.add_parser("record", help="write down the checksum of a file whose publisher states none")
    keep.add_argument("name", metavar="NAME", help="from the list")


def _study_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("runs/study"), help="folder of the study (default: runs/study)"
    )
    parser.add_argument("--variant", action="append", metavar="NAME", help="may be given again (default: all)")
    parser.add_argument("--seeds", type=_count, default=3, metavar="N", help="seeds of training, 0..N-1 (default: 3)")
    parser.add_argument("--processes", type=_count, default=1, metavar="N", help="trainings at once (default: 1)")


def _evaluate_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/train"),
        help="run folder: its settings and trained methods are used, tables are written to it (default: runs/train)",
    )
    parser.add_argument("--method", action="append", metavar="NAME", help="may be given again (default: the run's)")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="split (default: test)")


def _splits_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    text = "read lists in CLIP-FSAR's format, check them, and write splits.csv into the data folder"
    sub = actions.add_parser("import", help=text, description=text[0].upper() + text[1:] + ".")
    sub.add_argument(
        "--from",
        dest="sources",
        action="append",
        required=True,
        type=Path,
        metavar="PATH",
        help="a checkout of CLIP-FSAR, a folder with its lists, or a single list; may be given again",
    )
    sub.add_argument("--preset", required=True, help="of the data set: a preset's name or a YAML file")
    sub.add_argument("--out", type=Path, help="data folder, in place of the preset's data.root")
    sub.add_argument("--labels", type=Path, metavar="FOLDER", help="of Something-Something's label files")
    sub.add_argument("--any-counts", action="store_true", help="accept lists with more or fewer videos than published")


def _count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text}")
    return number


def _classify_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--support", required=True, type=Path, metavar="FOLDER", help="of examples, one subfolder per class"
    )
    parser.add_argument(
        "--queries", required=True, type=Path, metavar="PATH", help="of the new clips: a folder, or one video"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="a run folder of `tmal train`, or a checkpoint in one; its settings are used (default: untrained)",
    )
    parser.add_argument(
        "--method", metavar="NAME", help="(default: the run's; without --checkpoint otam, which matches frame by frame)"
    )
    parser.add_argument(
        "--unsure-below", type=float, metavar="P", help="answers less probable than this are 'unsure' (default: 0.6)"
    )
    parser.add_argument(
        "--flow-folder",
        type=Path,
        metavar="FOLDER",
        help="keep computed flow here for the next time (default: nowhere)",
    )
    parser.add_argument("--force", action="store_true", help="accept a backbone that never saw a photograph")
    parser.add_argument("--out", type=Path, default=Path("answers.csv"), help="table (default: answers.csv)")


def _settings(arguments: argparse.Namespace) -> Settings:
    from tmal_core.config import load_settings

    return load_settings(arguments.preset, parse_overrides(arguments.set))


def _suite(arguments: argparse.Namespace) -> None:
    _settings(arguments)  # a wrong setting is told before the notebook libraries are loaded

    from tmal_core.suite.notebook_runs import run_suite

    run_suite(
        arguments.out,
        arguments.preset,
        parse_overrides(arguments.set),
        parse_overrides(arguments.parameter),
        fresh=arguments.fresh,
        cell_timeout_s=arguments.cell_timeout,
        say=lambda line: print(line, flush=True),
    )


def _synthesise(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)

    from tmal_core.tasks.synthesise import synthesise

    if arguments.out:
        settings = settings.replace({"data.root": str(arguments.out.resolve())})
    catalog = synthesise(settings)
    print(f"{len(catalog.table)} clips in {arguments.out or settings.data.root}")


def _pretrain_tiny(arguments: argparse.Namespace) -> None:
    from tmal_core.tasks.pretrain_tiny import Recipe, pretrain_tiny

    given = {key: value for key in ("steps", "seed") if (value := getattr(arguments, key)) is not None}
    facts = pretrain_tiny(arguments.out, Recipe(**given))
    print(f"{arguments.out}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))


def _import_splits(arguments: argparse.Namespace) -> None:
    from tmal_core.config import in_project, load_settings

    data = load_settings(arguments.preset).data

    from tmal_core.tasks.splits import import_splits

    out = arguments.out or in_project(data.root)
    print(import_splits(arguments.sources, data.name, out, arguments.labels, arguments.any_counts))


def _prepare(arguments: argparse.Namespace) -> None:
    own = arguments.split_by_class
    if own and arguments.videos is None:
        raise SettingsError("--videos with --split-by-class", "none", "Name the folder with one subfolder per class.")
    if not own and arguments.preset is None:
        remedy = "Name one of the real data sets, or pass --split-by-class for your own videos."
        raise SettingsError("--preset or --split-by-class", "neither", remedy)
    # Your own clips are nearest to Kinetics, but their classes may speak of left and right.
    near = ["sampling.flip=false", "prepare.max_lost=0.02"] if arguments.preset is None else []
    arguments.preset, arguments.set = arguments.preset or "kinetics100", [*near, *arguments.set]
    settings = _settings(arguments)

    from tmal_core.tasks.prepare import own_settings, prepare, prepare_own

    if own:
        settings = own_settings(settings, arguments.videos, arguments.out)
        prepared, preset = prepare_own(settings, arguments.videos, own, decode=not arguments.check)
        print(f"{prepared}\nfor all later commands: --preset {preset}")
        return
    if arguments.out:
        settings = settings.replace({"data.root": str(arguments.out.resolve())})
    print(prepare(settings, arguments.videos, decode=not arguments.check))


def _flow(arguments: argparse.Namespace) -> None:
    changes = {"data.root": arguments.out and str(arguments.out.resolve()), "flow.estimator": arguments.estimator}
    settings = _settings(arguments).replace({key: value for key, value in changes.items() if value})
    job = parse_overrides(arguments.job)
    if (job or arguments.num_shards > 1) and arguments.cluster is None:
        remedy = "Add --cluster slurm, or leave out --num-shards and --job."
        raise SettingsError("--cluster with --num-shards and --job", "none", remedy)

    from tmal_core.tasks.flow import extract_flow

    print(extract_flow(settings, arguments.cluster, arguments.num_shards, job or None))


def _weights(arguments: argparse.Namespace) -> None:
    from tmal_core.tasks.weights import fetch_weights, list_weights, record_weights

    if arguments.action == "fetch":
        print(fetch_weights(arguments.name, arguments.url))
    elif arguments.action == "record":
        print(record_weights(arguments.name))
    else:
        print(list_weights())


def _train(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)

    from tmal_core.models.summary import parameter_table
    from tmal_core.runtime.run_folders import Run
    from tmal_core.tasks.train import train

    with Run.create(arguments.out, settings, "train") as run:
        model, state = train(settings, run)
    print(parameter_table(model).to_string(index=False))
    print(f"{settings.model.method}: best on val {state.best_pct:.2f} %, in {arguments.out}")


def _adopt(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)

    from tmal_core.tasks.adopt import adopt

    run, settings = adopt(settings, arguments.source, arguments.out)
    print(f"{settings.model.method} in {run.path}: tmal evaluate --out {run.path}")


def _study(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)

    from tmal_core.tasks.study import run_study, save_study

    answers = run_study(settings, arguments.out, arguments.variant, range(arguments.seeds), arguments.processes)
    tables = save_study(settings, answers, arguments.out)
    mean = tables.accuracy.pivot(index="title", columns="protocol", values="accuracy_pct")
    print(mean.loc[tables.accuracy["title"].unique()].round(1).to_string())
    if tables.goals is not None:
        print(tables.goals.round(1).to_string(index=False))
    print(f"every digit: {arguments.out / 'tables'}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from tmal_core.runtime.run_folders import Run

    found = (arguments.out / "run.json").exists()
    if found and arguments.preset is None:
        run = Run.open(arguments.out)
        settings = run.settings.replace(parse_overrides(arguments.set))
    else:
        arguments.preset = arguments.preset or "tiny"
        settings = _settings(arguments)
        run = Run.open(arguments.out) if found else Run.create(arguments.out, settings, "evaluate")

    from tmal_core.tasks.evaluate import answer, result_table, save_table

    outcomes = answer(settings, run.path, arguments.method or [settings.model.method], arguments.split)
    table = result_table(settings, outcomes, arguments.split)
    path = save_table(table, run.path, f"evaluate-{arguments.split}")
    print(
        table[["method", "protocol", "accuracy_pct", "low_pct", "high_pct", "episodes"]].round(2).to_string(index=False)
    )
    print(f"every digit: {path}")
    lost = int(table["lost_videos"].iloc[0])
    if lost:
        print(f"{lost} listed videos of {arguments.split} are lost: {path.parent / f'lost-{arguments.split}.csv'}")


def _classify(arguments: argparse.Namespace) -> None:
    checkpoint, changes = arguments.checkpoint, parse_overrides(arguments.set)
    if checkpoint and arguments.preset:
        raise SettingsError("--checkpoint or --preset", "both", "A checkpoint has the settings of its run.")

    from tmal_core.tasks.classify import UNSURE_BELOW, classify, save_classified, trained_settings

    if checkpoint:
        settings, checkpoint = trained_settings(checkpoint, arguments.method)
        settings = settings.replace(changes)
    else:
        arguments.preset = arguments.preset or "kinetics100"
        settings = _settings(arguments).replace({"model.method": arguments.method or "otam"})
    below = UNSURE_BELOW if arguments.unsure_below is None else arguments.unsure_below
    places = arguments.support, arguments.queries
    found = classify(settings, *places, checkpoint, below, arguments.flow_folder, arguments.force)
    save_classified(found, arguments.out)
    print(f"{found}\n{arguments.out}")


def _runs(arguments: argparse.Namespace) -> None:
    from tmal_core.runtime.run_folders import runs

    table = runs(arguments.root)
    table["commit"] = table["commit"].str[:12]
    table["error"] = table["error"].str.slice(0, LONGEST_ERROR)
    print(table.dropna(axis="columns", how="all").to_string(index=False) if len(table) else "no runs")


if __name__ == "__main__":
    sys.exit(main())
