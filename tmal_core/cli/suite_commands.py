"""The suite of notebooks, and pages that a browser opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from tmal_core.cli.options import NONE, Out, Preset, Sets, flag, many, opt, parse_overrides, settings_of

Seconds = Annotated[int | None, opt("longest time for one cell", "SECONDS", min=1, show_default="none")]


def suite(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Out = Path("runs/suite"),
    fresh: Annotated[bool, flag("--fresh", "empty the run folder first instead of going on in it")] = False,
    parameter: Annotated[list[str], many("a further parameter of the notebooks that know it", "NAME=VALUE")] = NONE,
    cell_timeout: Seconds = None,
) -> None:
    """Run all notebooks in order and write a report."""
    settings_of(preset, sets)  # a wrong setting is told before the notebook libraries are loaded
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


def lab(context: typer.Context) -> None:
    """JupyterLab at the first notebook, until Ctrl-C; options are those of `jupyter lab`."""
    from tmal_core.suite.lab import open_lab

    open_lab(context.args)


def inspector(
    run: Annotated[Path, Argument(help="run folder whose episodes are looked at")] = Path("runs/suite"),
    port: Annotated[int | None, opt("of 127.0.0.1", "N", min=1, max=65535, show_default="any free one")] = None,
) -> None:
    """Serve the episode inspector of a run as a page, to this machine alone."""
    from tmal_core.suite.inspector_server import serve_inspector

    serve_inspector(run, port)
