"""Any override and any YAML text: settings, or a SettingsError; nothing else, and nothing out of range."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmal_core.cli.options import parse_overrides
from tmal_core.config import load_settings, settings_hash
from tmal_core.errors import SettingsError

few_or_many = pytest.mark.parametrize("examples", [50, pytest.param(500, marks=pytest.mark.slow)])
KEYS = sorted(load_settings("tiny").to_flat())

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["cuda", "all", "{}", "{} {x}", "{", "a\0b", -1, 0, 10**400, math.inf, b"x"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)
keys = st.one_of(
    st.sampled_from(KEYS), st.text(max_size=12), st.sampled_from(["", ".", "data.", "data", "a.b.c", "data.name.x"])
)


def read(*arguments, **keywords):
    """Settings, or None where they are refused."""
    try:
        found = load_settings(*arguments, **keywords)
    except SettingsError as error:
        assert str(error).startswith("expected ")
        return None
    flat = found.to_flat()
    assert all(math.isfinite(value) for value in flat.values() if isinstance(value, float))
    assert found.episodes.way >= 2 and found.sampling.crop <= found.sampling.resize and 0 <= found.prepare.max_lost <= 1
    assert "name" in found.model.prompt.format("name") and "\0" not in str(found.data.root)
    assert found.replace({}) == found and len(settings_hash(found)) == 12
    return found


@few_or_many
def test_any_override(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.dictionaries(keys, values, min_size=1, max_size=3))
    def run(overrides):
        read("tiny", overrides)

    run()


@few_or_many
def test_any_text_as_an_override(examples):
    text = st.builds(
        "{}={}".format, keys, st.one_of(st.text(max_size=12), st.sampled_from(["2020-13-45", "[", "&a [*a]"]))
    )

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.one_of(text, st.text(max_size=10)), max_size=3))
    def run(pairs):
        try:
            overrides = parse_overrides(pairs)
        except SettingsError:
            return
        read("tiny", overrides)

    run()


@few_or_many
def test_any_yaml(examples, tmp_path):
    path = tmp_path / "mine.yaml"
    sections = [key.split(".")[0] for key in KEYS]
    line = st.builds("{}: {}".format, st.one_of(st.sampled_from(sections), st.text(max_size=6)), st.text(max_size=12))
    section = st.builds("{}: {{{}: {}}}".format, st.sampled_from(sections), st.sampled_from(KEYS), st.text(max_size=6))

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.one_of(st.binary(max_size=40), st.lists(st.one_of(line, section), max_size=4)))
    def run(content):
        data = content if isinstance(content, bytes) else "\n".join(content).encode("utf-8", "replace")
        path.write_bytes(data)
        read(path)

    run()
