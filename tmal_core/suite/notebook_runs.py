"""The suite: the seven notebooks in order, headless, checked before anything runs, with a report at the end.

Papermill executes copies; the notebooks themselves are never changed. What papermill leaves open is closed here:
unknown parameters and missing `parameters` cells are errors, the kernel is the running interpreter whatever kernels
the user has installed, a dead kernel is an error and no hang (papermill issues 125, 478), and a suite that was stopped
goes on behind the last finished notebook (issue 824).
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from tmal_core.config import Settings, settings_hash
from tmal_core.errors import RunError
from tmal_core.evaluation.ledger import looks_in_words
from tmal_core.experiment import Experiment, require_episodes
from tmal_core.runtime.files import atomic_path, full_disk_is_clear, is_occupied
from tmal_core.runtime.program_folder import program
from tmal_core.runtime.run_folders import Run
from tmal_core.suite.report import write_report
from tmal_core.suite.terminal_lines import Say, state_renewed

PACKAGE = Path(__file__).resolve().parents[1]
NOTEBOOKS = PACKAGE.parent / "notebooks"
NAMES = (
    "01_data_preparation",
    "02_flow_extraction",
    "03_adapter_training",
    "04_fusion_ablations",
    "05_evaluation",
    "06_attention_visualisation",
    "07_episode_inspection",
)
"""The suite, in order. Copies that lie beside these are not run."""
COMMON = ("preset", "overrides", "run_dir", "seed")
"""Parameters of every notebook."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SAY = partial(print, flush=True)
LEDGER = "executed.json"
"""Beside the executed copies: what they were executed with."""
METHODS = ("zero_shot", "protonet", "otam", "st_adapter", "tmal")
"""Methods that the notebooks train and compare."""


class Notebook(NamedTuple):
    """A source notebook that passed the checks."""

    path: Path
    parameters: tuple[str, ...]  # names that its parameters cell assigns
    digest: str  # hash of the file


def run_suite(
    out: str | Path,
    preset: str | Path = "tiny",
    overrides: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    notebooks: Path = NOTEBOOKS,
    names: Sequence[str] = NAMES,
    fresh: bool = False,
    cell_timeout_s: int | None = None,
    say: Say = SAY,
    renew: Say = lambda line: None,
) -> Path:
    """Run the notebooks in order into one run folder.

    Args:
        out: the run folder; notebooks executed there under the same settings, sources and package code are kept.
        preset, overrides: the settings, as for `load_settings`.
        parameters: further notebook parameters; each goes to the notebooks that know it.
        notebooks, names: folder of the source notebooks, also the kernels' working directory; which of them, in order.
        fresh: empty the run folder first, if it is one of the suite's.
        cell_timeout_s: longest time for one cell; None waits for as long as its kernel lives.
        say: takes a line before and after each notebook.
        renew: takes, every second, where the notebook that runs stands.

    Returns:
        The path of `report.html`.

    Raises:
        SettingsError: a wrong preset or override.
        EpisodeError: episodes that the data set cannot give.
        RunError: notebooks that fail the checks, a folder of something else (all before anything runs), or a notebook
            that fails.
    """
    experiment = Experiment.of(preset, overrides, "tmal")  # which fixes nothing: all that do are named
    experiment.of_methods(METHODS)
    settings = experiment.common
    extra = dict(parameters or {})
    plan = check_notebooks(notebooks, names, extra)
    require_episodes(experiment)
    others = sorted(path.name for path in Path(notebooks).glob("[0-9][0-9]_*.ipynb") if path.stem not in names)
    if others:  # often copies that JupyterLab has made
        say(f"left out, since the suite runs notebooks by name: {', '.join(others)}")
    out = Path(out).resolve()
    if fresh:
        _empty(out)
    run = Run.create(out, settings, "suite", experiment.set_by_user)
    preset_value = str(Path(preset).resolve()) if str(preset).endswith((".yaml", ".yml")) else str(preset)
    common = {"preset": preset_value, "overrides": dict(overrides or {}), "run_dir": str(out), "seed": settings.seed}

    # What a notebook has started outlives its kernel; the suite it does not.
    with run, program() as beneath, full_disk_is_clear(out):
        kernel = _kernel_manager(settings, beneath.environment)

        def execute(notebook: Notebook, copy: Path) -> None:
            own = {name: value for name, value in extra.items() if name in notebook.parameters}
            with state_renewed(notebook.path.stem, beneath, renew):
                _execute(notebook, copy, {**common, **own}, kernel, cell_timeout_s)

        (out / "report.html").unlink(missing_ok=True)  # the report of an earlier try must not outlive this one
        started = time.monotonic()
        key = f"{settings_hash(settings)} {json.dumps(extra, sort_keys=True, default=str)}"
        kept, seconds = _run_all(plan, out / "notebooks", key, execute, say)
        report = write_report(out, settings, seconds)
        run.update_summary(notebooks=len(plan), kept=kept)
    say(f"report: {report} ({report.stat().st_size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s)")
    say(looks_in_words(settings.data.folder))
    return report


def check_notebooks(folder: Path, names: Sequence[str] = NAMES, extra: Collection[str] = ()) -> list[Notebook]:
    """Read the named notebooks and check their parameters cells; nothing is executed.

    Raises:
        RunError: a notebook that is missing or unreadable, one without exactly one `parameters` cell or without the
            common parameters, or an extra parameter that none of them knows.
    """
    paths = [Path(folder) / f"{name}.ipynb" for name in names]
    if missing := [path.name for path in paths if not path.is_file()]:
        remedy = "Restore them, or correct the folder of the notebooks."
        raise RunError(f"{len(names)} notebooks in {folder}", f"none named {', '.join(missing)}", remedy)
    plan = [_read_notebook(path) for path in paths]
    known = sorted({name for notebook in plan for name in notebook.parameters})
    if unknown := sorted(set(extra) - set(known)):
        raise RunError(f"parameters among {', '.join(known)}", ", ".join(unknown), "Correct the names.")
    if reserved := sorted(set(extra) & set(COMMON)):
        remedy = "Use --preset, --set and --out for these."
        raise RunError("parameters that the suite does not set itself", ", ".join(reserved), remedy)
    return plan


def _read_notebook(path: Path) -> Notebook:
    content = path.read_bytes()
    try:
        notebook = nbformat.reads(content.decode(), as_version=4)
    except (ValueError, AttributeError, KeyError, nbformat.ValidationError) as error:
        what = str(error).partition("\n")[0]
        raise RunError("a readable notebook", f"{path}: {what}", "Repair or remove the file.") from error
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        got = f"{len(cells)} in {path}"
        raise RunError("exactly one code cell tagged 'parameters'", got, "Tag the cell in the notebook.")
    try:
        body = ast.parse(cells[0].source).body
    except SyntaxError as error:
        got = f"{path}: {error.msg} in line {error.lineno}"
        raise RunError("a parameters cell of plain Python", got, "Correct the cell.") from error
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    names = tuple(target.id for target in targets if isinstance(target, ast.Name))
    if missing := [name for name in COMMON if name not in names]:
        got = f"{path} without {', '.join(missing)}"
        raise RunError(f"a parameters cell with {', '.join(COMMON)}", got, "Add them to the cell.")
    return Notebook(path, names, hashlib.sha256(content).hexdigest())


def _run_all(
    plan: list[Notebook], copies: Path, key: str, execute: Callable[[Notebook, Path], None], say: Say
) -> tuple[int, dict[Path, float]]:
    """Execute what is not done yet; the number kept, and the seconds of each executed copy.

    Args:
        key: names what all of them depend on, beside the package.
    """
    ledger: dict[str, dict[str, Any]] = {}
    with suppress(OSError, ValueError):  # without it every notebook runs again, which is always right
        ledger = json.loads((copies / LEDGER).read_text())

    def note(name: str, entry: dict[str, Any] | None) -> None:
        ledger.pop(name, None)
        ledger.update({name: entry} if entry else {})
        with atomic_path(copies / LEDGER) as temporary:
            temporary.write_text(json.dumps(ledger, indent=2) + "\n")

    kept, seconds, code = 0, {}, package_hash()
    if ledger and all(entry["code"] != code for entry in ledger.values()):
        say("the package changed since this folder was written: notebooks run again, models in it stay (or --fresh)")
    # Each key contains the one before: a notebook that runs again makes all later ones run again.
    key = f"{key} {code}"
    for notebook in plan:
        key = hashlib.sha256(f"{key} {notebook.digest}".encode()).hexdigest()
        name, copy = notebook.path.stem, copies / notebook.path.name
        entry = ledger.get(name)
        if entry and entry["key"] == key and copy.exists():
            kept, seconds[copy] = kept + 1, entry["seconds"]
            say(f"{name}: kept")
            continue
        note(name, None)
        say(f"{name}: running ...")
        started = time.monotonic()
        execute(notebook, copy)
        seconds[copy] = round(time.monotonic() - started, 1)
        note(name, {"key": key, "code": code, "seconds": seconds[copy]})
        say(f"{name}: {seconds[copy]:.0f} s")
    return kept, seconds


def _execute(
    notebook: Notebook,
    copy: Path,
    values: Mapping[str, Any],
    kernel: type[AsyncKernelManager],
    cell_timeout_s: int | None,
) -> None:
    name = notebook.path.name
    remedy = f"Look at the executed copy: {copy}"
    try:
        papermill.execute_notebook(
            notebook.path,
            copy,
            parameters=dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=notebook.path.parent,
            start_timeout=120,
            execution_timeout=cell_timeout_s,
            iopub_timeout=60,  # papermill's own 4 s are too short on a busy machine
            coalesce_streams=True,
            kernel_manager_class=kernel,
        )
    except papermill.PapermillExecutionError as error:
        raise RunError(f"{name} to run", f"cell [{error.exec_count}]: {_last_line(error)}", remedy) from error
    except CellTimeoutError as error:
        raise RunError(f"cells of {name} within {cell_timeout_s} s", "one that takes longer", remedy) from error
    except (DeadKernelError, RuntimeError) as error:
        # A kernel that dies while it starts is reported as a bare RuntimeError.
        if not isinstance(error, DeadKernelError) and "ernel" not in str(error):
            raise
        raise RunError(f"{name} to run", "a kernel that died (often: out of memory)", remedy) from error


def _kernel_manager(settings: Settings, more: Mapping[str, str]) -> type[AsyncKernelManager]:
    """A manager that starts the running interpreter, whatever kernel the user has installed as `python3`."""
    env = {**more, "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    env |= dict.fromkeys(THREADS, str(settings.compute.num_threads))
    env |= {"TQDM_DISABLE": "1"}  # bars of worker processes; the report leaves out those of notebooks
    # The kernel's own log tells of its shutdown and its transport; errors of cells are outputs, not log lines.
    spec = KernelSpec(**get_kernel_dict(extra_arguments=["--log-level=CRITICAL"]), env=env)

    class ThisInterpreter(AsyncKernelManager):
        kernel_spec = spec

    return ThisInterpreter


def package_hash() -> str:
    """Hash of the package's code and presets: what an executed notebook depends on beside its own source."""
    digest = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml")]):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _empty(out: Path) -> None:
    """Remove the suite's own run folder; a folder of anything else is an error."""
    if is_occupied(out):
        if not (out / "run.json").exists() or Run.open(out).record["kind"] != "suite":
            remedy = "Choose another folder, or remove it yourself."
            raise RunError("a run folder of the suite to start afresh", str(out), remedy)
        shutil.rmtree(out)


def _last_line(error: papermill.PapermillExecutionError) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", f"{error.ename}: {error.evalue}".strip())
    return text.splitlines()[-1].rstrip(".")
