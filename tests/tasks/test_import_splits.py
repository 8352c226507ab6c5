"""`tmal splits import`: lists found, named, checked and written; faults leave nothing behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tmal_core import cli
from tmal_core.data.sets.lists import load_splits
from tmal_core.data.sets.sources import SOURCES
from tmal_core.errors import DataError
from tmal_core.tasks.splits import import_splits

REAL = Path(os.environ.get("TMAL_TEST_LISTS", "no folder of lists is named"))
needs_real_lists = pytest.mark.skipif(not REAL.is_dir(), reason="TMAL_TEST_LISTS names no folder of CLIP-FSAR's lists")


@pytest.fixture
def made_up(assets, tmp_path):
    shutil.copytree(assets / "splits", tmp_path / "lists")
    return tmp_path / "lists"


@pytest.mark.parametrize("place", ["", "mine", "configs/projects/CLIPFSAR/mine", "configs/projects/MoLo/mine"])
def test_lists_are_found(made_up, tmp_path, place):
    checkout = tmp_path / "checkout"
    shutil.copytree(made_up / "folders", checkout / place)
    found = import_splits([checkout], "mine", tmp_path / "data")
    assert found.path == tmp_path / "data" / "splits.csv" and load_splits(tmp_path / "data").equals(found.table)
    assert str(found).splitlines() == [
        f"mine: 4 / 2 / 3 classes, 12 / 4 / 6 videos (train / val / test), no published numbers to compare with: "
        f"{found.path}",
        "class names: train from madeup_1shot.yaml, val from names of the folders, test from madeup_1shot.yaml",
    ]


def test_single_lists(made_up, tmp_path):
    (made_up / "folders" / "test_few_shot.txt").rename(made_up / "folders" / "mine.txt")
    files = [made_up / "folders" / name for name in ("mine.txt", "val_few_shot.txt")]
    found = import_splits(files, "mine", tmp_path / "data")
    assert list(found.origins) == ["val", "test"] and len(found.table) == 10
    with pytest.raises(DataError, match=r"one list for test, got .*mine.txt and .*mine.txt. Name one"):
        import_splits([files[0], files[0]], "mine", tmp_path / "data")


def test_unnamed_classes_are_said_once(made_up, tmp_path):
    text = str(import_splits([made_up / "ids"], "mine", tmp_path / "data"))
    said = [line for line in text.splitlines()[1:] if "unnamed" in line]
    assert len(said) == 1 and said[0].startswith("unnamed: 2 classes of val; only methods that read class names miss")
    assert "something-something-v2-train.json and something-something-v2-validation.json" in text
    named = import_splits([made_up / "ids"], "mine", tmp_path / "data", labels=made_up / "labels")
    assert len(str(named).splitlines()) == 2 and named.origins["val"] == "label files"
    for path in (made_up / "labels").iterdir():
        shutil.copy(path, tmp_path / "data")
    assert import_splits([made_up / "ids"], "mine", tmp_path / "data").origins == named.origins


def test_what_is_not_there(made_up, tmp_path):
    with pytest.raises(
        DataError, match=r"the lists train_few_shot.txt, .* of mine, got none in .*lists, .*lists/mine or"
    ):
        import_splits([made_up], "mine", tmp_path / "data")
    with pytest.raises(DataError, match=r"a list, or a folder of lists, got .*nothing \(No such file"):
        import_splits([made_up / "nothing"], "mine", tmp_path / "data")
    (made_up / "ids" / "val_few_shot.txt").unlink()
    with pytest.raises(DataError, match=r"three lists in .*ids, got val_few_shot.txt missing"):
        import_splits([made_up / "ids"], "mine", tmp_path / "data")
    with pytest.raises(DataError, match=r"whose lines begin with train, val or test, got .*yaml"):
        import_splits([made_up / "ids" / "madeup_1shot.yaml"], "mine", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_class_is_refused_by_the_names_and_by_the_published_numbers(made_up, tmp_path):
    path = made_up / "folders" / "test_few_shot.txt"
    path.write_text(path.read_text().partition("test2")[0])
    with pytest.raises(DataError, match=r"names of the 2 classes of test, got 3 names in .*a class is missing"):
        import_splits([made_up / "folders"], "mine", tmp_path / "data")
    (made_up / "folders" / "madeup_1shot.yaml").unlink()
    with pytest.raises(DataError, match=r"31 classes in train of hmdb51, got 4: train of this list"):
        import_splits([made_up / "folders"], "hmdb51", tmp_path / "data", any_counts=True)
    assert not (tmp_path / "data").exists()


def test_command_line(made_up, tmp_path, capsys):
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"data:\n  name: mine\n  root: {tmp_path / 'data'}\n")
    assert cli.main(["splits", "import", "--from", str(made_up / "folders"), "--preset", str(preset)]) == 0
    assert capsys.readouterr().out.startswith("mine: 4 / 2 / 3 classes")
    assert (tmp_path / "data" / "splits.csv").is_file()
    assert cli.main(["splits", "import", "--from", str(made_up / "folders"), "--preset", "hmdb51", "--out", "x"]) == 1
    assert "31 classes in train of hmdb51" in capsys.readouterr().err


@needs_real_lists
@pytest.mark.parametrize("name", SOURCES)
def test_real_lists(name, tmp_path, recwarn):
    found = import_splits([REAL], name, tmp_path)
    counts = found.table.groupby("split")["video"].size().to_dict()
    assert counts == SOURCES[name].videos and found.published and not found.notes and not recwarn.list
    classes = found.table.groupby("split")["class_id"].nunique().to_dict()
    assert classes == SOURCES[name].classes
    assert ("unnamed: 12 classes of val" in str(found)) == name.startswith("ssv2")
