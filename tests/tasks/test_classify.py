"""`tmal classify`: new clips named from examples, every file that cannot be used named, nothing guessed in silence."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core import cli
from tmal_core.data.sets.catalog import save_catalog
from tmal_core.errors import DataError, SettingsError, WeightsError
from tmal_core.experiment import Experiment, of_checkpoint
from tmal_core.flow import extraction as extract_module
from tmal_core.models.encoder import ClipEncoder
from tmal_core.runtime.run_folders import Run
from tmal_core.runtime.tables import load_csv, save_csv
from tmal_core.tasks.classify import classify_clips
from tmal_core.tasks.flow import extract_flow
from tmal_core.tasks.train import train_method

COUNTS = {"a red circle": 3, "a green ring": 2, "a blue cross": 1}


def _of_three_colours(table):
    """Names of classes: of shapes the tiny CLIP knows little."""
    colours = table["class_name"].str.split().str[1]
    return table.groupby(colours)["class_name"].first().tolist()[: len(COUNTS)]


@pytest.fixture
def places(tmp_path, small_data):
    """Examples of three classes, unequally many, and new clips of two of them."""
    table = small_data.table[(small_data.table["family"] == "appearance") & (small_data.table["split"] == "train")]
    groups = [table.loc[table["class_name"] == name, "path"].tolist() for name in _of_three_colours(table)]
    support, queries = tmp_path / "examples", tmp_path / "new"
    for (name, count), paths in zip(COUNTS.items(), groups, strict=False):
        (support / name.replace(" ", "_")).mkdir(parents=True)
        for path in paths[:count]:
            shutil.copy(small_data.root / path, support / name.replace(" ", "_"))
    for name, paths in zip(["red.mp4", "deep/ring.mp4"], groups, strict=False):
        (queries / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(small_data.root / paths[3], queries / name)
    return support, queries


def untrained(small_settings, method: str, tmp_path: Path) -> Experiment:
    """Of a data set that is not there: these clips belong to none."""
    return Experiment(small_settings.replace({"data.root": str(tmp_path / "none")}), method_name=method)


def run(experiment, places, **more):
    return classify_clips(experiment, *places, force=True, progress=False, **more)


@pytest.mark.parametrize("method", ["otam", "protonet", "zero_shot", "st_adapter", "tmal"])
def test_untrained(small_settings, places, tmp_path, method):
    found = run(untrained(small_settings, method, tmp_path), places, unsure_below=0.0)
    table = found.table
    columns = [f"p({name})" for name in sorted(COUNTS)]
    assert table.columns.tolist() == ["clip", "answer", "best", "probability", "note", *columns]
    assert table["clip"].tolist() == ["deep/ring.mp4", "red.mp4"] and found.num_examples == 6 and not found.notes
    np.testing.assert_allclose(table[columns].sum(axis=1), 1, atol=1e-6)
    assert (table["probability"] == table[columns].max(axis=1)).all()
    assert (table["best"] == table[columns].idxmax(axis=1).str[2:-1]).all()
    if method != "zero_shot":
        # The folders' names are not the clips' classes here, so names alone would be wrong.
        assert table["answer"].tolist() == ["a green ring", "a red circle"]
        assert found.check.asked == 5, "one class has a single example"


def test_untrained_there_is_no_split_that_a_head_could_count_in(small_settings, places, tmp_path):
    for (switch, value), other in {("smoothing_unit", "std"): "absolute", ("centre", "gate"): "none"}.items():
        asked = small_settings.replace({f"model.{switch}": value})
        words = rf"checkpoint for otam with model\.{switch} {value}, got none\. Set it to {other}: what it counts in"
        with pytest.raises(SettingsError, match=words):
            run(untrained(asked, "otam", tmp_path), places)


def test_differences_need_no_flow(small_settings, places, tmp_path):
    asked = small_settings.replace({"model.flow_encoder": "difference"})
    found = run(untrained(asked, "tmal", tmp_path), places, flow_folder=tmp_path / "flow")
    assert found.table["answer"].ne("").all() and not (tmp_path / "flow").exists()


def test_frames_at_the_reference_s_stride(small_settings, places, tmp_path):
    """They follow from the rate of the clip, which belongs to no data set."""
    changes = {"sampling.scheme": "reference_stride", "sampling.min_gap": 0}
    found = run(untrained(small_settings.replace(changes), "otam", tmp_path), places, unsure_below=0.0)
    assert found.table["best"].isin(COUNTS).all() and len(found.table) == 2 and not found.notes


def test_more_of_the_same_example_changes_nothing(small_settings, places, tmp_path):
    """Unequal numbers of examples give no class an advantage."""
    experiment = untrained(small_settings, "otam", tmp_path)
    only = next((places[0] / "a_blue_cross").iterdir())
    before = run(experiment, places)
    for number in range(4):
        shutil.copy(only, only.with_name(f"copy{number}.mp4"))
    after = run(experiment, places)
    ratio = before.check.temperature / after.check.temperature
    columns = [column for column in after.table if column.startswith("p(")]
    odds = [np.log(found.table[columns].to_numpy(float)) for found in (before, after)]
    odds = [values - values[:, :1] for values in odds]
    np.testing.assert_allclose(odds[1], odds[0] * ratio, atol=1e-4)


def test_unsure_below_the_threshold(small_settings, places, tmp_path):
    experiment = untrained(small_settings, "otam", tmp_path)
    found = run(experiment, places, unsure_below=1.0)
    assert found.table["answer"].tolist() == ["unsure", "unsure"] and "0 named, 2 unsure, 0 not read" in str(found)
    assert found.table["best"].tolist() == ["a green ring", "a red circle"]
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(SettingsError, match="a probability from 0 to 1 below which a clip is unsure, got"):
            run(experiment, places, unsure_below=wrong)


def test_new_clips_are_encoded_as_precisely_as_examples(small_settings, places, tmp_path, monkeypatch):
    half = []

    def noted(encode):
        def call(self, *clips):
            half.append(torch.is_autocast_enabled("cpu"))
            return encode(self, *clips)

        return call

    for name in ("forward", "encode_roles"):
        monkeypatch.setattr(ClipEncoder, name, noted(getattr(ClipEncoder, name)))
    experiment = untrained(small_settings, "otam", tmp_path)
    run(experiment, places)
    run(experiment.changed({"evaluation.precision": "bfloat16"}), places)
    assert half == [False, False, True, True]  # examples, then new clips


def test_files_that_cannot_be_used_are_named(small_settings, places, tmp_path, make_clip):
    support, queries = places
    (queries / "broken.mp4").write_text("not a video")
    (queries / "out.mp4").symlink_to(next((support / "a_red_circle").iterdir()))
    make_clip(queries / "short.avi", 0, num_frames=5)
    shutil.copy(next((support / "a_red_circle").iterdir()), queries / "known.mp4")
    (support / "a_green_ring" / "broken.webm").write_bytes(b"")
    shutil.copy(queries / "red.mp4", support / "stray.mp4")
    (support / "kick").mkdir()
    (support / "a_green_ring" / "link.mp4").symlink_to("nowhere.mp4")
    found = run(untrained(small_settings, "otam", tmp_path), places)
    rows = found.table.set_index("clip")
    assert len(rows) == 6 and (rows.loc[["broken.mp4", "out.mp4", "short.avi"], "answer"] == "").all()
    assert rows.loc[["broken.mp4", "out.mp4", "short.avi"], "probability"].isna().all()
    assert "nvalid data" in rows.loc["broken.mp4", "note"]
    assert "a link that leads out of the folder" in rows.loc["out.mp4", "note"]
    assert rows.loc["short.avi", "note"] == "5 frames, fewer than 8 (prepare.min_frames)"
    assert rows.loc["known.mp4", "note"] == "the same file as an example" and rows.loc["known.mp4", "best"]
    assert found.notes == [
        "example not used: a_green_ring/broken.webm (empty file)",
        "left out: a_green_ring/link.mp4 (a broken link)",
        "left out: 1 videos beside the class folders, as stray.mp4",
        "left out: kick, a folder without videos",
    ]
    text = str(found)
    assert "3 not read" in text and "not read: broken.mp4 (" in text and found.num_examples == 6


def test_names_that_do_no_harm(small_settings, places, tmp_path, assets):
    """Formulas, line breaks, no UTF-8, one content in two classes, and files that are no videos or hidden."""
    support, queries = places
    ring, red = support / "a_green_ring", support / "a_red_circle"
    twin = sorted(ring.iterdir())[0]
    shutil.copy(twin, red / "twin.mp4")
    shutil.copy(twin, ring / "line\nbreak.mp4")
    (support / "a_blue_cross").rename(support / "=SUM(A1)")
    (queries / "red.mp4").rename(queries / "=1+1.mp4")
    (queries / "2.webp").touch()
    (queries / ".hidden.mp4").touch()
    shutil.copy(assets / "video_cases" / "damaged_middle.mkv", queries / "damaged.mkv")
    (support / "labels.csv").touch()
    found = run(untrained(small_settings, "otam", tmp_path), places)
    assert found.notes == [
        f"the same content as an example of two classes: a_green_ring/{twin.name} and a_red_circle/twin.mp4",
        "left out: 'a_green_ring/line\\nbreak.mp4' (a control character)",
        "left out: labels.csv (not a kind of video that is read (.csv))",
        f"left out: 1 hidden by their names in {queries}, as .hidden.mp4",
    ]
    rows = found.table.set_index("clip")
    assert list(rows.index) == ["2.webp", "=1+1.mp4", "damaged.mkv", "deep/ring.mp4"]
    assert rows.loc["damaged.mkv", "note"] == "18 frames, 6 more are lost" and rows.loc["damaged.mkv", "best"]
    assert rows.loc["2.webp", "note"] == "animated WebP is not decoded: save it as GIF or mp4"
    save_csv(found.table, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert not any(cell.startswith("=") for line in lines for cell in line.split(","))
    pd.testing.assert_frame_equal(load_csv(tmp_path / "a.csv")[["clip"]], found.table[["clip"]])


def test_one_new_clip_whose_name_is_no_text(small_settings, places, tmp_path):
    support, queries = places
    name = os.fsdecode(b"latin\xe9.mp4")
    (queries / "red.mp4").rename(queries / name)
    alone = run(untrained(small_settings, "otam", tmp_path), (support, queries / name)).table
    assert alone[["clip", "answer", "note"]].values.tolist() == [[repr(name), "", "the name is not UTF-8"]]
    save_csv(alone, tmp_path / "a.csv")
    below = run(untrained(small_settings, "otam", tmp_path), places).table
    assert alone["note"].iat[0] in below["note"].tolist()


def test_folders_are_described_by_a_file_or_named_in_several_sentences(small_settings, places, tmp_path):
    texts, answers = tmp_path / "texts.json", []
    colours = {name: [f"{name} moves", f"this is {name}, could you see it"] for name in COUNTS}
    texts.write_text(json.dumps({"A Blue Cross": [*colours.pop("a blue cross"), "word " * 40], **colours}))
    for setting in ({}, {"model.prompts": ["{} moves", "this is {}"]}, {"model.descriptions": str(texts)}):
        found = run(untrained(small_settings.replace(setting), "zero_shot", tmp_path), places, unsure_below=0.0)
        answers.append(found.table[[f"p({name})" for name in sorted(COUNTS)]].to_numpy(float))
        np.testing.assert_allclose(answers[-1].sum(1), 1, atol=1e-6)
    assert (
        found.notes[0] == "1 of 7 descriptions are cut to what the text tower reads, the first of class 'a blue cross'"
    )
    assert found.notes[1].startswith("3 of 7 descriptions look like a language model") and len(found.notes) == 2
    assert not any(np.allclose(one, other) for one, other in itertools.combinations(answers, 2))
    (places[0] / "a_red_circle").rename(places[0] / "a_red_square")
    with pytest.raises(DataError, match=r"got none of 1 of 3: 'a red square' \(there is 'a red circle'\)"):
        run(untrained(small_settings.replace(setting), "zero_shot", tmp_path), places)


def test_names_longer_than_the_text_tower_reads(small_settings, places, tmp_path):
    support, _ = places
    long = " ".join(["go"] * 60)
    (support / "a_blue_cross").rename(support / f"{long} left")
    experiment = untrained(small_settings, "zero_shot", tmp_path)
    assert f"class name '{long} left' is read as 'go go go" in run(experiment, places).notes[0]
    (support / "a_red_circle").rename(support / f"{long} right")
    with pytest.raises(DataError, match=r"class names that read differently, got 'go .* left' and 'go .* right'"):
        run(experiment, places)


@pytest.mark.parametrize("place", [".", "answers.csv/a.csv"])
def test_the_place_of_the_table_is_checked_first(places, tmp_path, capsys, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers.csv").touch()
    monkeypatch.setattr(Experiment, "of", lambda *_: pytest.fail("work began"))
    command = ["classify", "--support", str(places[0]), "--queries", str(places[1]), "--out", place]
    assert cli.main(command) == 1
    told = capsys.readouterr().err
    assert f"got {place}" in told and "partial" not in told and told.count("\n") == 1


def test_no_clip_that_can_be_read(small_settings, places, tmp_path):
    for path in [*places[1].rglob("*.mp4")]:
        path.write_text("spoilt")
    found = run(untrained(small_settings, "otam", tmp_path), places)
    assert (found.table["answer"] == "").all() and len(found.table) == 2


def test_one_new_clip_by_its_file(small_settings, places, tmp_path):
    support, queries = places
    found = run(untrained(small_settings, "otam", tmp_path), (support, queries / "red.mp4"))
    assert found.table["clip"].tolist() == ["red.mp4"]


def test_what_examples_must_be(small_settings, places, tmp_path):
    experiment = untrained(small_settings, "otam", tmp_path)
    support, queries = places
    with pytest.raises(DataError, match=r"a folder of videos that can be read, got .*nowhere \(No such file"):
        run(experiment, (support, tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"one subfolder per class, got .*new/deep with 1 videos and no folder"):
        run(experiment, (queries / "deep", queries))
    for path in (support / "a_blue_cross").iterdir():
        path.write_text("spoilt")
    words = r"an example of every class that can be used, got none of 1 of them, as 'a blue cross': a_blue_cross/.*\("
    with pytest.raises(DataError, match=words):
        run(experiment, places)
    shutil.rmtree(support / "a_blue_cross")
    shutil.rmtree(support / "a_green_ring")
    with pytest.raises(DataError, match=r"two classes or more in .*examples, got one, 'a red circle'. Add a folder"):
        run(experiment, places)


def test_a_backbone_that_never_saw_a_photograph(small_settings, places, tmp_path):
    experiment = untrained(small_settings, "otam", tmp_path)
    words = r"a backbone that has seen photographs, got .*tiny_clip with 64-pixel pictures\. .*--force"
    with pytest.raises(SettingsError, match=words):
        classify_clips(experiment, *places, progress=False)
    blind = experiment.changed({"model.pretrained": "random"})
    with pytest.raises(SettingsError, match="with random weights"):
        classify_clips(blind, *places, progress=False)


def test_clip_fsar_needs_training(small_settings, places, tmp_path):
    with pytest.raises(SettingsError, match="a checkpoint for clip_fsar, whose prototypes begin at random, got none"):
        run(untrained(small_settings, "clip_fsar", tmp_path), places)


def test_flow_is_kept_and_used_again(small_settings, places, tmp_path, monkeypatch):
    experiment = untrained(small_settings, "tmal", tmp_path)
    first = run(experiment, places, flow_folder=tmp_path / "kept")
    assert len(list((tmp_path / "kept" / "flow" / "dis").rglob("*.safetensors"))) == 8
    with monkeypatch.context() as patched:
        patched.setattr(extract_module, "flow_batches", lambda *a: pytest.fail("computed again"))
        again = run(experiment, places, flow_folder=tmp_path / "kept")
    pd.testing.assert_frame_equal(first.table, again.table)
    without = run(experiment, places)
    pd.testing.assert_frame_equal(first.table, without.table)


def test_flow_of_the_data_set_is_used(small_settings, small_data, places, tmp_path, flow_here, monkeypatch):
    """Of a copy of it that holds the clips of these classes only."""
    root = tmp_path / "set"
    table = small_data.table[(small_data.table["family"] == "appearance") & (small_data.table["split"] == "train")]
    table = table[table["class_name"].isin(_of_three_colours(table))]
    for path in table["path"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(small_data.root / path, root / path)
    save_catalog(root, table)
    experiment = Experiment(small_settings.replace({"data.root": str(root)}), method_name="tmal")
    extract_flow(experiment, progress=False)
    before = sorted(path for path in root.rglob("*") if path.is_file())
    with monkeypatch.context() as patched:
        patched.setattr(extract_module, "flow_batches", lambda *a: pytest.fail("computed again"))
        run(experiment, places)
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before


@pytest.fixture(scope="module")
def trained(few_settings, tmp_path_factory):
    """A run folder with a trained method."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    settings = few_settings.replace({"training.episodes": 4, "model.method": "st_adapter"})
    experiment = Experiment(settings, run_dir=folder)
    with Run.create(folder, experiment.settings, "train") as began:
        train_method(experiment, began, progress=False)
    return folder


def test_with_a_checkpoint(trained, places, tmp_path):
    experiment = of_checkpoint(trained)
    file = experiment.checkpoint
    assert file == trained / "checkpoints" / "st_adapter" / "best.pt" and experiment.name == "st_adapter"
    by_file = of_checkpoint(file)
    assert by_file.settings == experiment.settings and by_file.checkpoint == file
    with_it, without = run(experiment, places), run(Experiment(experiment.settings), places)
    assert not np.allclose(with_it.table["probability"], without.table["probability"])
    assert of_checkpoint(trained, method_name="otam").checkpoint is None, "an untrained method needs no file"


def test_an_episode_that_is_answered_as_a_whole(few_settings, places, tmp_path):
    """Unequally many examples, all looked at together; untrained it would compare random projections."""
    settings = few_settings.replace({"training.episodes": 4, "model.tuple_width": 32})
    experiment = Experiment(settings, method_name="trx", run_dir=tmp_path / "run")
    with pytest.raises(SettingsError, match="a checkpoint for trx, whose prototypes begin at random, got none"):
        run(experiment, places)
    with Run.create(tmp_path / "run", experiment.settings, "train") as began:
        train_method(experiment, began, progress=False)
    found = run(of_checkpoint(tmp_path / "run"), places, unsure_below=0.0)
    assert found.table["answer"].tolist() == ["a green ring", "a red circle"] and found.check.asked == 5


def test_checkpoints_that_do_not_do(trained, places, tmp_path):
    with pytest.raises(WeightsError, match=r"a run folder, or a checkpoint in one, got .*none, which is not there"):
        of_checkpoint(tmp_path / "none")
    (tmp_path / "theirs.pth").touch()
    with pytest.raises(WeightsError, match=r"a checkpoint in its .*, got .*theirs.pth\. .* by `tmal adopt`"):
        of_checkpoint(tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match=r"a checkpoint, got .*tmal/best.pt, which is not there"):
        run(of_checkpoint(trained, method_name="tmal"), places)
    best = trained / "checkpoints" / "st_adapter" / "best.pt"
    with pytest.raises(WeightsError, match=r"a checkpoint of otam, got .*best.pt of st_adapter"):
        of_checkpoint(best, method_name="otam")
    with pytest.raises(WeightsError, match=r"\d+ tunable tensors, got .*best.pt with "):
        run(of_checkpoint(best, overrides={"model.bottleneck": 32}), places)


def test_command_line(trained, places, tmp_path, capsys):
    support, queries = map(str, places)
    command = ["classify", "--support", support, "--queries", queries, "--out", str(tmp_path / "out" / "answers.csv")]
    assert cli.main([*command, "--checkpoint", str(trained), "--force", "--unsure-below", "0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 new clips, 3 classes from 6 examples: 2 named, 0 unsure, 0 not read\n")
    assert " of 5 examples are named right from the others\n" in out
    table = pd.read_csv(tmp_path / "out" / "answers.csv", keep_default_na=False)
    assert table["answer"].isin(sorted(COUNTS)).all() and len(table) == 2
    tiny = ["--preset", "tiny", "--set", "compute.num_threads=1"]
    assert cli.main([*command, *tiny]) == 1
    assert "a backbone that has seen photographs" in capsys.readouterr().err
    assert cli.main([*command, *tiny, "--force", "--method", "protonet"]) == 0
    assert cli.main([*command, "--checkpoint", str(trained), *tiny]) == 1
    assert "expected --checkpoint or --preset, got both" in capsys.readouterr().err


def test_without_weights_the_command_says_what_to_fetch(places, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path))
    command = ["classify", "--support", str(places[0]), "--queries", str(places[1]), "--out", str(tmp_path / "a.csv")]
    assert cli.main(command) == 1
    err = capsys.readouterr().err
    assert "ViT-B-16.pt" in err and "tmal weights fetch clip_vit_b_16" in err and err.count("\n") == 1
    assert not (tmp_path / "a.csv").exists()
