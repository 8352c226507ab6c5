"""Spoilt lists and tables: read, or refused with an error of ours; and never accepted where a class is missing."""

from __future__ import annotations

import shutil
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmal_core.data.sets import lists as splits_module
from tmal_core.data.sets.catalog import SPLITS
from tmal_core.data.sets.lists import load_splits, path_fault, read_clip_fsar_list
from tmal_core.data.sets.sources import SOURCES
from tmal_core.errors import TmalError
from tmal_core.tasks.splits import import_splits

KINDS = {"folders": {"train": 4, "val": 2, "test": 3}, "ids": {"train": 3, "val": 2, "test": 2}}
few_or_many = pytest.mark.parametrize("examples", [50, pytest.param(500, marks=pytest.mark.slow)])

odd_text = st.sampled_from(
    ["", "..", "/", "//", "\\", "\0", "\ufeff", "\u2028", "\x85", ",", '"', "train", "test0", "٣", "9" * 5000, "é", " "]
)
position = st.floats(0, 1, exclude_max=True)
change = st.one_of(
    st.tuples(st.sampled_from(["drop", "double", "swap", "drop class", "cut", "spoil byte"]), position, position),
    st.tuples(st.sampled_from(["insert", "replace"]), position, st.one_of(odd_text, st.text(max_size=12))),
    st.tuples(st.just("line"), position, st.one_of(odd_text, st.text(max_size=30))),
    st.tuples(st.just("id"), position, st.integers(-1, 5)),
    st.tuples(st.just("ends"), st.sampled_from(["\r\n", "\r", "\n\n", "\x0b"]), st.none()),
    st.tuples(st.just("encoding"), st.sampled_from(["utf-16", "utf-8-sig", "cp500"]), st.none()),
)


def spoil(data: bytes, change: tuple) -> bytes:
    """The content of a list after one change."""
    kind, where, value = change
    lines = data.decode("utf-8", errors="surrogateescape").split("\n")
    at = int(where * len(lines)) if isinstance(where, float) else 0
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(int(value * len(lines)), lines[at])
    elif kind == "swap":
        lines[at], lines[int(value * len(lines))] = lines[int(value * len(lines))], lines[at]
    elif kind == "drop class":
        head = lines[at].split("/")[0] + "/"
        lines = [line for line in lines if not line.startswith(head)]
    elif kind == "cut":
        return data[: int(where * len(data))]
    elif kind == "spoil byte":
        spot = int(where * len(data))
        return data[:spot] + bytes([int(value * 256)]) + data[spot + 1 :]
    elif kind in ("insert", "replace"):
        spot = int(where * len(data))
        return data[:spot] + value.encode("utf-8", "replace") + data[spot + (kind == "replace") :]
    elif kind == "line":
        lines.insert(at, value)
    elif kind == "id":
        split = next((split for split in SPLITS if lines[at].startswith(split)), "")
        lines[at] = f"{split}{value}/" + lines[at].partition("/")[2]
    elif kind == "ends":
        return where.join(lines).encode("utf-8", errors="surrogateescape")
    else:
        return data.decode("utf-8", errors="replace").encode(where, errors="replace")
    return "\n".join(lines).encode("utf-8", errors="surrogateescape")


@few_or_many
@pytest.mark.parametrize("kind", KINDS)
def test_no_list_without_a_class_is_accepted(kind, examples, assets, tmp_path, monkeypatch):
    published = type(SOURCES["hmdb51"])(**{**vars(SOURCES["hmdb51"]), "classes": KINDS[kind]})
    monkeypatch.setattr(splits_module, "SOURCES", {"mine": published})
    answers = set()

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(SPLITS), st.lists(change, min_size=1, max_size=4))
    def run(split, changes):
        shutil.rmtree(tmp_path / "lists", ignore_errors=True)
        shutil.copytree(assets / "splits" / kind, tmp_path / "lists")
        path = tmp_path / "lists" / f"{split}_few_shot.txt"
        for one in changes:
            path.write_bytes(spoil(path.read_bytes(), one))
        try:
            found = import_splits([tmp_path / "lists"], "mine", tmp_path / "data", any_counts=True)
        except TmalError as error:
            assert str(error).startswith("expected ")
            answers.add("refused")
            return
        answers.add("accepted")
        classes = found.table.groupby("split")["class_id"].agg(set).to_dict()
        assert classes == {s: set(range(number)) for s, number in KINDS[kind].items()}
        assert not any(path_fault(listed) for listed in found.table["path"])
        assert load_splits(tmp_path / "data").equals(found.table)

    run()
    assert answers == {"accepted", "refused"}


@few_or_many
def test_any_bytes_are_a_list_or_an_error_of_ours(examples, tmp_path):
    pieces = st.one_of(
        st.binary(max_size=20), st.sampled_from([b"train0/1\n", b"train0//v/a/1.avi\n", b"train1/", b"\n"])
    )

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.lists(pieces, max_size=12))
    def run(parts):
        (tmp_path / "list.txt").write_bytes(b"".join(parts))
        with suppress(TmalError):
            assert len(read_clip_fsar_list(tmp_path / "list.txt", "train"))

    run()


@few_or_many
def test_spoilt_tables(examples, assets, tmp_path):
    whole = import_splits([assets / "splits" / "folders"], "mine", tmp_path).path.read_bytes()

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.lists(change, min_size=1, max_size=3))
    def run(changes):
        data = whole
        for one in changes:
            data = spoil(data, one)
        (tmp_path / "splits.csv").write_bytes(data)
        try:
            table = load_splits(tmp_path)
        except TmalError:
            return
        assert table["video"].is_unique and not any(path_fault(path) for path in table["path"])
        for _, rows in table.groupby("split"):
            assert set(rows["class_id"]) == set(range(rows["class_id"].max() + 1))

    run()
