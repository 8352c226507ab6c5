"""`tmal prepare`: every listed video accounted for, the same bytes however often it was stopped."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tmal_core import cli
from tmal_core.config import load_settings
from tmal_core.data.clips import ClipReader
from tmal_core.data.sets.catalog import load_catalog
from tmal_core.data.sets.lists import load_splits, save_splits
from tmal_core.data.sets.sources import SOURCES
from tmal_core.data.video.examination import JOURNAL
from tmal_core.errors import DataError, RunError, SettingsError
from tmal_core.tasks import prepare as prepare_module
from tmal_core.tasks.prepare import PROBLEMS, REPORT, lost_videos, prepare_data_set, prepare_own
from tmal_core.tasks.synthesise import make_diagnostic

PRODUCTS = ("catalog.parquet", REPORT, PROBLEMS, JOURNAL)


def rows(split: str, class_id: int, name: str, *videos: str) -> list[tuple]:
    return [(f"v/{name}/{video}", f"v/{name}/{video}.avi", split, class_id, name) for video in videos]


@pytest.fixture
def mine(tmp_path, copy_clip):
    """A data set of 3 classes with 4 videos each, whole, and settings for it."""
    table = pd.DataFrame(
        [r for split in ("train", "val", "test") for r in rows(split, 0, f"{split}ing", *"1234")],
        columns=["video", "path", "split", "class_id", "class_name"],
    )
    save_splits(tmp_path / "data", table)
    for seed, path in enumerate(table["path"]):
        copy_clip(tmp_path / "videos" / path, seed)
    overrides = {"data.name": "mine", "data.root": str(tmp_path / "data"), "prepare.max_lost": 0.5}
    return tmp_path / "videos", load_settings("tiny", overrides)


def products(settings) -> dict[str, bytes]:
    return {name: (settings.data.root / name).read_bytes() for name in PRODUCTS}


def problems(settings) -> dict[str, list[str]]:
    table = pd.read_csv(settings.data.root / PROBLEMS, keep_default_na=False)
    return {kind: group["path"].tolist() for kind, group in table.groupby("kind")}


def test_a_whole_data_set(mine):
    videos, settings = mine
    done = prepare_data_set(settings, videos, progress=False)
    assert done.counts == {"used": 12, "missing": 0, "undecodable": 0, "too short": 0} and done.num_extra == 0
    catalog = load_catalog(settings.data.root)
    assert catalog.root == videos and catalog.file(0).is_file() and catalog.families == ["all"]
    table = catalog.table
    assert (table["base"] == table["video"]).all() and (table["role"] == "both").all() and (table["group"] == "").all()
    facts = table[["num_frames", "fps", "height", "width"]].drop_duplicates().to_numpy().tolist()
    assert facts == [[10, 12.0, 72, 96]] and table["sha256"].nunique() == 12
    assert [catalog.lost(split) for split in ("train", "val", "test")] == [0, 0, 0] and not problems(settings)
    report = pd.read_csv(settings.data.root / REPORT)
    assert report["class_name"].tolist() == ["training", "valing", "testing"]
    assert report["listed"].tolist() == report["used"].tolist() == [4, 4, 4] and report["seconds"].tolist() == [3.3] * 3
    assert str(done).startswith("mine: 12 videos listed: 12 used, 0 missing, 0 undecodable, 0 too short; 0 other")


def test_every_loss_is_named(mine, make_clip, copy_clip):
    videos, settings = mine
    (videos / "v/training/1.avi").unlink()
    (videos / "v/training/2.avi").unlink()
    (videos / "v/training/2.avi").write_text("not a video")
    (videos / "v/valing/1.avi").unlink()
    make_clip(videos / "v/valing/1.webm", 1, num_frames=7)
    (videos / "v/testing/1.avi").unlink()
    os.link(videos / "v/testing/2.avi", videos / "v/testing/1.mkv")
    copy_clip(videos / "holiday.mp4", 3)
    whole = (videos / "v/testing/4.avi").read_bytes()
    (videos / "v/testing/4.avi").unlink()
    (videos / "v/testing/4.avi").write_bytes(whole[: int(len(whole) * 0.97)])
    (videos / "v/out.avi").symlink_to(settings.data.root / "splits.csv")
    done = prepare_data_set(settings, videos, progress=False)
    assert done.counts == {"used": 9, "missing": 1, "undecodable": 1, "too short": 1} and done.num_extra == 1
    assert done.notes[-1].startswith("1 files and folders are left aside, as v/out.avi (a link that leads out of")
    found = problems(settings)
    assert found.pop("frames lost") == ["v/testing/4.avi"]
    assert found == {
        "missing": ["v/training/1.avi"],
        "undecodable": ["v/training/2.avi"],
        "too short": ["v/valing/1.webm"],
        "same content": ["v/testing/2.avi"],
        "refused": ["v/out.avi"],
        "extra": ["holiday.mp4"],
    }
    reasons = pd.read_csv(settings.data.root / PROBLEMS, index_col="kind")["reason"]
    assert reasons["missing"] == "no file of this name" and str(videos) not in reasons["undecodable"]
    assert reasons["too short"] == "7 frames, fewer than 8 (prepare.min_frames)"
    assert "those of v/testing/1 in test" in reasons["same content"]
    catalog = load_catalog(settings.data.root)
    assert [catalog.lost(split) for split in ("train", "val", "test")] == [2, 1, 0]
    assert lost_videos(settings.data.root, "train")["video"].tolist() == ["v/training/1", "v/training/2"]
    report = pd.read_csv(settings.data.root / REPORT, index_col="class_name")
    assert report.loc["training", ["listed", "used", "missing", "undecodable"]].tolist() == [4, 2, 1, 1]
    shorter = settings.replace({"prepare.min_frames": 7})
    assert prepare_data_set(shorter, progress=False).counts["too short"] == 0, (
        "the folder is remembered, and fewer frames do"
    )


def test_too_many_losses_and_empty_classes_are_errors(mine):
    videos, settings = mine
    strict = settings.replace({"prepare.max_lost": 0.02})
    (videos / "v/training/1.avi").unlink()
    words = (
        r"at most 2 % of the listed videos lost, got 1 of 12 \(8.3 %\), as v/training/1.avi \(no file of this name\)"
    )
    with pytest.raises(DataError, match=words + r"; all in .*prepare_problems.csv. Add them"):
        prepare_data_set(strict, videos, progress=False)
    assert (
        problems(settings)["missing"] == ["v/training/1.avi"] and not (settings.data.root / "catalog.parquet").exists()
    )
    for number in "234":
        (videos / f"v/training/{number}.avi").unlink()
    with pytest.raises(DataError, match=r"videos for every class, got none for 1, as 'training' \(train\)"):
        prepare_data_set(settings, videos, progress=False)
    (videos / "v" / "link").symlink_to(settings.data.root)
    with pytest.raises(DataError, match=r"1 links lead out of .*, as v/link: name the folder itself, --videos"):
        prepare_data_set(strict, videos, progress=False)


def test_again_nothing_is_decoded(mine, monkeypatch):
    videos, settings = mine
    prepare_data_set(settings, videos, progress=False)
    first = products(settings)
    with monkeypatch.context() as patched:
        patched.setattr("tmal_core.data.video.examination.probe", lambda *a: pytest.fail("decoded again"))
        prepare_data_set(settings, progress=False)
    assert products(settings) == first
    moved = videos.rename(videos.parent / "moved")
    with pytest.raises(DataError, match="Mount it, or run `tmal prepare` with --videos and its new place"):
        prepare_data_set(settings, progress=False)
    with monkeypatch.context() as patched:
        patched.setattr("tmal_core.data.video.examination.probe", lambda *a: pytest.fail("decoded again"))
        prepare_data_set(settings, moved, progress=False)
    assert load_catalog(settings.data.root).root == moved


def test_a_changed_video_is_read_again(mine, make_clip):
    videos, settings = mine
    prepare_data_set(settings, videos, progress=False)
    (videos / "v/testing/1.avi").unlink()
    make_clip(videos / "v/testing/1.avi", 99, num_frames=12)
    table = prepare_data_set(settings, videos, progress=False).catalog.table
    assert table["num_frames"].tolist() == [10] * 8 + [12] + [10] * 3


def test_workers_give_the_same_bytes(mine):
    videos, settings = mine
    prepare_data_set(settings, videos, progress=False)
    first = products(settings)
    (settings.data.root / JOURNAL).unlink()
    prepare_data_set(settings.replace({"compute.num_workers": 2}), videos, progress=False)
    assert products(settings) == first


# Waits in the middle of its sixth video to be killed: however slow the machine, the kill comes neither early nor late.
KILLED = """
import sys, time
from tmal_core.data.video import examination as module
from tmal_core.config import load_settings
from tmal_core.tasks.prepare import prepare_data_set
probe, asked = module.probe, []
module.probe = lambda *a: time.sleep(600) if asked.append(a) or len(asked) > 5 else probe(*a)
prepare_data_set(load_settings("tiny", {"data.name": "mine", "data.root": sys.argv[1]}), sys.argv[2], progress=False)
"""


def test_killed_and_restarted_ends_with_the_same_bytes(mine, monkeypatch):
    videos, settings = mine
    prepare_data_set(settings, videos, progress=False)
    first = products(settings)
    for name in PRODUCTS:
        (settings.data.root / name).unlink()
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(settings.data.root), str(videos)])
    journal = settings.data.root / JOURNAL
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = journal.read_bytes().count(b"\n") - 1
    assert done == 5 and not (settings.data.root / "catalog.parquet").exists()
    probe, decoded = prepare_module.examine_all, []
    monkeypatch.setattr(prepare_module, "examine_all", lambda v, p, *a: decoded.extend(p) or probe(v, p, *a))
    prepare_data_set(settings, videos, progress=False)
    assert len(decoded) == 12 - done and products(settings) == first


def test_a_full_disk_leaves_no_catalogue(mine, monkeypatch):
    videos, settings = mine

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tmal_core.data.sets.catalog.pq.write_table", full)
        with pytest.raises(RunError, match=r"room on the disk for .*data, got a full disk"):
            prepare_data_set(settings, videos, progress=False)
    names = [path.name for path in settings.data.root.iterdir()]
    assert sorted(names) == sorted(["splits.csv", REPORT, PROBLEMS, JOURNAL])
    assert prepare_data_set(settings, videos, progress=False).counts["used"] == 12


def test_check_opens_no_video(mine, monkeypatch):
    videos, settings = mine
    (videos / "v/testing/1.avi").unlink()
    monkeypatch.setattr(prepare_module, "examine_all", lambda *a: pytest.fail("decoded"))
    done = prepare_data_set(settings, videos, decode=False, progress=False)
    assert done.counts == {"found": 11, "missing": 1, "undecodable": 0, "too short": 0} and done.catalog is None
    assert not (settings.data.root / "catalog.parquet").exists() and problems(settings) == {
        "missing": ["v/testing/1.avi"]
    }
    assert "12 videos listed: 11 found, 1 missing" in str(done)


def test_videos_in_the_data_folder_itself(mine):
    videos, settings = mine
    inside = settings.replace({"data.root": str(videos)})
    save_splits(videos, load_splits(settings.data.root))
    (videos / "flow" / "dis").mkdir(parents=True)
    (videos / "flow" / "dis" / "1.avi").touch()
    assert prepare_data_set(inside, progress=False).num_extra == 0
    assert load_catalog(videos).root == videos


def test_a_published_data_set_must_have_all_its_classes(mine, monkeypatch):
    videos, settings = mine
    nine, one = (dict.fromkeys(("train", "val", "test"), number) for number in (9, 1))
    shortened = replace(SOURCES["hmdb51"], classes=one, videos=nine)
    with monkeypatch.context() as patched:
        patched.setitem(SOURCES, "mine", shortened)
        assert prepare_data_set(settings, videos, progress=False).counts["used"] == 12, (
            "videos may be fewer than published"
        )
    with pytest.raises(DataError, match="31 classes in train of hmdb51, got 1"):
        prepare_data_set(settings.replace({"data.name": "hmdb51"}), videos, progress=False)


def test_what_is_worth_knowing_is_said(mine):
    videos, settings = mine
    table = load_splits(settings.data.root)
    table["class_name"] = table["class_name"].where(table["split"] != "val", "unnamed val 0")
    save_splits(settings.data.root, table)
    (videos / "extra").mkdir()
    for number in range(prepare_module.MAX_EXTRA + 5):
        (videos / "extra" / f"{number}.mp4").touch()
    lines = str(prepare_data_set(settings.replace({"episodes.shot": 5}), videos, progress=False)).splitlines()
    assert lines[-4] == "1 classes are unnamed: methods that read class names need their label files"
    assert "1 classes of train have fewer videos than the 7 that 5-shot episodes with 2 queries take" in lines[-3]
    once = settings.replace({"episodes.shot": 5, "training.shot": 1})
    assert "classes of train" not in str(prepare_data_set(once, videos, progress=False))
    extra = problems(settings)["extra"]
    assert len(extra) == prepare_module.MAX_EXTRA + 1 and extra[-1] == ""


def test_losses_cannot_be_named_without_their_list(mine):
    _, settings = mine
    with pytest.raises(DataError, match=r"a report of the preparation, got .*prepare_problems.csv"):
        lost_videos(settings.data.root, "test")


@pytest.fixture
def own(tmp_path, copy_clip):
    for c, name in enumerate(["jump_up", "SitDown", "wave", "kick", "turn left", "bow"]):
        for v in range(3):
            copy_clip(tmp_path / "my clips" / name / f"{v}.mp4", 3 * c + v)
    return tmp_path / "my clips"


def test_own_videos(own, tmp_path, capsys):
    few = ["--set", "episodes.way=2", "--out", str(tmp_path / "data"), "--set", "compute.num_workers=0"]
    command = ["prepare", "--videos", str(own), "--split-by-class", "34/33/33", *few]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    preset = tmp_path / "data" / "my clips.yaml"
    assert out.startswith("my clips: 18 videos listed: 18 used") and f"--preset {preset}" in out
    settings = load_settings(preset)
    assert settings.data.name == "my clips" and settings.data.root == tmp_path / "data" and settings.episodes.way == 2
    assert not (settings.sampling.flip or settings.sampling.augment_queries) and settings.prepare.max_lost == 0.02
    catalog = load_catalog(settings.data.root)
    assert catalog.table.groupby("split")["class_name"].nunique().to_dict() == {"train": 2, "val": 2, "test": 2}
    assert {"jump up", "Sit Down"} <= set(catalog.table["class_name"]) and catalog.root == own
    assert cli.main(["prepare", "--preset", str(preset)]) == 0, "a later pass needs the preset alone"
    assert cli.main([*command, "--set", "seed=4"]) == 1
    assert "would move, as" in capsys.readouterr().err


def test_folders_without_videos_are_said(own, tmp_path):
    (own / "swim").mkdir()
    (own / ".hidden").mkdir()
    changes = {"data.root": str(own), "data.name": "mine", "episodes.way": 2, "compute.num_workers": 0}
    settings = load_settings("tiny", changes)
    (own / "flow").mkdir()
    done, preset = prepare_own(settings, own, "2/2/2", progress=False)
    same = load_settings(preset).replace({"preset": "tiny"})
    assert same == settings and same.methods, "what the tiny preset says of single methods is kept"
    assert done.notes[-1] == "1 folders without videos are no classes: swim" and done.counts["used"] == 18


def test_own_videos_need_enough_classes(own, tmp_path):
    settings = load_settings("tiny", {"data.root": str(tmp_path / "data"), "data.name": "mine"})
    with pytest.raises(DataError, match=r"at least 5 classes in each split, .*got 2 in train, 2 in val, 2 in test \(6"):
        prepare_own(settings, own, "2/2/2", progress=False)
    with pytest.raises(SettingsError, match="adds up to 9"):
        prepare_own(settings, own, "3/3/3", progress=False)
    assert not (tmp_path / "data").exists()


def test_own_name_of_a_published_data_set(own, tmp_path):
    hmdb51 = own.rename(tmp_path / "hmdb51")
    chosen = prepare_module.own_settings(load_settings("tiny"), hmdb51)
    assert chosen.data.name == "my_hmdb51" and chosen.data.root == Path("data/my_hmdb51")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["prepare"], "expected --preset or --split-by-class, got neither"),
        (["prepare", "--split-by-class", "1/1/1"], "expected --videos with --split-by-class, got none"),
        (["prepare", "--preset", "hmdb51", "--out", "nowhere"], "expected splits.csv in"),
        (["prepare", "--preset", "hmdb5"], "expected one of the presets"),
    ],
)
def test_what_is_missing_is_said(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 1
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_videos_shorter_than_the_grid_are_read(mine):
    videos, settings = mine
    reader = ClipReader(prepare_data_set(settings, videos, progress=False).catalog, settings.sampling)
    positions = reader.test_positions(0)
    assert reader.frames(0, positions).shape == (8, 72, 96, 3), "ten frames, fewer than the grid of 32"


def test_only_the_diagnostic_data_set_is_drawn(tmp_path):
    """`make study PRESET=hmdb51` must not fill the data folder with generated videos."""
    settings = load_settings("hmdb51", {"data.root": str(tmp_path / "hmdb51")})
    with pytest.raises(SettingsError, match=r"'diagnostic', got those of 'hmdb51'.*tmal prepare"):
        make_diagnostic(settings.data)
    assert not (tmp_path / "hmdb51").exists()
