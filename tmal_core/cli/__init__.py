"""The command line: `tmal <command>`, one command per task. `tmal --install-completion` teaches it to the shell.

An error of the user ends in one line on stderr and exit code 1, Ctrl-C in one line and 130. Anything else that escapes
keeps its traceback: it is a defect of ours. Each command imports what it needs when it runs, so that help is instant.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tmal_core import __version__
from tmal_core.cli import (
    clip_commands,
    data_commands,
    evaluation_commands,
    suite_commands,
    table_commands,
    training_commands,
    weights_commands,
)
from tmal_core.cli.options import flag
from tmal_core.errors import DataError, TmalError
from tmal_core.runtime.files import full_disk_is_clear

EXAMPLES = """examples:

\b
  tmal suite --preset tiny --set training.episodes=500 --set seed=3 --out runs/x
  tmal train --preset tiny --set training.learning_rate=0.002 --out runs/fast
  tmal runs runs
"""
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


@app.callback(invoke_without_command=True)
def _about(context: typer.Context, version: Annotated[bool, flag("--version", "show the version and leave")] = False):
    """Few-shot action recognition: data, training, evaluation and the suite of notebooks."""
    if version or context.invoked_subcommand is None:
        print(f"tmal {__version__}" if version else context.get_help())
        raise typer.Exit


app.command()(suite_commands.suite)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(suite_commands.lab)
app.command()(data_commands.synthesise)
app.command("pretrain-tiny")(weights_commands.pretrain_tiny)
splits.command("import")(data_commands.import_lists)
app.command()(data_commands.prepare)
app.command()(data_commands.flow)
weights.callback(invoke_without_command=True)(weights_commands.weights)
weights.command("list")(weights_commands.list_all)
weights.command()(weights_commands.fetch)
weights.command()(weights_commands.record)
app.command()(training_commands.train)
app.command()(training_commands.study)
app.command()(training_commands.adopt)
app.command()(evaluation_commands.evaluate)
app.command()(evaluation_commands.cross)
app.command("text-score")(evaluation_commands.text_score)
app.command()(table_commands.table)
app.command()(table_commands.efficiency)
app.command()(evaluation_commands.baselines)
app.command()(clip_commands.classify)
app.command()(suite_commands.inspector)
app.command()(table_commands.runs)
