"""Tables of results: complete, the same twice, and from one set of episodes."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pandas as pd
import pytest

from tmal_core import cli
from tmal_core.data.sets.catalog import LEDGER, save_catalog
from tmal_core.errors import DataError, SettingsError, WeightsError
from tmal_core.evaluation.ledger import looks
from tmal_core.experiment import Experiment
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.evaluate import (
    difference_table,
    evaluate_methods,
    hardest_and_easiest,
    result_table,
    save_table,
    way_shot_table,
    with_and_without_text,
)
from tmal_core.tasks.train import train_method

METHODS = ["zero_shot", "protonet", "otam"]


@pytest.fixture(scope="module")
def experiments(small_settings, small_data, tmp_path_factory):
    return Experiment(small_settings, run_dir=tmp_path_factory.mktemp("run")).of_methods(METHODS)


@pytest.fixture(scope="module")
def outcomes(experiments):
    return evaluate_methods(experiments, "val", progress=False)


def test_one_row_per_method_and_episode_type(small_settings, experiments, outcomes):
    table = result_table(experiments, outcomes, "val")
    assert len(table) == len(METHODS) * 5
    assert not table.isna().any().any()
    assert (table["low_pct"] <= table["accuracy_pct"]).all() and (table["accuracy_pct"] <= table["high_pct"]).all()
    assert (table["chance_pct"] == 100 / table["way"]).all()
    assert (table["episodes"] == small_settings.evaluation.episodes).all()


def test_same_seed_same_table_to_the_last_digit(small_settings, experiments, outcomes, tmp_path):
    anew = Experiment(small_settings, run_dir=tmp_path).of_methods(METHODS)
    again = evaluate_methods(anew, "val", progress=False)
    files = [
        save_table(result_table(asked, found, "val"), tmp_path / name, "results").read_bytes()
        for name, asked, found in (("first", experiments, outcomes), ("second", anew, again))
    ]
    assert files[0] == files[1]


def test_rows_say_what_class_text_does_at_test(experiments, outcomes):
    table = result_table(experiments, outcomes, "val").drop_duplicates("method").set_index("method")
    assert table["text_at_test"].to_dict() == {"zero_shot": "score", "protonet": "none", "otam": "none"}


def test_with_and_without_the_score_of_names_in_rows_of_their_own(small_settings, small_data, experiments, outcomes):
    run_dir = experiments["otam"].folder
    asked = {"methods.otam.model.text_score": 0.6, "methods.otam.model.prompts": ["{}", "a {}"]}
    named = Experiment(small_settings.replace(asked), asked, run_dir=run_dir).of_methods(METHODS[::2])
    both = with_and_without_text(named)
    assert list(both) == ["zero_shot", "otam", "otam without text score"]
    banks = {path.name for path in (run_dir / "features").iterdir()}
    found = evaluate_methods(both, "val", progress=False)
    assert {path.name for path in (run_dir / "features").iterdir()} == banks, "nothing is encoded again"
    table = result_table(both, found, "val")
    rows = table.drop_duplicates(["method", "text_at_test"])[["method", "text_at_test"]].to_numpy().tolist()
    assert rows == [["zero_shot", "score"], ["otam", "score"], ["otam", "none"]]
    for episode_type, plain in outcomes["otam"].items():
        assert np.array_equal(found["otam without text score"][episode_type].logits, plain.logits)
        assert not np.array_equal(found["otam"][episode_type].logits, plain.logits)
    with pytest.raises(
        SettingsError, match=r"scores class names beside support clips, got zero_shot, otam\. Set model"
    ):
        with_and_without_text({name: experiments[name] for name in METHODS[::2]})


def test_all_methods_answer_the_same_episodes(outcomes):
    for episode_type, first in outcomes["otam"].items():
        for name in METHODS:
            assert np.array_equal(outcomes[name][episode_type].episodes.query, first.episodes.query)


def test_difference_is_the_difference_of_the_means(experiments, outcomes):
    gaps = difference_table(experiments, outcomes, "val", [("otam", "protonet")]).set_index("episode_type")
    for episode_type in outcomes["otam"]:
        accuracy = [outcomes[name][episode_type].accuracy_pct for name in ("otam", "protonet")]
        assert gaps["points"][episode_type] == pytest.approx(accuracy[0] - accuracy[1])


def test_classes_add_up(small_data, outcomes):
    outcome = outcomes["otam"]["appearance"]
    table, _ = hardest_and_easiest({"appearance": outcome}, small_data.select("val"))
    assert table["queries"].sum() == outcome.correct.size
    assert np.average(table["accuracy_pct"], weights=table["queries"]) == pytest.approx(outcome.accuracy_pct)
    assert table["accuracy_pct"].is_monotonic_increasing


def test_ends_are_shared_out_where_classes_are_few(small_data, outcomes):
    whole, ends = hardest_and_easiest(outcomes["otam"], small_data.select("val"), count=5)
    one = ends[ends["episode_type"] == "appearance"]  # six classes: three hard, three easy
    assert one["end"].tolist() == ["hard"] * 3 + ["easy"] * 3
    assert one["class_name"].tolist() == whole.loc[whole["episode_type"] == "appearance", "class_name"].tolist()
    few = hardest_and_easiest(outcomes["otam"], small_data.select("val"), count=1)[1]
    assert few.groupby("episode_type").size().eq(2).all()


@pytest.fixture(scope="module")
def grid(small_settings, small_data, tmp_path_factory):
    experiments = Experiment(small_settings, run_dir=tmp_path_factory.mktemp("grid")).of_methods(METHODS)
    return way_shot_table(experiments, "val", (2, 5, 9), (1, 2), 20, progress=False)


def test_ways_and_shots_that_the_split_offers(grid):
    answered = grid[grid["left_out"] == ""]
    asked = {name: set(zip(rows["way"], rows["shot"], strict=True)) for name, rows in answered.groupby("episode_type")}
    assert asked["appearance"] == {(2, 1), (2, 2), (5, 1), (5, 2)}  # six classes
    assert asked["order"] == {(2, 1)}  # pairs of classes that share four bases
    assert (answered["low_pct"] <= answered["accuracy_pct"]).all() and (answered["episodes"] == 20).all()
    assert (grid["chance_pct"] == 100 / grid["way"]).all()


def test_what_the_split_cannot_give_is_named(grid):
    missing = grid[grid["left_out"] != ""].set_index(["method", "episode_type", "way", "shot"])
    row = missing.loc["otam", "appearance", 9, 1]
    assert np.isnan(row["accuracy_pct"]) and "a way of at most 6" in row["left_out"]


def test_the_grid_holds_what_one_evaluation_says(small_settings, small_data, grid, tmp_path):
    """The preset's own way and shot, as many episodes: the same questions, the same answers."""
    settings = small_settings.replace({"evaluation.episodes": 20})
    otam = Experiment(settings, run_dir=tmp_path).of_methods(["otam"])
    whole = result_table(otam, evaluate_methods(otam, "val", progress=False), "val")
    for row in whole.itertuples():
        same = (
            grid["method"].eq("otam")
            & grid["episode_type"].eq(row.episode_type)
            & grid["way"].eq(row.way)
            & grid["shot"].eq(1)
        )
        assert grid.loc[same, ["accuracy_pct", "low_pct", "high_pct"]].to_numpy().tolist() == [
            [row.accuracy_pct, row.low_pct, row.high_pct]
        ]


def test_crops_that_the_backbone_does_not_take(small_settings, small_data, tmp_path):
    other = small_settings.replace({"sampling.crop": 48})
    words = r"crops of 64 pixels, as data/tiny_clip takes, got sampling.crop 48\. Set sampling.crop to 64"
    with pytest.raises(SettingsError, match=words):
        evaluate_methods(Experiment(other, run_dir=tmp_path).of_methods(["otam"]), "val", progress=False)
    with Run.create(tmp_path / "run", other, "train") as run, pytest.raises(SettingsError, match=words):
        train_method(Experiment(other, run_dir=run.path), run, progress=False)


def test_method_that_was_not_trained(small_settings, small_data, tmp_path):
    with pytest.raises(WeightsError, match="Train first"):
        evaluate_methods(Experiment(small_settings, run_dir=tmp_path).of_methods(["st_adapter"]), "val", progress=False)


@pytest.fixture
def ask(few_settings, small_data, tmp_path, capsys):
    """Asks two methods by the command, on data with a ledger of their own; what was printed, and the run's tables."""
    save_catalog(tmp_path / "data", Experiment(few_settings).catalog.table, small_data.root)
    settings = few_settings.replace({"data.root": str(tmp_path / "data")})

    def asked(run: str, *more: str) -> tuple[str, dict[str, bytes]]:
        if not (tmp_path / run).exists():
            Run.create(tmp_path / run, settings, "train")
        methods = ["--method", "protonet", "--method", "otam"]
        assert cli.main(["evaluate", "--out", str(tmp_path / run), *methods, *more]) == 0
        tables = {path.name: path.read_bytes() for path in (tmp_path / run / "tables").iterdir()}
        return capsys.readouterr().out, tables

    return asked


def test_the_command_answers_val_unless_final_is_said(ask, tmp_path):
    shown, tables = ask("run")
    assert set(tables) == {"evaluate-val.csv", "answers-val.parquet", "classes-val.csv"}
    assert b",val," in tables["evaluate-val.csv"] and "looks" not in shown
    assert not (tmp_path / "data" / LEDGER).exists()
    shown, tables = ask("run", "--final")
    assert shown.endswith(f"looks at test so far: 2 ({tmp_path / 'data' / LEDGER})\n")
    kinds = ("evaluate-{}.csv", "answers-{}.parquet", "classes-{}.csv")
    assert set(tables) == {"looks.csv", *(kind.format(split) for kind in kinds for split in ("val", "test"))}
    assert b",test," in tables["evaluate-test.csv"]


def test_the_command_answers_without_text_as_well(ask):
    shown, tables = ask("run", "--without-text", "--final", "--set", "methods.otam.model.text_score=0.5")
    table = pd.read_csv(io.BytesIO(tables["evaluate-test.csv"]))
    assert table.groupby(["method", "text_at_test"], sort=False).size().index.tolist() == [
        ("protonet", "none"),
        ("otam", "score"),
        ("otam", "none"),
    ]
    assert "text_at_test" in shown and "looks at test so far: 3 " in shown


def test_a_fresh_run_folder_does_not_empty_the_ledger_and_no_other_table_shows_it(ask, tmp_path):
    _, once = ask("run", "--final")
    shutil.rmtree(tmp_path / "run")
    shown, again = ask("run", "--final")
    assert "looks at test so far: 4 " in shown
    assert {name for name in once if once[name] != again[name]} == {"looks.csv"}
    assert pd.read_csv(tmp_path / "run" / "tables" / "looks.csv")["method"].tolist() == ["protonet", "otam"] * 2


def test_a_run_of_evaluation_ends(few_settings, small_data, tmp_path, capsys):
    """One that failed does not stand in the way of a training in its folder."""
    save_catalog(tmp_path / "data", Experiment(few_settings).catalog.table, small_data.root)
    settings = few_settings.replace({"data.root": str(tmp_path / "data")})
    for name, method, code, status in (("good", "otam", 0, "done"), ("bad", "st_adapter", 1, "failed")):
        run = Run.create(tmp_path / name, settings, "evaluate")
        assert cli.main(["evaluate", "--out", str(run.path), "--method", method]) == code
        assert run.status == status
    assert "Train first" in capsys.readouterr().err
    assert Run.create(tmp_path / "bad", settings, "train").status == "running"


def test_more_ways_and_shots_are_the_same_look(few_settings, small_data, tmp_path):
    save_catalog(tmp_path / "data", Experiment(few_settings).catalog.table, small_data.root)
    settings = few_settings.replace({"data.root": str(tmp_path / "data")})
    asked = Experiment(settings, run_dir=tmp_path / "run").of_methods(["otam"])
    way_shot_table(asked, "test", (2,), (1,), 5, progress=False)
    evaluate_methods(asked, "test", progress=False)
    assert len(looks(tmp_path / "data")) == 1


def test_saved_table_reads_back(tmp_path):
    table = pd.DataFrame({"method": ["a"], "accuracy_pct": [100 / 3]})
    assert pd.read_csv(save_table(table, tmp_path, "x")).equals(table)


@pytest.mark.parametrize("column", ["seconds", "read_ms", "ms_72x72", "train_seconds"])
def test_times_stand_in_tables_of_their_own(tmp_path, column):
    """All other tables are equal in a second run."""
    table = pd.DataFrame({"method": ["a"], column: [1.5]})
    with pytest.raises(DataError, match=rf"without columns of time, got {column} in x\. Save times by themselves"):
        save_table(table, tmp_path, "x")
    assert save_table(table, tmp_path, "x_time").exists()
