"""The ledger of looks at test: whole lines, none lost, and no answer without one."""

from __future__ import annotations

import errno
import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from tmal_core.data.sets.catalog import LEDGER, save_catalog
from tmal_core.errors import DataError, RunError
from tmal_core.evaluation.ledger import COLUMNS, looks, looks_in_words, note_look
from tmal_core.experiment import Experiment


def test_a_look_says_when_where_and_by_what(tmp_path):
    weights = tmp_path / "best.pt"
    weights.write_bytes(b"weights")
    assert looks(tmp_path).empty and looks_in_words(tmp_path) == f"looks at test so far: 0 ({tmp_path / LEDGER})"
    note_look(tmp_path, tmp_path / "run", "tmal", "0123456789ab", weights)
    note_look(tmp_path, tmp_path / "other", "otam", "12345e678901", None)
    found = looks(tmp_path)
    assert found["look"].tolist() == [1, 2] and found["when"].str.fullmatch(r"20\d\d-.*T.*\+00:00").all()
    assert found.drop(columns=["look", "when"]).to_numpy().tolist() == [
        [str(tmp_path / "run"), "tmal", "0123456789ab", str(weights), hashlib.sha256(b"weights").hexdigest()[:12]],
        [str(tmp_path / "other"), "otam", "12345e678901", "", ""],
    ]
    assert looks_in_words(tmp_path).startswith("looks at test so far: 2 ")
    shown = pd.read_csv(tmp_path / "other" / "tables" / "looks.csv", dtype={"settings": str}, keep_default_na=False)
    pd.testing.assert_frame_equal(shown, found)
    assert len(pd.read_csv(tmp_path / "run" / "tables" / "looks.csv")) == 1


def _look_often(folder: Path, name: str) -> None:
    for number in range(20):
        note_look(folder, folder / name, name, str(number), None)


def test_processes_that_look_at_once_lose_no_line(tmp_path):
    """Each reads the whole ledger before and after each of its lines: half a line would be an error."""
    names = ["a", "b", "c"]
    with ProcessPoolExecutor(len(names), mp_context=get_context("fork")) as pool:
        for done in [pool.submit(_look_often, tmp_path, name) for name in names]:
            done.result()
    found = looks(tmp_path)
    assert len(found) == 60
    for _, mine in found.groupby("method"):
        assert mine["settings"].tolist() == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line[:-9],
        lambda line: line[:-1],
        lambda line: b"\xff" + line,
        lambda line: b"\n",
        lambda line: b"[]\n",
        lambda line: line.replace(b'"run"', b'"fun"'),
    ],
    ids=["cut", "no end", "no text", "empty", "a list", "another key"],
)
def test_a_broken_ledger_takes_no_line_and_says_what_to_do(tmp_path, spoil):
    for _ in range(2):
        note_look(tmp_path, tmp_path / "run", "otam", "0", None)
    first, second = (tmp_path / LEDGER).read_bytes().splitlines(keepends=True)
    broken = first + spoil(second)
    (tmp_path / LEDGER).write_bytes(broken)
    words = r"a look at test in every line, got .*test_looks.jsonl, line 2, which is broken\. Restore it from a copy\. "
    for ask in (looks, lambda folder: note_look(folder, folder / "run", "otam", "0", None)):
        with pytest.raises(DataError, match=words + "Remove it only if its end is missing: then nothing was answered"):
            ask(tmp_path)
    assert (tmp_path / LEDGER).read_bytes() == broken


def test_a_ledger_that_cannot_be_written(tmp_path, monkeypatch):
    words = r"a ledger of looks at test that can be written, got .*{} \({}\)\. Each .* Make this file writable"

    def refuse(self, *arguments):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    (tmp_path / LEDGER).mkdir()
    with pytest.raises(DataError, match=words.format(LEDGER, "Is a directory") + ".*ask val: leave out --final"):
        note_look(tmp_path, tmp_path / "run", "otam", "0", None)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=words.format(LEDGER, "Read-only file system")):
        note_look(tmp_path, tmp_path / "run", "otam", "0", None)
    assert not (tmp_path / "run").exists()


def test_a_full_disk(tmp_path, monkeypatch):
    def full(file, kind):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fcntl.lockf", full)
    with pytest.raises(RunError, match=r"room on the disk for .*test_looks\.jsonl"):
        note_look(tmp_path, tmp_path / "run", "otam", "0", None)


@pytest.fixture
def otam(few_settings, small_data, tmp_path):
    """Frozen CLIP on a data folder of its own."""
    table = Experiment(few_settings).catalog.table
    save_catalog(tmp_path / "data", table, small_data.root)
    return Experiment(few_settings.replace({"data.root": str(tmp_path / "data")}), None, "otam", tmp_path / "run")


def test_the_test_split_is_opened_with_a_line_and_val_without(otam):
    folder = otam.settings.data.folder
    otam.bank("val", progress=False)
    assert not (folder / LEDGER).exists()
    for _ in range(2):
        otam.bank("test", progress=False)
    assert len(looks(folder)) == 1, "what is open is not opened again"
    otam.changed({}).bank("test", progress=False)  # from the features that the run folder keeps
    found = looks(folder)
    assert found[["run", "method", "settings", "checkpoint"]].to_numpy().tolist() == [
        [str(otam.folder), "otam", otam.hash, ""]
    ] * 2  # fmt: skip
    assert list(found) == ["look", *COLUMNS]


def test_no_answer_without_a_line(otam):
    (otam.settings.data.folder / LEDGER).mkdir()
    with pytest.raises(DataError, match="a ledger of looks at test that can be written"):
        otam.bank("test", progress=False)
    assert not (otam.folder / "features").exists()
