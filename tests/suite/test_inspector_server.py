"""The inspector's page: notebook 7 with a run's parameters, on this machine alone, gone with its command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from tmal_core.config import load_settings
from tmal_core.errors import RunError
from tmal_core.runtime.run_folders import Run
from tmal_core.suite import inspector_server as served
from tmal_core.training.loop import BEST

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """A run of the smoke preset with one setting of the user's, and nothing trained."""
    given = {"evaluation.episodes": 7, "seed": 5}
    return Run.create(tmp_path / "run", load_settings("smoke", given), "suite", given)


def with_weights(run):
    weights = run.path / "checkpoints" / "tmal" / BEST
    weights.parent.mkdir(parents=True)
    weights.touch()
    return run


def parameters(notebook):
    """What the injected cell assigns."""
    (cell,) = (cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", []))
    values: dict = {}
    exec(cell.source, {}, values)
    return values


def test_the_notebook_gets_the_parameters_of_the_run(run):
    assert parameters(served.inspector_notebook(with_weights(run).path)) == {
        "preset": "smoke", "overrides": {"evaluation.episodes": 7, "seed": 5}, "seed": 5, "run_dir": str(run.path),
    }  # fmt: skip


def test_a_run_without_weights_gives_a_page_that_says_what_to_run(run):
    (cell,) = served.inspector_notebook(run.path).cells
    assert cell.cell_type == "markdown" and f"make suite OUT={run.path}" in cell.source


def test_no_run(tmp_path):
    with pytest.raises(RunError, match=r"a run folder with run.json.*Correct the path"):
        served.inspector_notebook(tmp_path / "none")


def test_a_port_that_is_taken(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=rf"a free port, got {port} .* Name another with --port"):
            served.serve_inspector(run.path, port)


def test_a_server_that_does_not_start_says_why(run, monkeypatch):
    monkeypatch.setattr(served, "SERVER", ("no_such_server",))
    with pytest.raises(RunError, match=r"a server that answers, got none: .*No module named no_such_server"):
        served.serve_inspector(run.path)


def test_a_server_that_ends_by_itself(run, monkeypatch):
    script = "import json, socket, time; port = json.load(open('voila.json'))['Voila']['port']; "
    script += "server = socket.create_server(('127.0.0.1', port)); server.accept(); time.sleep(0.1)"
    (run.path / "brief.py").write_text(script)
    monkeypatch.setattr(served, "SERVER", ("brief",))
    monkeypatch.setenv("PYTHONPATH", str(run.path))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunError, match="a server that runs until Ctrl-C, got one that has ended"):
        served.serve_inspector(run.path)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_page_asks_for_its_token_and_ends_with_the_command(run, ending):
    command = [sys.executable, "-m", "tmal_core", "inspector", str(run.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as one:
        link = one.stdout.readline().strip()
        assert link.startswith("http://127.0.0.1:"), link + one.stdout.read()
        with urllib.request.urlopen(link, timeout=120) as answer:
            assert "Nothing to inspect yet" in answer.read().decode()
        address = link.partition("?")[0]
        with urllib.request.urlopen(address, timeout=120) as answer:
            assert "Nothing to inspect yet" not in answer.read().decode()  # but a form that asks for the token
        started = psutil.Process(one.pid).children(recursive=True)
        assert started
        one.send_signal(ending)
        assert one.wait(60) == 0, one.stdout.read()
    assert psutil.wait_procs(started, timeout=20)[1] == []
