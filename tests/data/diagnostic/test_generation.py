"""Making the files: deterministic, resumable, never over somebody else's."""

from __future__ import annotations

import numpy as np
import pytest

from tmal_core.data.diagnostic import generation as module
from tmal_core.data.diagnostic.families import render
from tmal_core.data.diagnostic.vocabulary import FAMILIES, all_classes
from tmal_core.data.sets.catalog import FILE_NAME, LEDGER, SPLITS, load_catalog
from tmal_core.data.video import read_clip
from tmal_core.errors import DataError
from tmal_core.runtime.seeding import generator


def test_every_class_has_its_clips(small_data, small_settings):
    counts = small_data.table.query("role != 'support'").groupby(["split", "class_name"]).size()
    for split in SPLITS:
        assert set(counts[split]) == {4}
    assert set(small_data.table["class_name"]) == {action.name for action in all_classes(small_settings.data.families)}
    assert all((small_data.root / path).is_file() for path in small_data.table["path"])


def test_same_seed_same_decoded_frames(tmp_path):
    action = FAMILIES["motion"]()[0]
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        module.write_clip(tmp_path / f"{name}.mp4", render(action, generator(seed, "x"))["both"])
    a, b, c = (read_clip(tmp_path / f"{name}.mp4") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_catalogue_is_known_before_any_file_is_made(small_data, small_settings, tmp_path):
    plan = module.planned(tmp_path / "none", dict.fromkeys(SPLITS, 4), small_settings.data.families).table.set_index(
        "video"
    )
    made = small_data.table.drop(columns="sha256").set_index("video")
    assert plan.sort_index().equals(made.sort_index()) and not (tmp_path / "none").exists()


def test_interrupted_generation_ends_the_same(small_data, small_settings, monkeypatch):
    """Without its catalogue and some files, the set is completed to the same bytes, and whole files are kept."""
    table, four, families = small_data.table.copy(), dict.fromkeys(SPLITS, 4), small_settings.data.families
    (small_data.root / FILE_NAME).unlink()
    lost = [small_data.root / path for path in table["path"].iloc[::300]]
    kept = small_data.root / table["path"].iloc[1]
    before = kept.stat().st_mtime_ns
    for file in lost:
        file.unlink()
    again = module.generate(small_data.root, 0, four, num_workers=1, progress=False, families=families)
    assert kept.stat().st_mtime_ns == before
    assert again.table.equals(table)


def test_a_prepared_set_is_read_not_made(small_data, small_settings, monkeypatch):
    monkeypatch.setattr(module, "Pool", lambda *_, **__: pytest.fail("made again"))
    four, families = dict.fromkeys(SPLITS, 4), small_settings.data.families
    assert len(module.generate(small_data.root, 0, four, progress=False, families=families)) == len(small_data)


def test_other_numbers_are_refused(small_data):
    with pytest.raises(DataError, match="or choose another"):
        module.generate(small_data.root, 1, dict.fromkeys(SPLITS, 4), progress=False)


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="expected an empty folder"):
        module.generate(tmp_path, 0, dict.fromkeys(SPLITS, 1), progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_data_may_be_made_anew_beside_the_ledger_of_looks(tmp_path):
    (tmp_path / LEDGER).write_text("")
    module._claim(tmp_path, {"seed": 0})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["diagnostic.json", LEDGER]


def test_catalogue_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="which is not there"):
        load_catalog(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"expected catalog\.parquet"):
        load_catalog(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"half a table")
    with pytest.raises(DataError, match="expected a whole catalogue"):
        load_catalog(tmp_path)
