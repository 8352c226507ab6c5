"""A real browser, a real JupyterLab, voila, and a run of the `smoke` preset: `make test-browser`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_pages import watched_pages
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
RUN = ROOT / "runs" / "smoke"
TOKEN = "only-for-this-test"
RESTARTED = re.compile(r"Traceback(?:(?!Traceback).)*?ZMQError: Socket operation on non-socket\n", re.DOTALL)
"""What ipykernel says when its kernel is started anew while a message is on its way, as one test does."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):  # all tests of a run come by here
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def smoke_run() -> Path:
    if not (RUN / "run.json").is_file():
        pytest.fail(f"expected a run of the smoke preset in {RUN}, got none: `make smoke` makes one")
    return RUN


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are left, to be looked at."""
    folder = ROOT / "runs" / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("expected chromium, got none: install Debian's package `chromium`")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def opened(browser):
    with watched_pages(browser) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def runs(smoke_run, tmp_path_factory) -> Path:
    """A folder with two copies of the smoke run, `first` and `second`."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        shutil.copytree(smoke_run, folder / name)
    return folder


@pytest.fixture(scope="session")
def lab(runs, tmp_path_factory) -> Iterator[str]:
    """Link of a JupyterLab with copies of the notebooks, set to the smoke preset and the run `first`; `{}` stands for
    the notebook's name."""
    folder = tmp_path_factory.mktemp("lab")
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        set_to(notebook, folder / notebook.name, runs / "first")
    training = ROOT / "notebooks" / "03_adapter_training.ipynb"
    long = {"training.episodes": 1200, "training.validate_every": 100}
    set_to(training, folder / "long_training.ipynb", runs / "long", long)
    set_to(training, folder / "wrong_settings.ipynb", runs / "wrong", {"training.speed": "high"})
    tracker = folder / ".settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')  # or cells that are out of sight are not in the page
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": str(folder), "ServerApp.allow_root": True, "IdentityProvider.token": TOKEN,
        "LabApp.news_url": "None", "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly", "LabApp.user_settings_dir": str(folder / ".settings"),
        "LabApp.workspaces_dir": str(folder / ".workspaces"),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/api?token={TOKEN}", server)
        yield f"{address}/lab/tree/{{}}.ipynb?token={TOKEN}&reset"
        said = RESTARTED.sub("", (folder / "server.log").read_text())
        assert "Traceback" not in said and "[E " not in said, said[-3000:]
    finally:
        server.terminate()
        server.wait(20)


def set_to(notebook: Path, copy: Path, run: Path, overrides: dict | None = None) -> None:
    """A copy of a notebook, set to the smoke preset and a run."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    (cell,) = (one for one in content["cells"] if "parameters" in one["metadata"].get("tags", []))
    lines = re.sub('preset: str = "(tiny)?"', 'preset: str = "smoke"', "".join(cell["source"]))
    lines = re.sub('run_dir: str = ".*?"', f'run_dir: str = "{run}"', lines)
    lines = lines.replace("overrides: dict = {}", f"overrides: dict = {overrides or {}}")
    cell["source"] = lines.splitlines(keepends=True)
    copy.write_text(json.dumps(content), encoding="utf-8")


def _wait_for(url: str, server: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("JupyterLab did not start")
