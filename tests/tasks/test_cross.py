"""Runs on other data sets: the same episodes for all, with and without what is not new, and nothing asked twice."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tmal_core import cli
from tmal_core.errors import EpisodeError, RunError, SettingsError, WeightsError
from tmal_core.evaluation.ledger import looks
from tmal_core.evaluation.scoring import Outcome
from tmal_core.experiment import Experiment, of_checkpoint
from tmal_core.tasks import cross
from tmal_core.tasks.cross import ALL, WITHOUT, Source, run_cross, sources_of
from tmal_core.tasks.cross_tables import save_cross, shown
from tmal_core.tasks.evaluate import evaluate_methods, result_table

GONE = {"punch", "ride_bike", "shoot_bow"}


@pytest.fixture(scope="module")
def asked(two_data_sets, tmp_path_factory):
    """A trained run and the floor, on the data set of its training and on another, with and without what is not new."""
    run, other = two_data_sets
    home, out = run.parent / "home.yaml", tmp_path_factory.mktemp("cross")
    settings = Experiment.of_run(run).settings
    home.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude={"preset"})))
    return run_cross(sources_of([run], ["otam"]), [other, home], out, leave_out="similar", progress=False), out


def test_what_is_tested(two_data_sets):
    run, _ = two_data_sets
    found = sources_of([run], ["otam"])
    assert found == [Source(str(run), "st_adapter"), Source("", "otam")]
    assert [source.label for source in found] == [f"{run} st_adapter", "otam"]


def test_parts(asked):
    results, _ = asked
    parts = {(part.tested, part.asked): part for part in results.parts}
    assert list(parts) == [("other", ALL), ("other", WITHOUT), ("home", ALL)], "at home no class overlaps"
    for (tested, what), part in parts.items():
        first, *others = [found["appearance"].episodes for found in part.outcomes.values()]
        assert all((first.query == one.query).all() and (first.support == one.support).all() for one in others)
        catalog = next(iter(part.experiments.values())).split("val").table["class_name"].to_numpy(str)
        shares = set(catalog[np.concatenate([first.support, first.query], 2)].ravel()) & GONE
        assert shares == (GONE if (tested, what) == ("other", ALL) else set())


def test_a_cell_is_what_evaluate_says(asked, two_data_sets, tmp_path):
    """And so is the table's row: the same numbers, by the other way."""
    run, other = two_data_sets
    used = of_checkpoint(run, other, run_dir=tmp_path)
    alone = {used.name: used}
    expected = result_table(alone, evaluate_methods(alone, "val", progress=False), "val")
    results, out = asked
    rows = save_cross(results, out).accuracy
    mine = rows[(rows["tested"] == "other") & (rows["asked"] == ALL) & (rows["method"] == "st_adapter")]
    pd.testing.assert_frame_equal(mine[expected.columns].reset_index(drop=True), expected, check_dtype=False)
    assert mine["run"].tolist() == [str(run)] and mine["overlap"].tolist() == ["1 same, 2 similar"]


def test_tables(asked):
    results, out = asked
    tables = save_cross(results, out)
    assert sorted(path.name for path in (out / "tables").iterdir()) == [
        "cross.json", "cross_accuracy.csv", "cross_differences.csv", "cross_overlap.csv"
    ]  # fmt: skip
    rows = tables.accuracy.set_index(["tested", "asked", "method"]).sort_index()
    assert rows.loc[("other", WITHOUT), ["classes", "left_out"]].to_numpy().tolist() == [[3, 3]] * 2
    assert rows.loc[("other", ALL), "classes"].tolist() == [6, 6] and (rows["overlap"].loc[:, :, "otam"] == "").all()
    for row in tables.differences.itertuples():
        one, other = (
            rows.loc[row.tested, row.asked, name.split()[-1]]["accuracy_pct"] for name in (row.first, row.second)
        )
        assert row.points == pytest.approx(one - other)
    assert len(tables.differences) == 3
    assert tables.overlap[["trained_split", "tested"]].to_numpy().tolist() == [
        ["train", "punch"], ["train", "ride_bike"], ["train", "shoot_bow"], ["val", "kiss"]
    ]  # fmt: skip
    text = shown(tables)
    assert text.count("percent with interval") == 2 and not tables.notes
    assert text.endswith(
        f"other: of its classes {results.sources[0].label} (diagnostic) was trained on 1 same, 2 similar"
    )
    assert json.loads((out / "tables" / "cross.json").read_text())["split"] == "val"


def test_it_goes_on_and_asks_nothing_twice(two_data_sets, tmp_path, monkeypatch):
    run, other = two_data_sets
    real, count = cross._answer, []

    def stop_at_second(experiment, split, wanted):
        count.append((experiment.name, len(wanted)))
        if len(count) == 2:
            raise KeyboardInterrupt
        real(experiment, split, wanted)

    monkeypatch.setattr(cross, "_answer", stop_at_second)
    sources = sources_of([run], ["otam", "protonet"])
    with pytest.raises(KeyboardInterrupt):
        run_cross(sources, [other], tmp_path, progress=False)
    first = run_cross(sources, [other], tmp_path, progress=False)
    assert count == [("st_adapter", 1), ("otam", 1), ("otam", 1), ("protonet", 1)]
    again = run_cross(sources, [other], tmp_path, leave_out="same", progress=False)
    assert count[4:] == [(name, 1) for name in ("st_adapter", "otam", "protonet")], "only what is left out is new"
    for label, found in first.parts[0].outcomes.items():
        assert (found["appearance"].logits == again.parts[0].outcomes[label]["appearance"].logits).all()


def test_answers_are_named_by_all_they_depend_on(two_data_sets, tmp_path):
    def named(experiment, catalogue="catalogue"):
        return cross._file_name(experiment, "other", "val", cross._weights_hash(experiment), catalogue)

    run, other = two_data_sets
    again = shutil.copytree(run, tmp_path / "again")
    used = of_checkpoint(run, other, run_dir=tmp_path / "x")
    name = named(used)
    moved = of_checkpoint(again, other, run_dir=tmp_path / "y")
    assert named(moved) == name, "the same weights in another folder"
    file = again / "checkpoints" / "st_adapter" / "best.pt"
    content = torch.load(file, weights_only=True)
    next(iter(content["tunable"].values())).add_(1)
    torch.save(content, file)
    others = [named(moved), named(used, "another")]
    for change in ({"evaluation.seed": 1}, {"evaluation.leave_out": ["kiss"]}, {"sampling.num_frames": 4}):
        others.append(named(used.changed(change)))
    frozen = [used.changed({"model.pretrained": pretrained}, "otam") for pretrained in ("folder", "random")]
    others += [named(one) for one in frozen]
    assert len({name, *others}) == len(others) + 1


def test_too_few_classes_are_left(two_data_sets, tmp_path):
    run, other = two_data_sets
    sources = sources_of([run])
    results = run_cross(sources, [other], tmp_path, overrides={"episodes.way": 4}, leave_out="similar", progress=False)
    tables = save_cross(results, tmp_path)
    assert [part.asked for part in results.parts] == [ALL] and tables.differences.empty
    assert tables.notes == [
        "other without overlap: expected a way of at most 3, got 4-way episodes of 'appearance' (3 classes are left "
        "out). Lower episodes.way or use a split with more classes."
    ]
    with pytest.raises(EpisodeError, match="a way of at most 6, got 7-way"):
        run_cross(sources, [other], tmp_path, overrides={"episodes.way": 7}, leave_out="similar", progress=False)


def test_other_frames_are_not_compared(asked):
    """As of CLIP-FSAR, which draws its own."""
    results, out = asked
    part = results.parts[0]
    label = results.sources[1].label
    moved = {kind: Outcome(o.episodes, o.logits, "others") for kind, o in part.outcomes[label].items()}
    apart = cross.Part(part.tested, part.asked, part.experiments, {**part.outcomes, label: moved})
    tables = save_cross(cross.CrossResults("val", results.sources, [apart]), out)
    assert tables.differences.empty
    assert tables.notes == [f"other: {results.sources[0].label} and otam read other frames, so they are not compared"]


def test_classes_that_nobody_knows_are_said_once(two_data_sets, tmp_path):
    run, other = two_data_sets
    old = shutil.copytree(run, tmp_path / "old")
    file = old / "checkpoints" / "st_adapter" / "best.pt"
    content = torch.load(file, weights_only=True)
    content.pop("trained_classes")
    content["trained_with"]["data.root"] = str(tmp_path / "no")
    torch.save(content, file)
    tables = save_cross(run_cross(sources_of([old]), [other], tmp_path / "out", progress=False), tmp_path / "out")
    assert tables.accuracy["overlap"].tolist() == ["unknown"] and tables.overlap.empty
    assert (
        len(tables.notes) == 1 and "unknown: expected the classes that the weights were trained on" in tables.notes[0]
    )


@pytest.mark.parametrize(
    ("runs", "methods", "error", "words"),
    [
        ([], [], SettingsError, "each run and method once, got none"),
        ([], ["otam", "otam"], SettingsError, "each run and method once, got otam"),
        ([], ["tmal"], SettingsError, r"methods that learn nothing \(.*otam.*\), got tmal\. Name its run by --train"),
        (["no"], [], RunError, "no"),
        (["empty"], [], WeightsError, r"a run with trained weights, got .*empty, which has none"),
    ],
)
def test_what_cannot_be_tested(two_data_sets, tmp_path, runs, methods, error, words):
    (tmp_path / "empty").mkdir()
    shutil.copy(two_data_sets[0] / "run.json", tmp_path / "empty")
    with pytest.raises(error, match=words):
        sources_of([tmp_path / run for run in runs], methods)


def test_presets_of_one_name(two_data_sets, tmp_path):
    run, other = two_data_sets
    with pytest.raises(SettingsError, match="each preset once, got other, other"):
        run_cross(sources_of([run]), [other, other], tmp_path, progress=False)


def test_the_command_as_typed(two_data_sets, tmp_path, capsys):
    run, other = two_data_sets
    folder = Experiment.of(other).settings.data.folder
    before = len(looks(folder))
    command = ["cross", "--train", str(run), "--test", str(other), "--method", "otam", "--out", str(tmp_path)]
    assert cli.main([*command, "--leave-out-overlap", "--overlap", "same"]) == 0
    out = capsys.readouterr().out
    assert "all classes, percent with interval" in out and "without overlap, percent with interval" in out
    assert "(diagnostic) was trained on 1 same, 2 similar\n" in out and out.endswith(
        f"every digit: {tmp_path / 'tables'}\n"
    )
    assert pd.read_csv(tmp_path / "tables" / "cross_accuracy.csv")["left_out"].tolist() == [0, 0, 1, 1]
    assert len(looks(folder)) == before, "val is no look"
    for _ in range(2):
        assert cli.main([*command, "--final"]) == 0
    assert looks(folder)["method"].tolist()[before:] == ["st_adapter", "otam"], "going on is none"
    assert len(pd.read_csv(tmp_path / "tables" / "looks.csv")) == before + 2
    capsys.readouterr()
    assert cli.main(["cross", "--test", str(other), "--overlap", "same"]) == 1
    assert "expected --leave-out-overlap with --overlap, got none" in capsys.readouterr().err
    assert cli.main(["cross", "--train", str(run)]) == 2
