"""`import tmal_core as tm`: a few names, loaded when used and documented, and the README's example of them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import tmal_core as tm

README = Path(__file__).parent.parent / "README.md"
HEAVY = ("torch", "numpy", "pandas", "pydantic", "cv2", "open_clip", "matplotlib")


def test_the_import_loads_nothing_heavy(run_code):
    shown = run_code(f"import sys, tmal_core; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert shown.strip() == "[]"


@pytest.mark.parametrize("name", tm.__all__)
def test_every_name_is_there_and_documented(name):
    assert len(inspect.getdoc(getattr(tm, name)) or "") > 20
    assert name in dir(tm)


def test_names_are_few():
    assert 12 <= len(tm.__all__) <= 20


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tmal_core' has no attribute 'evaluates'"):
        _ = tm.evaluates


def test_the_example_of_the_readme_runs(run_code):
    section = re.search(r"^## As a library\n(.*?)^## ", README.read_text(encoding="utf-8"), re.M | re.S)
    assert section, "README.md has no section 'As a library'"
    (code,) = re.findall(r"```python\n(.*?)```", section[1], re.S)
    assert len(code.splitlines()) <= 10
    assert re.fullmatch(r"\[[0-4], [0-4]\]\n", run_code(code))
