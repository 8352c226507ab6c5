"""The two pages for those who add something run as they stand, and are short."""

from __future__ import annotations

import ast
import contextlib
import runpy
from pathlib import Path

import pytest
import torch

from tmal_core.config import load_settings
from tmal_core.errors import SettingsError
from tmal_core.matching import match, match_groups, register_matcher
from tmal_core.models.methods import METHODS, method, resolved, unread

HERE = Path(__file__).parent


@pytest.fixture
def forgotten():
    """What an example registers is gone after its test."""
    yield
    METHODS.pop("nearest_frame", None)
    with contextlib.suppress(KeyError):
        register_matcher("diagonal", None)


def _lines_of_code(path: Path) -> int:
    """Lines that are neither empty, nor comment, nor docstring."""
    text = path.read_text(encoding="utf-8")
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(map(str.strip, text.splitlines()), start=1)
    return sum(bool(line) and line[0] != "#" and number not in said for number, line in lines)


@pytest.mark.parametrize("name", ["own_matcher", "own_method"])
def test_a_page_has_at_most_forty_lines_of_code(name):
    assert _lines_of_code(HERE / f"{name}.py") <= 40


def test_an_own_matcher_answers_an_episode(forgotten):
    names = runpy.run_path(str(HERE / "own_matcher.py"))
    assert names["model"].head.matching == "diagonal" and names["logits"].shape == (3, 2)
    query, support = torch.randn(2, 3, 4), torch.randn(5, 3, 4)
    cosines = torch.nn.functional.cosine_similarity(query[:, None], support[None], dim=-1)
    torch.testing.assert_close(match(query, support, "diagonal"), (1 - cosines).sum(-1), atol=0.1, rtol=0)
    groups = match_groups(query[None], support[None], "diagonal")
    torch.testing.assert_close(groups[0], match(query, support, "diagonal"))
    with pytest.raises(
        SettingsError, match=r"a name that no matcher has \(otam, bimhm, mean, diagonal\), got 'diagonal'"
    ):
        register_matcher("diagonal", torch.sum)
    register_matcher("diagonal", None)
    with pytest.raises(SettingsError, match=r"model\.matching: .*a matcher among otam, bimhm, mean \(got 'diagonal'\)"):
        load_settings("tiny", {"model.matching": "diagonal"})


def test_an_own_method_answers_an_episode_and_says_what_it_reads(forgotten):
    names = runpy.run_path(str(HERE / "own_method.py"))
    model, logits = names["model"], names["logits"]
    assert logits.shape == (3, 2) and torch.isfinite(logits).all()
    parts = resolved(load_settings("tiny", {"model.method": "nearest_frame"}).model)
    assert method("nearest_frame").trained and unread(parts)["smoothing"] == "nearest_frame has no OTAM"
    with torch.no_grad():
        tokens = model.encoder(names["query"]), model.encoder(names["support"])
        nearest = model.head.distances(*tokens)
        torch.testing.assert_close(model.head.log_scale.exp() * -nearest, logits)
        groups = model.head.group_distances(*(clips[None] for clips in tokens))
    torch.testing.assert_close(groups[0], nearest)
