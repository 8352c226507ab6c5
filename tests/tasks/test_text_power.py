"""The share of class names in the answers is chosen on `val`, from one bank, by the answers of an evaluation."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tmal_core import cli
from tmal_core.errors import SettingsError
from tmal_core.evaluation import feature_bank
from tmal_core.evaluation.ledger import looks
from tmal_core.experiment import Experiment
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.evaluate import difference_table, evaluate_methods, result_table
from tmal_core.tasks.text_power import text_score_table

POWERS = (0.5, 0.0, 1.0, 0.5)


@pytest.fixture(scope="module")
def otam(few_settings, small_data, tmp_path_factory):
    return Experiment(few_settings, method_name="otam", run_dir=tmp_path_factory.mktemp("power"))


@pytest.fixture(scope="module")
def table(otam):
    return text_score_table(otam, POWERS, progress=False)


def test_each_power_answers_as_an_evaluation_under_it(otam, table):
    assert table["text_score"].drop_duplicates().tolist() == [0.0, 0.5, 1.0] and set(table["split"]) == {"val"}
    for power, rows in table.groupby("text_score"):
        one = otam.changed({"model.text_score": power})
        asked = result_table({"otam": one}, evaluate_methods({"otam": one}, "val", progress=False), "val")
        for column in ("episode_type", "text_at_test", "accuracy_pct", "low_pct", "high_pct", "episodes", "settings"):
            assert rows[column].tolist() == asked[column].tolist(), column
    assert table.groupby("text_score")["text_at_test"].first().tolist() == ["none", "score", "score"]


def test_the_best_is_that_of_the_highest_mean_and_the_others_are_paired_with_it(otam, table):
    families = table[table["episode_type"] != "mixed"]
    means = families.groupby("text_score")["accuracy_pct"].mean()
    best = table.loc[table["best"], "text_score"].unique()
    assert best.tolist() == [means.idxmax()]
    assert table.groupby("text_score")["mean_pct"].first().to_numpy() == pytest.approx(means.to_numpy())
    assert table.loc[table["best"], ["points", "low", "high"]].eq(0).all().all()
    other = next(power for power in (0.0, 0.5, 1.0) if power != best[0])
    pair = {str(power): otam.changed({"model.text_score": power}) for power in (other, best[0])}
    gaps = difference_table(pair, evaluate_methods(pair, "val", progress=False), "val", [tuple(pair)])
    rows = table[table["text_score"] == other]
    for column in ("points", "low", "high"):
        np.testing.assert_allclose(rows[column], gaps[column])


def test_clips_are_encoded_once_and_test_is_not_looked_at(otam, monkeypatch):
    encoded: list[int] = []
    folder = otam.settings.data.folder  # others share it, and may have looked
    before = len(looks(folder))
    monkeypatch.setattr(feature_bank, "_encoded", lambda *_: encoded.append(1))
    text_score_table(otam.changed({}), POWERS, progress=False)
    assert not encoded and len(looks(folder)) == before


def test_what_cannot_be_asked_is_refused(few_settings, otam, tmp_path):
    with pytest.raises(SettingsError, match=r"model\.text_score: input should be less than or equal to 1"):
        text_score_table(otam, (0.5, 1.5))
    with pytest.raises(SettingsError, match=r"shares of class names in the answers, 0\.\.1, got none"):
        text_score_table(otam, ())
    with pytest.raises(SettingsError, match=r"model\.text_score=0\.5, but zero_shot has 1\.0"):
        text_score_table(Experiment(few_settings, method_name="zero_shot", run_dir=tmp_path), (0.5,))


def test_the_command(few_settings, small_data, tmp_path, capsys):
    Run.create(tmp_path / "run", few_settings, "evaluate")
    names = small_data.select("val").table["class_name"].unique()
    (tmp_path / "texts.json").write_text(json.dumps({name: [f"this is {name}", f"{name} moves"] for name in names}))
    command = ["text-score", "--out", str(tmp_path / "run"), "--method", "otam", "--power", "0", "--power", "0.7"]
    described = ["--set", f"model.descriptions={tmp_path / 'texts.json'}"]
    assert cli.main([*command, *described]) == 0
    found = pd.read_csv(tmp_path / "run" / "tables" / "text_score-otam-val.csv")
    best = found.loc[found["best"], "text_score"].iloc[0]
    assert set(found["text_score"]) == {0.0, 0.7}
    assert f"best on val: model.text_score={best} (mean " in capsys.readouterr().out
    assert cli.main([*command, "--set", "methods.otam.model.text_score=0.3"]) == 1
    assert "expected shares by --power, got methods.otam.model.text_score in --set. Leave" in capsys.readouterr().err
