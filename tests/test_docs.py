"""`make docs`: every public module has a page that bears its name and says something."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCSTRING = re.compile(r'<div class="docstring">(.*?)</div>', re.S)


def public_modules() -> set[str]:
    paths = {path.relative_to(ROOT) for path in (ROOT / "tmal_core").rglob("*.py")}
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name for name in names if "._" not in name}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    build = [sys.executable, str(ROOT / ".ci/docs/build.py"), str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_every_public_module_has_a_page_with_its_name_and_its_docstring(pages):
    names = public_modules()
    found = {".".join(path.relative_to(pages).with_suffix("").parts) for path in pages.rglob("*.html")}
    assert found == names | {"index"}
    for name in sorted(names):
        text = (pages / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")
        assert f"<title>{name} API documentation</title>" in text, name
        first = DOCSTRING.search(text)
        assert first and len(re.sub(r"<[^>]+>|\s", "", first[1])) > 10, f"{name}: no docstring"


def test_sections_of_docstrings_become_headings_and_lists(pages):
    text = html.unescape((pages / "tmal_core/matching.html").read_text(encoding="utf-8"))
    match = text[text.index('id="match"') :]
    for heading in ("Arguments", "Returns", "Raises"):
        assert f">{heading}:</h6>" in match, heading
    assert "<strong>smoothing:</strong>" in match


def test_the_front_page_lists_every_module_and_needs_no_network(pages):
    text = (pages / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<li><a href="[^"]+">([\w.]+)</a>', text)) == public_modules()
    for path in pages.rglob("*.html"):
        assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', path.read_text(encoding="utf-8")), path
