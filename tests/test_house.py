"""The package loads light, its layers hold, and its rooms stay as few and as plain as they are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tmal_core"
HEAVY = ("matplotlib", "ipywidgets", "papermill", "open_clip", "torch")
DOORS = {"__init__.py", "__main__.py", "config.py", "errors.py", "experiment.py"}
LONGEST_CLASS = 200


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_import_takes_nothing_heavy():
    code = f"import sys, tmal_core; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_flow_estimators_are_loaded_when_asked_for():
    code = "import sys, tmal_core.flow.estimator; print({'tmal_core.flow.raft', 'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_layers_hold():
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_circle_of_imports():
    """Imports inside functions count; those for type checkers only do not."""
    graph = grimp.build_graph("tmal_core", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' imports '.join(reversed(error.args[1]))}")


def test_the_package_has_few_rooms():
    assert {path.name for path in PACKAGE.glob("*.py")} <= DOORS
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(folders) <= 13, folders


def test_every_module_has_a_name_of_its_own():
    names = Counter(path.name for path in modules() if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_bears_the_name_of_what_is_in_it():
    """`from tmal_core.matching import otam` must mean one thing."""
    same = [
        path.relative_to(ROOT)
        for path in modules()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == path.stem
    ]
    assert same == []


def test_no_class_is_long():
    long = [
        f"{node.name} in {path.relative_to(ROOT)} ({node.end_lineno - node.lineno + 1} lines)"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno >= LONGEST_CLASS
    ]
    assert long == []


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "tmal_core", "weights", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Usage: tmal weights" in done.stdout
