"""What is put together of what was measured."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument

from tmal_core.cli.options import METHODS, NONE, Out, Preset, Sets, experiment_of, flag, opt

FIRST_OF_RUNS = ("run", "status", "created", "kind", "error", "preset", "seed", "seconds")
"""Columns of the list of runs that come first where there is no room for all."""

EACH = f"{METHODS}; may be given again (default: all)"
AGAINST = "the method that all others are compared with"
Split = Literal["test", "val"]


def table(
    runs: Annotated[list[Path], Argument(help="run folders that were evaluated, or folders of runs")],
    split: Annotated[Split, opt("whose answers are put together")] = "test",
    against: Annotated[str | None, opt(AGAINST, "NAME", show_default="the best of each column")] = None,
    published: Annotated[bool, flag("--published", "published figures in a table of their own beside it")] = False,
    out: Annotated[Path, opt("folder for table.md, table.csv and table.tex")] = Path("tables"),
) -> None:
    """Make the table of a paper from what several runs answered: Markdown, CSV and LaTeX."""
    from tmal_core.tasks.table import table_of_runs

    made = table_of_runs(runs, split, against, published)
    files = made.save(out)
    print(files[0].read_text(encoding="utf-8"))
    for line in made.left_out:
        print(f"left out {line}")
    print(f"written: {', '.join(map(str, files))}")


def efficiency(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    method: Annotated[list[str], opt(EACH, "NAME", "--method", show_default=False)] = NONE,
    rounds: Annotated[int, opt("of which the median time is taken", "N", min=1)] = 5,
    out: Out = Path("runs/efficiency"),
) -> None:
    """What methods cost: parameters, operations, memory and time on this machine; needs no data and no weights."""
    experiment = experiment_of(preset, sets, out, method[0] if len(method) == 1 else "tmal")
    from tmal_core.runtime.run_folders import Run
    from tmal_core.tasks.efficiency import efficiency_tables
    from tmal_core.tasks.evaluate import save_table

    experiments = experiment.of_methods(method or METHODS.split(", "))
    with Run.create(out, experiment.settings, "efficiency", experiment.set_by_user) as run:
        counts, times = efficiency_tables(experiments, rounds, lambda line: print(line, file=sys.stderr))
        files = [save_table(counts, run.path, "efficiency"), save_table(times, run.path, "efficiency_time")]
    shown = counts.merge(times, on=["method", "title"]).drop(columns=["title", "settings", "machine"])
    print(f"{shown.round(3).to_string(index=False)}\non {times['machine'].iat[0]}\n{files[0]}\n{files[1]}")


def runs(
    root: Annotated[Path, Argument(help="folder of runs")] = Path("runs"),
    wide: Annotated[bool, flag("--wide", "every column and all of each, as in a file")] = False,
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
