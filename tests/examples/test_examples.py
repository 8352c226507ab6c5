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
from tmal_core.matching import cosine_distance, diagonal, match, match_groups, register_matcher
from tmal_core.models.encoder import frozen
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MeanHead
from tmal_core.models.methods import METHODS, Method, build, method, register, resolved, unread
from tmal_core.models.methods.registry import scores

HERE = Path(__file__).parent


@pytest.fixture
def forgotten():
    """What an example registers is gone after its test."""
    yield
    for name in ("nearest_frame", "talker"):
        METHODS.pop(name, None)
    with contextlib.suppress(KeyError):
        register_matcher("band", None)


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
    assert names["model"].head.matching == "band" and names["logits"].shape == (3, 2)
    query, support = torch.randn(2, 5, 4), torch.randn(3, 5, 4)
    distances = cosine_distance(query, support)
    near = {t: [u for u in range(5) if abs(t - u) <= 2] for t in range(5)}
    rows = sum(distances[:, :, t, near[t]].amin(2) for t in range(5))
    wanted = rows + sum(distances[:, :, near[u], u].amin(2) for u in range(5))
    torch.testing.assert_close(match(query, support, "band"), wanted)
    groups = match_groups(query[None], support[None], "band")
    torch.testing.assert_close(groups[0], match(query, support, "band"))
    torch.testing.assert_close(match(query, support, "band+diagonal"), (wanted + diagonal(distances)) / 2)
    known = "otam, bimhm, mean, diagonal, tuples"
    with pytest.raises(SettingsError, match=rf"a name that no matcher has \({known}, band\), got 'band'"):
        register_matcher("band", torch.sum)
    register_matcher("band", None)
    with pytest.raises(SettingsError, match=rf"model\.matching: .*a matcher among {known}, or .* \(got 'band'\)"):
        load_settings("tiny", {"model.matching": "band"})


def test_a_name_with_a_plus_would_be_a_sum():
    with pytest.raises(SettingsError, match=r"a name without \+, .*, got 'a\+b'\. Choose another"):
        register_matcher("a+b", torch.sum)


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


def test_a_method_whose_settings_say_more_than_its_model_reads_is_refused(forgotten):
    def made(clip, parts):
        return FewShotModel(frozen(clip), MeanHead(**scores(clip, parts)))

    register(Method("talker", "talks of flow", trained=False, build=made))
    words = r"model of talker that reads what its settings say, got one that reads flow by its settings alone\. Let the"
    with pytest.raises(SettingsError, match=words):
        build(load_settings("tiny", {"model.method": "talker"}).model)
