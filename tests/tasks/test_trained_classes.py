"""Weights of one data set on another: what is not new is said, and left out where that is asked for."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core import cli
from tmal_core.data.sets.catalog import FILE_NAME
from tmal_core.errors import DataError, EpisodeError, SettingsError
from tmal_core.experiment import of_checkpoint
from tmal_core.tasks import classes_trained_on
from tmal_core.tasks.classes_trained_on import counts_of, overlap_of, without_overlap
from tmal_core.tasks.evaluate import evaluate_methods, result_table


@pytest.fixture
def used(two_data_sets, tmp_path):
    """The trained run on the other data set."""
    trained, preset = two_data_sets
    return of_checkpoint(trained, preset, run_dir=tmp_path / "out")


def forget(checkpoint, into, **changes):
    """A copy of a run, whose checkpoint is as an older version wrote it."""
    run = into / "run"
    file = run / checkpoint.relative_to(checkpoint.parents[2])
    file.parent.mkdir(parents=True)
    (run / "run.json").write_bytes((checkpoint.parents[2] / "run.json").read_bytes())
    content = torch.load(checkpoint, weights_only=True)
    del content["trained_classes"]
    torch.save({**content, "trained_with": {**content["trained_with"], **changes}}, file)
    return run


def test_what_was_trained_on_and_what_was_chosen_on(used):
    found = overlap_of(used, "val")
    assert found.classes("same") == ["punch"] and found.classes() == ["punch", "ride_bike", "shoot_bow"]
    assert found.counts == counts_of(used, "val") == "1 same, 2 similar"
    assert [pair.tested for pair in found.chosen] == ["kiss"] and found.num_classes == 6 and not found.num_nameless
    assert str(found) == (
        "3 of 6 tested classes of other val were trained on in diagnostic (same name) or are like such: "
        "punch, ride_bike (Biking), shoot_bow (Archery)"
    )
    assert found.notes == ["the checkpoint was chosen on the same classes or like ones: kiss"]
    assert found.table["trained_split"].tolist() == ["train"] * 3 + ["val"]


def test_classes_without_names_are_counted(used):
    table = used.split("test").table
    assert sorted(table["class_name"].unique())[-2:] == ["unnamed test 0", "unnamed test 1"]
    found = overlap_of(used, "test")
    assert not found.pairs and found.counts == "0 same, 0 similar"
    assert str(found).startswith("none of 6 tested classes of other test were trained on in diagnostic")
    assert found.notes == ["2 of the tested classes have no name: of them nothing is known"]
    assert without_overlap(used, "test") is used, "nothing is left out"


def test_no_episode_has_a_class_that_is_left_out(used):
    less = without_overlap(used, "val")
    assert less.settings.evaluation.leave_out == ("punch", "ride_bike", "shoot_bow") and less.hash != used.hash
    assert without_overlap(used, "val", "same").settings.evaluation.leave_out == ("punch",)
    names = used.split("val").table["class_name"].to_numpy(str)
    drawn = less.episodes("val")["appearance"]
    assert set(names[np.concatenate([drawn.support, drawn.query], 2)].ravel()) == {"chew", "kiss", "clap"}
    with pytest.raises(EpisodeError, match=r"a way of at most 3, got 4-way episodes .* \(3 classes are left out\)"):
        less.changed({"episodes.way": 4}).episodes("val")
    with pytest.raises(DataError, match=r"expected classes of .*, got 'nap'\. Write names as the column class_name"):
        less.changed({"evaluation.leave_out": ["chew", "nap"]}).episodes("val")


def test_the_table_says_what_it_asked(used):
    less = without_overlap(used, "val")
    table = result_table({"st_adapter": less}, evaluate_methods({"st_adapter": less}, "val", progress=False), "val")
    columns = ["trained_on", "overlap", "classes", "left_out", "settings"]
    assert table[columns].to_numpy().tolist() == [["diagnostic", "1 same, 2 similar", 3, 3, less.hash]]


def test_on_its_own_data_set_there_is_no_overlap_to_speak_of(two_data_sets, tmp_path):
    trained, preset = two_data_sets
    same = of_checkpoint(trained, run_dir=tmp_path)
    frozen = of_checkpoint(trained, preset, method_name="otam", run_dir=tmp_path)
    assert overlap_of(same, "val") is overlap_of(frozen, "val") is None and counts_of(same, "val") == ""
    words = "weights that were trained on another data set, got {}. Leave --leave-out-overlap out, or add --checkpoint"
    with pytest.raises(SettingsError, match=words.format("st_adapter, which was trained on diagnostic")):
        without_overlap(same, "val")
    with pytest.raises(SettingsError, match=words.format("otam")):
        without_overlap(frozen, "val")


def test_an_older_checkpoint_has_the_classes_of_its_catalogue(used, two_data_sets, tmp_path):
    _, preset = two_data_sets
    older = of_checkpoint(forget(used.checkpoint, tmp_path / "a"), preset)
    assert overlap_of(older, "val") == overlap_of(used, "val")
    gone = of_checkpoint(forget(used.checkpoint, tmp_path / "b", **{"data.root": str(tmp_path / "no")}), preset)
    words = r"expected the classes that the weights were trained on, got .*best.pt of an older version, which does not "
    with pytest.raises(DataError, match=words + rf"say, and no catalogue in {tmp_path / 'no'} any more\. Put that"):
        overlap_of(gone, "val")
    assert counts_of(gone, "val") == "unknown" and gone.model


def test_adopted_weights_do_not_say(used, two_data_sets, tmp_path):
    _, preset = two_data_sets
    run = forget(used.checkpoint, tmp_path)
    file = next(run.rglob("best.pt"))
    torch.save({**torch.load(file, weights_only=True), "trained_with": {"adopted_from": "theirs.pth"}}, file)
    words = (
        r"got .*best.pt, adopted from theirs.pth, which does not say\. Name classes that are to be left out yourself"
    )
    with pytest.raises(DataError, match=words):
        without_overlap(of_checkpoint(run, preset), "val")


def test_the_command_as_typed(two_data_sets, tmp_path, capsys):
    trained, preset = two_data_sets
    out = tmp_path / "out"
    command = ["evaluate", "--checkpoint", str(trained), "--preset", str(preset), "--out", str(out)]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert (
        "\n3 of 6 tested classes of other val were trained on in diagnostic (same name) or are like such: punch, "
        in shown
    )
    assert "shoot_bow (Archery); --leave-out-overlap leaves them out\nthe checkpoint was chosen on" in shown
    assert pd.read_csv(out / "tables" / "overlap-val.csv")["tested"].tolist()[0] == "punch"
    for kind, more, gone in (("similar", [], 3), ("same", ["--overlap", "same"], 1)):
        assert cli.main([*command[:-1], str(tmp_path / kind), "--leave-out-overlap", *more]) == 0
        assert f"left out ({kind}): {gone}, so {6 - gone} classes are asked\n" in capsys.readouterr().out
        table = pd.read_csv(tmp_path / kind / "tables" / "evaluate-val.csv")
        assert table[["classes", "left_out"]].to_numpy().tolist() == [[6 - gone, gone]]
    record = json.loads((tmp_path / "same" / "run.json").read_text())
    assert record["settings"]["evaluation"]["leave_out"] == ["punch"]
    assert cli.main([*command, "--leave-out-overlap"]) == 1  # a folder has one kind of result
    assert "Choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--leave-out-overlap"], "expected --checkpoint with --leave-out-overlap, got none"),
        (["--overlap", "same"], "expected --leave-out-overlap with --overlap, got none"),
        (["--leave-out-overlap", "--checkpoint", "RUN"], "got st_adapter, which was trained on diagnostic"),
    ],
)
def test_what_cannot_be_left_out(two_data_sets, more, words, tmp_path, capsys):
    more = [str(two_data_sets[0]) if part == "RUN" else part for part in more]
    assert cli.main(["evaluate", *more, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_catalogue_that_is_gone_is_said_beside_the_results(used, two_data_sets, tmp_path, capsys):
    _, preset = two_data_sets
    run = forget(used.checkpoint, tmp_path, **{"data.root": str(tmp_path / "no")})
    assert (
        cli.main(["evaluate", "--checkpoint", str(run), "--preset", str(preset), "--out", str(tmp_path / "out")]) == 0
    )
    assert "overlap of classes: unknown: expected the classes that the weights" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "out" / "tables" / "evaluate-val.csv")["overlap"].tolist() == [
        classes_trained_on.UNKNOWN
    ]
    assert not (tmp_path / "no" / FILE_NAME).exists()
