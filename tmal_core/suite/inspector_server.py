"""`tmal inspector`: notebook 7 on one run as a page, served by voila to this machine alone.

    run folder ─► a copy of notebook 7 with the run's parameters ─► voila ─► one link

Voila's template loads a style sheet from another server; ours, in `suite/jupyter`, does not. The copy lies in a
temporary folder, and the server goes with the command.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from tmal_core.errors import RunError
from tmal_core.runtime.run_folders import Run
from tmal_core.suite.notebook_runs import NOTEBOOKS, SAY, Say
from tmal_core.viz.widgets.run_choice import trained

NOTEBOOK = "07_episode_inspection"
TEMPLATES = Path(__file__).with_name("jupyter")
EXTENSIONS = ("@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget")
"""What the page needs of all that may be installed in JupyterLab."""
SERVER = ("voila",)
"""The module that serves, as Python's `-m` takes it."""
START_S, END_S = 60, 15
"""Seconds that the server may take to answer for the first time, and to end."""


def inspector_notebook(run_dir: Path, notebooks: Path = NOTEBOOKS) -> nbformat.NotebookNode:
    """Notebook 7 with the parameters of a run; of one without trained weights, a page that says what to run.

    Raises:
        RunError: no run, or a broken one.
    """
    run = Run.open(run_dir)
    if not trained(run_dir):
        return _nothing_trained(run_dir)
    settings = run.settings
    parameters = {"preset": settings.preset, "overrides": run.set_by_user, "seed": settings.seed}
    notebook = load_notebook_node(str(notebooks / f"{NOTEBOOK}.ipynb"))
    return parameterize_notebook(notebook, {**parameters, "run_dir": str(run_dir.resolve())})


class Served(NamedTuple):
    """A server that answers."""

    link: str  # with the token that it asks for
    process: subprocess.Popen[bytes]


@contextmanager
def serving(run_dir: Path, port: int | None = None) -> Iterator[Served]:
    """Serve it while the context is open.

    Args:
        run_dir: the run folder.
        port: on 127.0.0.1; any free one by default.

    Raises:
        RunError: no run, or a port that is taken, or a server that does not start.
    """
    notebook = inspector_notebook(run_dir)
    with TemporaryDirectory(prefix="tmal-inspector-") as temporary:
        folder = Path(temporary)
        nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")
        port, token = _free(port), secrets.token_hex(16)
        with (folder / "server.log").open("wb") as log:
            process = _start(folder, port, token, log)
        try:
            _wait_for(port, process, folder / "server.log")
            yield Served(f"http://127.0.0.1:{port}/?token={token}", process)
        finally:
            _end(process)


def serve_inspector(run_dir: Path, port: int | None = None, say: Say = SAY) -> None:
    """Print the link and serve until Ctrl-C or SIGTERM; arguments and errors as of `serving`."""
    # A shell that starts it in the background has said that nobody listens to Ctrl-C.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serving(run_dir, port) as served, suppress(KeyboardInterrupt):
            say(f"{served.link}\nCtrl-C ends it.")
            served.process.wait()
            raise RunError("a server that runs until Ctrl-C", "one that has ended", "Start it again.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing_trained(run_dir: Path) -> nbformat.NotebookNode:
    text = f"# Nothing to inspect yet\n\nThe run `{run_dir}` has no trained weights. This makes them:\n\n"
    text += f"    make suite OUT={run_dir}\n\nThen start `make inspector RUN={run_dir}` again."
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def _free(port: int | None) -> int:
    """The port that is asked for, or a free one.

    Raises:
        RunError: it is taken.
    """
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind(("127.0.0.1", port or 0))
        except OSError as error:
            raise RunError("a free port", f"{port} ({error.strerror})", "Name another with --port.") from error
        return asked.getsockname()[1]


def _start(folder: Path, port: int, token: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Voila in a session of its own: Ctrl-C comes to it once, from us."""
    # In a file that nobody else can read, for a command line can be seen by all. It stands for the user's own
    # configuration, which may open the server to others.
    server = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "token": token, "open_browser": False}
    page = {"template": "tmal", "extension_allowlist": list(EXTENSIONS), "show_tracebacks": True}
    config = {"Voila": server, "VoilaConfiguration": page}
    (folder / "voila.json").write_text(json.dumps(config), encoding="utf-8")
    paths = [str(TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder), "JUPYTER_PATH": os.pathsep.join(paths)}
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"  # our kernel before one of the same name in the user's home
    command = [sys.executable, "-m", *SERVER, str(folder / f"{NOTEBOOK}.ipynb")]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    said = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
    remedy = "Run `make install`, which installs voila."
    raise RunError("a server that answers", f"none: {said[-500:]}", remedy)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupted, voila ends its kernels; killed, they end by themselves when they miss it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
