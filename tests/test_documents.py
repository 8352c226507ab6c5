"""Pages for people: their links lead somewhere, what they name is there, and they agree with what they describe."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import tmal_core
from tmal_core.cli import main

ROOT = Path(__file__).parent.parent
FOLDERS = (".github", "data", "notebooks", "tests", "tmal_core")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
WITH_COMMANDS = (
    "README.md",
    "data/README.md",
    "tmal_core/README.md",
    "tests/QUARANTINES.md",
    ".github/CONTRIBUTING.md",
)

FENCED = re.compile(r"^```.*?^```", re.M | re.S)
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.M)


def text_of(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", text_of(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_of_the_project(page):
    for link in LINK.findall(CODE.sub("", text_of(page))):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT.resolve()) and target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"no heading for {link}"


def commands(pattern: str) -> set[str]:
    """What the pages tell people to run, as code."""
    code = "\n".join(found for page in WITH_COMMANDS for found in CODE.findall(text_of(page)))
    return set(re.findall(pattern, code))


def test_make_targets_that_pages_name_are_there():
    named = commands(r"\bmake ([a-z]+)")
    there = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.M))
    assert {"suite", "test", "lint", "docs"} <= named <= there


@pytest.mark.parametrize("command", sorted(commands(r"(?<![\w./-])(?:\.venv/bin/)?tmal ([a-z][a-z-]+)")))
def test_commands_that_pages_name_are_there(command, capsys):
    try:
        code = main([command, "--help"])
    except SystemExit as ended:
        code = ended.code
    assert not code, capsys.readouterr().err


def test_the_page_of_the_house_names_every_folder_and_the_layers_as_they_are_checked():
    page = text_of("tmal_core/README.md")
    folders = {path.name for path in (ROOT / "tmal_core").iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert set(re.findall(r"^\| \[(\w+)/\]", page, re.M)) == folders
    line = re.search(r"^> (cli, .*)$", page, re.M)[1]
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = line.split(", ")
    assert [layer for layer in named if layer in layers] == layers


def test_version_of_the_package_is_that_of_changelog_and_citation():
    assert f"\n## {tmal_core.__version__}" in text_of("CHANGELOG.md")
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert str(citation["version"]) == tmal_core.__version__ and citation["license"] == "Apache-2.0"
    references = citation["references"]
    assert {each["notes"] for each in references} >= {"CLIP", "ST-Adapter", "OTAM", "CLIP-FSAR", "FlowNet2"}
    assert all(each["authors"] and each["title"] and each["year"] for each in references)


def test_every_golden_has_a_row():
    page = text_of("tests/assets/README.md")
    named = re.findall(r"`([^`]+)`", "\n".join(line for line in page.splitlines() if line.startswith("|")))
    files = {path.name for path in (ROOT / "tests/assets").iterdir()} - {"README.md"}
    missing = {name for name in files if not any(Path(name).match(pattern.rstrip("/")) for pattern in named)}
    assert not missing


def test_hooks_run_locked_tools():
    locked = {line.partition("==")[0].lower() for line in text_of("requirements.lock").splitlines()}
    package_of = {"ruff": "ruff", "lint-imports": "import-linter", "jupyter": "jupyter_core"}
    for repository in yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program = Path(hook["entry"].split()[0])
            assert hook["language"] == "system" and program.parent == Path(".venv/bin")
            assert package_of[program.name] in locked
