"""Every notebook of the suite keeps to the house's form. They are read as source: nothing is run here."""

from __future__ import annotations

import ast
import importlib
import re

import nbformat
import pytest

from tmal_core.suite.notebook_runs import NAMES, NOTEBOOKS

PATHS = [NOTEBOOKS / f"{name}.ipynb" for name in NAMES]
COMMON = {"preset": "str", "overrides": "dict", "run_dir": "str", "seed": "int"}
SET_UP = "open_run(preset, overrides, run_dir, seed)"
LOOKS_IN = "open_trained(preset, overrides, run_dir, seed)"
"""Of a notebook that only looks into a run, and takes the newest."""
LONGEST_FUNCTION = 5
FIGURE = re.compile(r"\b(show|save_figure|savefig|imshow)\(")


class Broken(AssertionError):
    """A rule that a notebook breaks; the message names the cell."""


def check(notebook) -> None:
    """Raise Broken at the first rule that does not hold."""
    cells = notebook.cells
    require(notebook.metadata.get("kernelspec", {}).get("name") == "python3", "kernelspec python3")
    require("widgets" not in notebook.metadata and "papermill" not in notebook.metadata, "no state of an execution")
    for number, cell in enumerate(cells, start=1):
        require(re.match(rf"{number:02d}-[a-z0-9-]+$", cell.id), f"id {number:02d}-name, got {cell.id}")
        if cell.cell_type == "code":
            check_code(cell)
    check_head(cells)
    check_prose(cells)


def check_code(cell) -> None:
    """What no code cell may hold."""
    where = cell.id
    require(not cell.outputs and cell.execution_count is None, f"{where}: no outputs and no execution count")
    require("injected-parameters" not in cell.metadata.get("tags", []), f"{where}: no injected-parameters cell")
    require(not re.search(r"^\s*[%!]|get_ipython", cell.source, re.M), f"{where}: no magics and no shell")
    require(not re.search(r"\bsys\.path|\bpip\b|\bconda\b", cell.source), f"{where}: no sys.path and no installs")
    require(not re.search(r"\bImage\(", cell.source), f"{where}: figures by show, no Image")
    for node in ast.walk(ast.parse(cell.source)):
        require(not isinstance(node, ast.ClassDef | ast.AsyncFunctionDef), f"{where}: no classes")
        require(not isinstance(node, ast.Try), f"{where}: no try")
        require(not isinstance(node, ast.While), f"{where}: no while loops")
        if isinstance(node, ast.FunctionDef):
            require(node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{where}: functions of 5 lines at most")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            require(not re.match(r"(/|~|[A-Za-z]:\\)\w", node.value), f"{where}: no absolute path, got {node.value!r}")


def check_head(cells) -> None:
    """The first cells: the question, imports only, parameters; and nothing assigned before the parameters."""
    head = cells[0]
    require(head.cell_type == "markdown" and head.source.startswith("# "), "a heading first")
    for word in ("Question", "Needs", "Leaves", "Time"):
        require(f"**{word}.**" in head.source, f"first cell: says **{word}.**")
    imports = ast.parse(cells[1].source).body if cells[1].cell_type == "code" else []
    only = imports and all(isinstance(node, ast.Import | ast.ImportFrom) for node in imports)
    require(only, "second cell: imports only")
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    require(len(tagged) == 1 and tagged[0].cell_type == "code", "exactly one parameters cell")
    before = [cell for cell in cells[: cells.index(tagged[0])] if cell.cell_type == "code"]
    require(before == [cells[1]], "parameters: only imports before them")
    assigned = ast.parse(tagged[0].source).body
    for node in assigned:
        require(isinstance(node, ast.AnnAssign) and node.value is not None, "parameters: typed assignments only")
        ast.literal_eval(node.value)
    names = {node.target.id: ast.unparse(node.annotation) for node in assigned}
    require(dict(list(names.items())[: len(COMMON)]) == COMMON, f"parameters: first {COMMON}, got {names}")
    after = [cell.source for cell in cells[cells.index(tagged[0]) + 1 :] if cell.cell_type == "code"]
    opens = after and (SET_UP in after[0] or LOOKS_IN in after[0])
    require(opens, f"first cell behind the parameters: {SET_UP}")


def check_prose(cells) -> None:
    """Prose between ideas: never three code cells in a row, and words at every figure."""
    kinds = [cell.cell_type for cell in cells]
    require(kinds[-1] == "markdown", "prose at the end")
    require("code code code" not in " ".join(kinds[3:]), "prose between ideas: no three code cells in a row")
    for i, cell in enumerate(cells):
        if kinds[i] == "code" and FIGURE.search(cell.source):
            around = [c for c in cells[i - 1 : i + 2] if c.cell_type == "markdown"]
            text = " ".join(line for c in around for line in c.source.splitlines() if not line.startswith("#"))
            require(len(text.split()) >= 12, f"{cell.id}: words on how to read the figure")


def require(condition, rule: str) -> None:
    if not condition:
        raise Broken(rule)


def test_all_notebooks_are_here():
    numbers = [name[:2] for name in NAMES]
    assert numbers == [f"{i:02d}" for i in range(1, len(NAMES) + 1)] and len(NAMES) >= 5
    # JupyterLab names a copy 05_evaluation-Copy1: it may lie here. Any other notebook belongs to the suite.
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb") if "-Copy" not in path.stem} == set(NAMES)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_form(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    check(notebook)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_imports_exist(path):
    """A name that moved in the package is found here, not minutes into a run."""
    for node in ast.parse(nbformat.read(path, as_version=4).cells[1].source).body:
        module = importlib.import_module(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        if isinstance(node, ast.ImportFrom):
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{path.name}: {node.module} has no {', '.join(missing)}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_only_the_evaluation_asks_test_and_by_its_parameter(path):
    """Elsewhere no code names the test split; the fifth names it once, where `final` is read."""
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    words = [node.value for source in code for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert words.count("test") == (1 if path.stem == "05_evaluation" else 0)
    if "test" in words:
        source = "\n".join(code)
        assert "\nfinal: bool = True " in source and '\nsplit = "test" if final else "val"\n' in source


def sample():
    """A notebook that passes, to be spoilt."""
    v4 = nbformat.v4
    parameters = 'preset: str = "tiny"\noverrides: dict = {}\nrun_dir: str = "runs/x"\nseed: int = 0'
    cells = [
        v4.new_markdown_cell("# T\n**Question.** a **Needs.** b **Leaves.** c **Time.** d", id="01-intro"),
        v4.new_code_cell("import os", id="02-imports"),
        v4.new_code_cell(parameters, id="03-parameters", metadata={"tags": ["parameters"]}),
        v4.new_markdown_cell("What is seen below is a figure with one dot for each of the clips.", id="04-why"),
        v4.new_code_cell(f"run = {SET_UP}\nshow(run)", id="05-figure"),
        v4.new_markdown_cell("The end.", id="06-end"),
    ]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def source(index, text):
    return lambda nb: nb.cells[index].update(source=text)


SPOILT = {
    "kernelspec": lambda nb: nb.metadata["kernelspec"].update(name="julia"),
    "no state of an execution": lambda nb: nb.metadata.update(papermill={}),
    "id 05-name": lambda nb: nb.cells[4].update(id="x"),
    "no outputs": lambda nb: nb.cells[4].update(outputs=[nbformat.v4.new_output("stream", text="x")]),
    "no outputs and no execution count": lambda nb: nb.cells[4].update(execution_count=1),
    "no injected": lambda nb: nb.cells[4].metadata.update(tags=["injected-parameters"]),
    "no magics": source(4, "%matplotlib inline"),
    "no sys.path": source(4, "sys.path.append('x')"),
    "no classes": source(4, "class A: pass"),
    "no try": source(4, "try:\n    a\nexcept E:\n    pass"),
    "no while": source(4, "while True: pass"),
    "functions of 5 lines": source(4, "def f():\n" + "    a\n" * 5),
    "no absolute path, got '/home": source(4, "open('/home/x')"),
    "a heading first": source(0, "T"),
    r"says \*\*Needs": source(0, "# T\n**Question.** a"),
    "second cell: imports only": source(1, "import os\na = 1"),
    "exactly one parameters cell": lambda nb: nb.cells[2].metadata.update(tags=[]),
    "only imports before": lambda nb: nb.cells.insert(2, nbformat.v4.new_code_cell("a = 1", id="03-a")) or renumber(nb),
    "typed assignments": source(2, "preset = 'tiny'"),
    "parameters: first": source(2, "seed: int = 0"),
    "first cell behind the parameters": source(4, "show(1)"),
    "figures by show, no Image": source(4, "Image(1)"),
    "prose at the end": lambda nb: nb.cells.pop(),
    "no three code cells": lambda nb: (
        [nb.cells.insert(5, nbformat.v4.new_code_cell("a", id=f"06-{i}")) for i in "ab"] and renumber(nb)
    ),
    "words on how to read": source(3, "# A heading that says nothing else"),
}


def renumber(notebook):
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"{number:02d}-{cell.id[3:]}"


def test_sample_passes():
    check(sample())


@pytest.mark.parametrize(("rule", "spoil"), SPOILT.items(), ids=SPOILT)
def test_each_rule_can_fail(rule, spoil):
    notebook = sample()
    spoil(notebook)
    with pytest.raises(Broken, match=rule):
        check(notebook)
