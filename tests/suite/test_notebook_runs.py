"""The suite: checked before it runs, stopped by the first failure, resumed behind the last finished notebook."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tmal_core.config import load_settings
from tmal_core.errors import EpisodeError, RunError, SettingsError
from tmal_core.runtime.run_folders import Run
from tmal_core.suite import notebook_runs as suite

EMPTY = nbformat.writes(new_notebook())
PARAMETERS = 'preset: str = "tiny"\noverrides: dict = {}\nrun_dir: str = "runs/interactive"\nseed: int = 0\n'


def write_notebook(folder: Path, name: str, *cells: str, parameters: str = PARAMETERS, tags: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    head = [new_code_cell(parameters, metadata={"tags": ["parameters"]}) for _ in range(tags)]
    notebook = new_notebook(cells=[new_markdown_cell("# A question"), *head, *map(new_code_cell, cells)])
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.ipynb")}


@pytest.fixture(autouse=True)
def nothing_of_the_package_changes(monkeypatch):
    monkeypatch.setattr(suite, "package_hash", lambda: "0" * 12)


@pytest.fixture(autouse=True)
def what_a_test_wrote(monkeypatch):
    """`run_suite` of whatever numbered notebooks a test has written, instead of the suite's seven."""
    original = suite.run_suite

    def run(*args, notebooks, names=None, **options):
        found = sorted(path.stem for path in notebooks.glob("[0-9][0-9]_*.ipynb"))
        return original(*args, notebooks=notebooks, names=names or found, **options)

    monkeypatch.setattr(suite, "run_suite", run)


@pytest.fixture
def no_kernel(monkeypatch):
    def fail(*args, **kwargs):
        pytest.fail("something ran before the checks were done")

    monkeypatch.setattr(suite.papermill, "execute_notebook", fail)


def test_runs_in_order_reports_and_keeps_what_is_done(tmp_path, monkeypatch):
    """One story, since every kernel costs seconds: run, report, run again, fail after a change."""
    source, out = tmp_path / "notebooks", tmp_path / "out"
    # A kernel of the user's that took the name must not be started instead of this interpreter.
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    seen = (
        "from pathlib import Path\nimport json, os, sys\nkeys = ('PYTHONHASHSEED', 'OMP_NUM_THREADS', 'MPLBACKEND')\n"
    )
    seen += "state = dict(preset=preset, overrides=overrides, run_dir=run_dir, seed=seed, python=sys.executable)\n"
    seen += "state.update({key: os.environ[key] for key in keys})\n"
    seen += "Path(run_dir, 'seen.json').write_text(json.dumps(state))"
    write_notebook(source, "01_first", seen)
    table = "from pathlib import Path\nPath(run_dir, 'tables').mkdir(exist_ok=True)\n"
    table += "Path(run_dir, 'tables', 'results.csv').write_text('method,accuracy_pct\\n<frozen>,50.123456\\n')\nextra"
    write_notebook(source, "02_second", table, parameters=PARAMETERS + "extra: int = 1\n")
    before, lines = digests(source), []
    overrides = {"seed": 3, "compute.num_threads": 1}

    def run(**options):
        lines.clear()
        return suite.run_suite(out, "tiny", overrides, {"extra": 77}, notebooks=source, say=lines.append, **options)

    report = run()
    assert digests(source) == before
    state = json.loads((out / "seen.json").read_text())
    assert (state["preset"], state["overrides"], state["seed"]) == ("tiny", overrides, 3)
    assert Path(state["run_dir"]) == out
    assert (state["python"], state["PYTHONHASHSEED"], state["OMP_NUM_THREADS"]) == (sys.executable, "0", "1")
    assert "inline" in state["MPLBACKEND"]
    ends = ["report", "looks at test so far"]
    assert [line.split(":")[0] for line in lines] == ["01_first"] * 2 + ["02_second"] * 2 + ends
    assert lines[0] == "01_first: running ..." and lines[1].endswith(" s")
    page = report.read_text()
    assert all(
        text in page for text in ("results.csv", ">50.1<", "&lt;frozen&gt;", "01 · First", ">77<", "num_threads")
    )
    assert not [link for link in ("src='http", 'src="http', 'href="http', "url(http") if link in page]
    assert Run.open(out).status == "done"
    assert Run.open(out).settings == load_settings("tiny", overrides)

    run()
    assert lines[:2] == ["01_first: kept", "02_second: kept"]

    notebook = nbformat.read(source / "02_second.ipynb", as_version=4)
    notebook.cells.append(new_code_cell("raise ValueError('first line\\nthe reason')"))
    nbformat.write(notebook, source / "02_second.ipynb")
    with pytest.raises(
        RunError, match=r"02_second.ipynb to run, got cell \[4\]: the reason\. Look at .*02_second"
    ) as caught:
        run()
    assert lines == ["01_first: kept", "02_second: running ..."]
    copy = Path(caught.value.remedy.split(": ")[1])
    assert "the reason" in copy.read_text()
    assert not report.exists(), "the report of an earlier try outlived a failure"
    assert Run.open(out).status == "failed"

    with pytest.raises(RunError, match="02_second"):
        run()
    assert lines == ["01_first: kept", "02_second: running ..."], "a failed notebook must not count as done"


def test_later_notebooks_run_again_when_an_earlier_one_does(tmp_path, monkeypatch):
    source, out, ran = tmp_path / "notebooks", tmp_path / "out", []

    def execute(notebook, copy, *rest):
        ran.append(notebook.path.stem)
        nbformat.write(new_notebook(), copy)

    monkeypatch.setattr(suite, "_execute", execute)
    for name in ("01_a", "02_b", "03_c"):
        write_notebook(source, name)

    def run(**options):
        ran.clear()
        suite.run_suite(out, notebooks=source, say=lambda line: None, **options)
        return list(ran)

    assert run() == ["01_a", "02_b", "03_c"]
    assert run() == []
    write_notebook(source, "02_b", "1 + 1")
    assert run() == ["02_b", "03_c"]
    (out / "notebooks" / "executed.json").write_text("{")
    assert run() == ["01_a", "02_b", "03_c"]
    (out / "stale").write_text("")
    assert run(fresh=True) == ["01_a", "02_b", "03_c"]
    assert not (out / "stale").exists()
    monkeypatch.setattr(suite, "package_hash", lambda: "1" * 12)
    assert run() == ["01_a", "02_b", "03_c"]


def test_the_notebooks_run_by_name(tmp_path, monkeypatch):
    folder, ran, lines = tmp_path / "notebooks", [], []
    monkeypatch.setattr(suite, "_execute", lambda notebook, copy, *rest: ran.append(notebook) or copy.write_text(EMPTY))
    for name in ("01_a", "02_b", "02_b-Copy1", "08_mine"):
        write_notebook(folder, name)
    suite.run_suite(tmp_path / "out", notebooks=folder, names=["01_a", "02_b"], say=lines.append)
    assert [notebook.path.stem for notebook in ran] == ["01_a", "02_b"]
    assert lines[0] == "left out, since the suite runs notebooks by name: 02_b-Copy1.ipynb, 08_mine.ipynb"
    assert not [line for line in lines[1:] if "Copy1" in line or "mine" in line]


def test_the_named_notebooks_are_those_of_the_project():
    assert [notebook.path.stem for notebook in suite.check_notebooks(suite.NOTEBOOKS)] == list(suite.NAMES)


def test_a_dead_kernel_is_an_error_and_no_hang(tmp_path):
    write_notebook(tmp_path / "notebooks", "01_dies", "import os\nos._exit(1)")
    write_notebook(tmp_path / "notebooks", "02_never", "")
    with pytest.raises(RunError, match="got a kernel that died"):
        suite.run_suite(tmp_path / "out", notebooks=tmp_path / "notebooks")
    assert (tmp_path / "out" / "notebooks" / "01_dies.ipynb").exists()
    assert not (tmp_path / "out" / "notebooks" / "02_never.ipynb").exists()
    assert Run.open(tmp_path / "out").status == "failed"


def test_a_cell_over_its_time_is_an_error(tmp_path):
    write_notebook(tmp_path / "notebooks", "01_slow", "import time\ntime.sleep(1000)")
    with pytest.raises(RunError, match="within 1 s, got one that takes longer"):
        suite.run_suite(tmp_path / "out", notebooks=tmp_path / "notebooks", cell_timeout_s=1)


def test_interrupt_stops_the_kernel_and_leaves_one_line(tmp_path, lives):
    write_notebook(
        tmp_path / "notebooks",
        "01_slow",
        "from pathlib import Path\nimport os, time\nPath(run_dir, 'pid').write_text(str(os.getpid()))\ntime.sleep(999)",
    )
    out = tmp_path / "out"
    # A job in the background starts with Ctrl-C ignored; here it must be heard wherever the tests run.
    code = f"""
import signal, sys
from pathlib import Path
from tmal_core import cli
from tmal_core.suite import notebook_runs as suite
signal.signal(signal.SIGINT, signal.default_int_handler)
run, folder = suite.run_suite, Path({str(tmp_path / "notebooks")!r})
suite.run_suite = lambda *args, **options: run(*args, notebooks=folder, names=["01_slow"], **options)
sys.exit(cli.main(["suite", "--out", {str(out)!r}]))
"""
    own = os.environ | {"IPYTHONDIR": str(tmp_path)}  # IPython warns where the home cannot be written
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], env=own, text=True, **pipes)
    try:
        while not ((out / "pid").exists() and (out / "pid").read_text()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        kernel = int((out / "pid").read_text())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()  # the cell alone would take longer than a test may
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.strip() == "tmal: interrupted. The same command goes on where it can."
    assert Run.open(out).status == "interrupted"
    assert not lives(kernel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": "preset = 1\n"}, r"01_a.ipynb without overrides, run_dir, seed"),
        ({"tags": 0}, r"exactly one code cell tagged 'parameters', got 0 in .*01_a"),
        ({"tags": 2}, r"exactly one code cell tagged 'parameters', got 2 in .*01_a"),
        ({"parameters": "preset ="}, r"a parameters cell of plain Python, got .*01_a"),
    ],
)
def test_a_wrong_parameters_cell_is_told_before_anything_runs(tmp_path, no_kernel, options, message):
    write_notebook(tmp_path, "00_fine")
    write_notebook(tmp_path, "01_a", **options)
    with pytest.raises(RunError, match=message):
        suite.run_suite(tmp_path / "out", notebooks=tmp_path)
    assert not (tmp_path / "out").exists()


def test_unknown_parameters_and_settings_are_told_before_anything_runs(tmp_path, no_kernel):
    write_notebook(tmp_path, "01_a", parameters=PARAMETERS + "known: int = 1\n")
    with pytest.raises(RunError, match="parameters among known, overrides, preset, run_dir, seed, got knwon"):
        suite.run_suite(tmp_path / "out", parameters={"knwon": 1}, notebooks=tmp_path)
    with pytest.raises(RunError, match="that the suite does not set itself, got seed"):
        suite.run_suite(tmp_path / "out", parameters={"seed": 1}, notebooks=tmp_path)
    with pytest.raises(SettingsError, match="trining"):
        suite.run_suite(tmp_path / "out", overrides={"trining.episodes": 1}, notebooks=tmp_path)
    with pytest.raises(EpisodeError, match="got 99-way episodes of 'appearance'"):
        suite.run_suite(tmp_path / "out", overrides={"episodes.way": 99}, notebooks=tmp_path)
    assert not (tmp_path / "out").exists()


def test_missing_and_unreadable_notebooks(tmp_path, no_kernel):
    with pytest.raises(RunError, match=r"2 notebooks in .*, got none named 01_a\.ipynb, 02_b\.ipynb\. Restore"):
        suite.run_suite(tmp_path / "out", notebooks=tmp_path, names=["01_a", "02_b"])
    (tmp_path / "01_a.ipynb").write_text('{"cells": [')
    with pytest.raises(RunError, match=r"a readable notebook, got .*01_a"):
        suite.run_suite(tmp_path / "out", notebooks=tmp_path)


def test_fresh_never_empties_a_folder_of_something_else(tmp_path, no_kernel):
    write_notebook(tmp_path / "notebooks", "01_a")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    Run.create(tmp_path / "trained", load_settings("tiny"), "train")
    for folder in ("photos", "trained"):
        with pytest.raises(RunError, match="a run folder of the suite to start afresh"):
            suite.run_suite(tmp_path / folder, notebooks=tmp_path / "notebooks", fresh=True)
    assert (tmp_path / "photos" / "a.jpg").exists()
