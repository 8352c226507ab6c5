"""The study: resumable by unit, paired on the same episodes, and its tables say what was asked."""

from __future__ import annotations

import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.torch

from tmal_core.config import in_project, load_settings
from tmal_core.errors import DataError, SettingsError
from tmal_core.evaluation.feature_bank import positions_hash
from tmal_core.evaluation.ledger import looks
from tmal_core.experiment import Experiment
from tmal_core.models.backbone import FOLDER_WEIGHTS
from tmal_core.models.methods import METHODS
from tmal_core.tasks import study
from tmal_core.tasks.table_markup import markdown


@pytest.fixture(scope="module")
def small(few_settings):
    fast = {"training.episodes": 4, "training.accumulation": 1, "training.learning_rate": 0.05}
    return Experiment(few_settings.replace({**fast, "training.val_episodes": 5, "evaluation.episodes": 12}))


@pytest.fixture(scope="module")
def answers(small, tmp_path_factory):
    return study.run_study(small, tmp_path_factory.mktemp("study"), ["otam", "tmal"], (0, 1), progress=False)


def test_what_learns_has_every_seed_and_what_does_not_has_one(answers):
    assert {name: list(found) for name, found in answers.right.items()} == {
        "otam": [0], "tmal": [0, 1]
    }  # fmt: skip
    shapes = {p: found.shape for p, found in answers.right["tmal"][1].items()}
    assert shapes == {p: e.query.shape for p, e in answers.episodes.items()}
    assert any((answers.right["tmal"][0][p] != answers.right["tmal"][1][p]).any() for p in shapes)


def test_a_stopped_study_goes_on(small, tmp_path, monkeypatch):
    asked = []
    real = study._evaluate_unit

    def stop_at_second(unit):
        asked.append((unit.name, unit.seed))
        if len(asked) == 2:
            raise KeyboardInterrupt
        real(unit)

    monkeypatch.setattr(study, "_evaluate_unit", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        study.run_study(small, tmp_path, ["protonet", "otam"], (0,), progress=False)
    study.run_study(small, tmp_path, ["protonet", "otam"], (0,), progress=False)
    assert asked == [("protonet", 0), ("otam", 0), ("otam", 0)]
    study.run_study(small, tmp_path, ["protonet", "otam"], (0,), progress=False)
    runs = looks(small.settings.data.folder)["run"].tolist()
    mine = [str(tmp_path / name / "seed0") for name in ("protonet", "otam")]
    assert [run for run in runs if run in mine] == mine, "each answer on test is one look, and going on is none"
    changed = small.changed({"evaluation.episodes": 13})
    assert (
        len(study.run_study(changed, tmp_path / "other", ["otam"], (0,), progress=False).episodes["order"].query) == 13
    )


def test_tables(small, answers, tmp_path):
    tables = study.save_study(small, [answers], tmp_path)
    rows = tables.accuracy.set_index(["method", "episode_type"])
    expected = np.mean([100 * answers.right["tmal"][seed]["order"].mean() for seed in (0, 1)])
    assert rows.loc[("tmal", "order"), "accuracy_pct"] == pytest.approx(expected)
    assert rows.loc[("tmal", "order"), "seeds"] == 2 and np.isnan(rows.loc[("otam", "order"), "seed_spread"])
    gaps = tables.differences.set_index(["question", "first", "episode_type"])
    row = gaps.loc[("What does learning add?", "tmal", "order")]
    assert row["second"] == "otam"
    assert row["points"] == pytest.approx(expected - rows.loc[("otam", "order"), "accuracy_pct"])
    assert (tables.differences["p_holm"] >= tables.differences["p"]).all()
    assert tables.goals is None  # not every variant was asked
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == [
        "looks.csv", "study.json", "study.md", "study_accuracy.csv", "study_differences.csv"
    ]  # fmt: skip


def test_a_variant_alone_is_compared_with_nothing(small, answers, tmp_path):
    alone = dataclasses.replace(answers, right={"otam": answers.right["otam"]})
    tables = study.save_study(small, [alone], tmp_path)
    assert tables.differences.empty and set(tables.accuracy["method"]) == {"otam"}
    on_val = dataclasses.replace(alone, split="val")
    whole = study.save_study(small, [on_val, answers], tmp_path).differences
    assert len(whole) == len(study.save_study(small, [answers], tmp_path).differences)
    assert whole["points"].dtype == float


def test_goals_by_hand():
    pct = {
        "protonet": (80, 50, 20, 50), "zero_shot": (90, 50, 20, 70), "visual": (90, 86, 20, 50),
        "with_text": (89, 86, 21, 75), "with_flow": (89, 86, 60, 50), "earlier": (88, 87, 58, 74),
        "tmal": (89, 87, 59, 74),
    }  # fmt: skip
    families = ("appearance", "order", "motion", "semantic")
    rows = [
        {"method": name, "episode_type": family, "accuracy_pct": value, "chance_pct": 20 if family == "motion" else 50}
        for name, values in pct.items()
        for family, value in zip(families, values, strict=True)
    ]
    goals = study.goal_table(pd.DataFrame(rows)).set_index("goal")
    assert goals["reached"].tolist() == [37, 1, 24, 36, 2, 1, 0]
    assert goals["met"].all()


def test_every_question_asks_about_variants_that_exist():
    for reference, compared in study.QUESTIONS.values():
        assert {reference, *compared} <= set(study.VARIANTS)
        assert len({reference, *compared}) == 1 + len(compared), "each once: p-values are corrected for their number"


def test_answers_that_come_with_the_project_are_those_of_its_variants(tmp_path):
    """A setting that is younger than they are must not rename what is asked: they would all be trained again."""
    asked = Experiment.of("tiny")
    rounds = [("val", study.SEEDS[:1], list(study.VARIANTS)), ("test", study.SEEDS, list(study.NAMED))]
    files = {
        unit.file.name
        for split, seeds, names in rounds
        for unit in study._units(asked, tmp_path, names, list(seeds), split)
    }
    kept = {path.name for path in study.KEPT.glob("*.npz")}
    assert kept and kept <= files, sorted(kept - files)


def test_trainings_at_once_answer_as_one_after_the_other(small, answers, tmp_path):
    found = study.run_study(small, tmp_path, ["otam", "tmal"], (0,), processes=2, progress=False)
    for name in ("otam", "tmal"):
        for episode_type, right in found.right[name][0].items():
            assert np.array_equal(right, answers.right[name][0][episode_type])


def test_a_stored_study_is_what_was_saved(small, answers, tmp_path, monkeypatch):
    monkeypatch.setattr(Experiment, "hash", "12345e678901")  # no number, whatever it looks like
    tables = study.save_study(small, [answers], tmp_path)
    with pytest.raises(DataError, match=r"expected the tables of a whole study, got no .*study_goals.csv"):
        study.load_study(tmp_path / "tables")
    goals = pd.DataFrame({"goal": ["one"], "reached": [1.5], "met": [True]})
    goals.to_csv(tmp_path / "tables" / "study_goals.csv", index=False)
    stored = study.load_study(tmp_path / "tables")
    pd.testing.assert_frame_equal(stored.accuracy, tables.accuracy)
    pd.testing.assert_frame_equal(stored.differences, tables.differences)
    assert stored.facts["settings"] == "12345e678901" and stored.goals["met"].all()


def test_unknown_variant(small, tmp_path):
    with pytest.raises(SettingsError, match=r"expected variants among zero_shot, .*, got magic"):
        study.run_study(small, tmp_path, ["magic"])


def test_every_seed_of_training_reads_the_same_random_views(small, tmp_path):
    """They follow the seed of evaluation: otherwise variants and seeds could not be paired."""
    several = small.changed({"evaluation.views": 2})
    units = study._units(several, tmp_path, ["otam", "visual"], [0, 1], "val")
    assert [unit.name for unit in units] == ["otam", "visual", "visual"]
    frames = [positions_hash(unit.experiment.reader(unit.experiment.split("val"))) for unit in units]
    other = several.changed({"evaluation.seed": 1})
    assert len(set(frames)) == 1 and positions_hash(other.reader(other.split("val"))) != frames[0]
    found = study.run_study(several, tmp_path, ["otam"], (0,), progress=False)
    assert found.right["otam"][0]["order"].shape == found.episodes["order"].query.shape


@pytest.mark.parametrize("key", ["model.adapters", "methods.tmal.model.adapters"])
def test_what_a_variant_sets_otherwise_is_refused_before_anything_starts(small, tmp_path, key):
    asked, mean = (small.changed(change, "tmal") for change in ({key: "ffn"}, {"model.matching": "mean"}))
    words = f"settings that no variant sets otherwise, got {key}=ffn, but variant no_adapters has none"
    with pytest.raises(SettingsError, match=words):
        study.run_study(asked, tmp_path / "out", ["adapters_ffn", "no_adapters"])
    with pytest.raises(SettingsError, match=r"model.matching=mean, but otam has otam, st_adapter has otam\. Leave it"):
        study.run_study(mean, tmp_path / "out", ["protonet", "otam", "visual"])
    assert not (tmp_path / "out").exists()


def test_two_rounds_the_second_for_what_was_named_beforehand(small, tmp_path):
    before = len(looks(small.settings.data.folder))
    val, test = study.run_rounds(small, tmp_path, ["otam", "mean", "visual"], (0, 1))
    assert (val.split, test.split) == ("val", "test")
    assert {name: list(found) for name, found in val.right.items()} == {"otam": [0], "mean": [0], "visual": [0]}
    assert {name: list(found) for name, found in test.right.items()} == {"otam": [0], "visual": [0, 1]}
    assert len(looks(small.settings.data.folder)) == before + 3, "a look for each answer on test, none for val"
    tables = study.save_study(small, [val, test], tmp_path)
    rows = tables.accuracy.set_index(["split", "method", "episode_type"])["accuracy_pct"]
    assert rows["val", "mean", "order"] == 100 * val.right["mean"][0]["order"].mean()
    assert set(tables.differences["split"]) == {"val", "test"}
    alone = study.run_rounds(small, tmp_path, ["otam", "mean", "visual"], (0, 1), val_only=True)
    assert [one.split for one in alone] == ["val"] and len(looks(small.settings.data.folder)) == before + 3


def test_answers_that_come_with_the_project_are_not_made_again(small, answers, tmp_path, monkeypatch):
    made = study._units(small, tmp_path, ["otam"], [0], "test")[0]
    monkeypatch.setattr(study, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(study, "_evaluate_unit", lambda unit: pytest.fail(f"{unit.name} is asked again"))
    (tmp_path / "kept").mkdir()
    np.savez(tmp_path / "kept" / made.file.name, **answers.right["otam"][0])
    found = study.run_study(small, tmp_path, ["otam"], (0,), progress=False)
    assert all((found.right["otam"][0][name] == right).all() for name, right in answers.right["otam"][0].items())
    with pytest.raises(pytest.fail.Exception, match="asked again"):  # of other settings they are not
        study.run_study(small.changed({"evaluation.episodes": 13}), tmp_path, ["otam"], (0,), progress=False)


def test_answers_of_another_clip_are_not_taken(small, tmp_path):
    """Its weights may change under the same name: so they did when held-out pairs left its captions."""
    folder = shutil.copytree(small.settings.model.backbone, tmp_path / "clip")
    asked = small.changed({"model.backbone": str(folder)})
    first = study._units(asked, tmp_path, ["otam"], [0], "val")[0].file
    assert study._units(asked, tmp_path, ["otam"], [0], "val")[0].file == first
    weights = safetensors.torch.load_file(folder / FOLDER_WEIGHTS)
    weights["logit_scale"] += 1
    safetensors.torch.save_file(weights, folder / FOLDER_WEIGHTS)
    assert study._units(asked, tmp_path, ["otam"], [0], "val")[0].file != first
    random = small.changed({"model.pretrained": "random"})
    assert len({study._units(random, tmp_path, ["otam"], [0], "val")[0].file for _ in range(2)}) == 1


def test_ten_of_the_named_are_trained():
    trained = [name for name in study.NAMED if METHODS[study.VARIANTS[name].method].trained]
    assert set(study.NAMED) <= set(study.VARIANTS) and len(trained) == 10


def test_a_study_that_was_shipped_is_whole():
    folder = in_project("data/study")
    shipped = study.load_study(folder)
    table = shipped.accuracy.set_index(["split", "method"])
    assert set(table.loc["val"].index) == set(study.VARIANTS) and set(table.loc["test"].index) == set(study.NAMED)
    assert (table.loc["test", "seeds"].groupby("method").max() >= 1).all() and (table["episodes"] >= 2000).all()
    test = shipped.accuracy[shipped.accuracy["split"] == "test"]
    pd.testing.assert_frame_equal(shipped.goals, study.goal_table(test))  # and nobody has mended them
    assert table["settings"].nunique() == 1 and table["settings"].iloc[0] == shipped.facts["settings"]
    assert re.fullmatch("[0-9a-f]{40}", shipped.facts["commit"]) and not shipped.facts["dirty"]
    lines = (folder / "study.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert "\n".join(table) in in_project("README.md").read_text(), "the README shows the study's own table"
    made = study.shown(shipped.accuracy, load_settings("tiny").evaluation.confidence)
    assert markdown(made).splitlines() == lines
