"""The catalogue: where its videos lie, what was listed, and what it refuses."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tmal_core.data.sets.catalog import FILE_NAME, load_catalog, require_names, save_catalog
from tmal_core.errors import DataError


def table(**changes):
    row = {"split": "test", "family": "all", "role": "both", "group": "", "num_frames": 9, "fps": 24.0, "height": 4}
    rows = [{**row, "video": v, "path": f"{v}.mp4", "class_name": f"c{v}", "base": v} for v in "ab"]
    return pd.DataFrame(rows).assign(width=4, sha256="0", **changes)


def test_videos_elsewhere(tmp_path):
    videos, root = tmp_path / "videos", tmp_path / "data"
    videos.mkdir()
    saved = save_catalog(root, table(), videos, {"test": 3, "val": 1})
    loaded = load_catalog(root)
    assert saved.root == loaded.root == videos and loaded.file(1) == videos / "b.mp4"
    assert (loaded.lost("test"), loaded.lost("val"), loaded.lost("train")) == (1, 1, 0)
    assert loaded.select("test").lost("test") == 1
    first = (root / FILE_NAME).read_bytes()
    save_catalog(root, table(), videos, {"test": 3, "val": 1})
    assert (root / FILE_NAME).read_bytes() == first
    videos.rmdir()
    with pytest.raises(DataError, match=r"the videos of .*data in .*videos, got no such folder. Mount it, or run"):
        load_catalog(root)


def test_videos_in_the_data_folder(tmp_path):
    save_catalog(tmp_path, table())
    assert load_catalog(tmp_path).root == tmp_path and load_catalog(tmp_path).lost("test") == 0


def test_a_catalogue_without_these_facts_is_read(tmp_path):
    table().to_parquet(tmp_path / FILE_NAME, index=False)
    assert len(load_catalog(tmp_path)) == 2


@pytest.mark.parametrize("path", ["../a.mp4", "x/../../a.mp4", "/etc/a.mp4", "C:/a.mp4", "x\\a.mp4", "..", "a\0.mp4"])
def test_paths_that_lead_out(tmp_path, path):
    with pytest.raises(DataError, match="paths below the folder of the videos, got"):
        save_catalog(tmp_path, table(path=["b..mp4", path]))
    table(path=[path, "b.mp4"]).to_parquet(tmp_path / FILE_NAME, index=False)
    with pytest.raises(DataError, match="paths below the folder of the videos, got"):
        load_catalog(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (table().drop(columns=["fps", "role"]), "got a table without role, fps"),
        (table(video=["a", "a"]), "unique video ids, got a more than once"),
        (table(split=["test", "tset"]), "a split among train, val, test, got 'tset' for b"),
        (table(role=["both", "asker"]), "a role among .*, got 'asker' for b"),
    ],
)
def test_wrong_rows(tmp_path, wrong, words):
    with pytest.raises(DataError, match=words):
        save_catalog(tmp_path, wrong)


def test_a_part_that_is_not_there_is_named(tmp_path):
    catalog = save_catalog(tmp_path, table())
    with pytest.raises(DataError, match=r"a split among test in the catalogue of .*, got 'val'"):
        catalog.select("val")
    with pytest.raises(DataError, match=r"a family among all in the catalogue of .*, got 'order'"):
        catalog.select("test", "order")


@pytest.mark.parametrize("facts", [b"{", b"[]", b'{"listed": 3}', b'{"listed": {"test": "x"}}'])
def test_damaged_facts(tmp_path, facts):
    save_catalog(tmp_path, table())
    columns = pq.read_table(tmp_path / FILE_NAME)
    pq.write_table(columns.replace_schema_metadata({b"tmal": facts}), tmp_path / FILE_NAME)
    with pytest.raises(DataError, match="a whole catalogue"):
        load_catalog(tmp_path)


def test_names_are_required_only_where_they_are_missing(tmp_path):
    require_names(save_catalog(tmp_path, table()))
    nameless = save_catalog(tmp_path, table(class_name=["unnamed val 0", "unnamed val 1"]))
    with pytest.raises(
        DataError, match=r"names of all classes, got 2 without one .*something-something-v2-validation.json"
    ):
        require_names(nameless)
