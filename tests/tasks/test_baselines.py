"""Frozen encoders under every matcher: the numbers of one evaluation, each asked once, a failing one no end of all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core import cli
from tmal_core.config import in_project
from tmal_core.data.sets.catalog import LEDGER, save_catalog
from tmal_core.errors import DataError, SettingsError, WeightsError
from tmal_core.evaluation import feature_bank
from tmal_core.evaluation.ledger import looks
from tmal_core.evaluation.scoring import evaluate
from tmal_core.experiment import Experiment
from tmal_core.tasks import baselines, encoder_names
from tmal_core.tasks.baselines import MATCHERS, ask_encoders, baseline_differences, baseline_table, run_baselines
from tmal_core.tasks.encoder_names import load_encoder, named_encoders
from tmal_core.viz import baseline_plots
from tmal_core.viz.figure_words import in_words
from tmal_core.viz.style import MATCHER_MARKS

FAMILIES = ["appearance", "order"]
TINY, RANDOM = "data/tiny_clip", "data/tiny_clip:random"


@pytest.fixture(scope="module")
def settings(small_settings, small_data, tmp_path_factory):
    """Of two families, four classes of each split."""
    root, table = tmp_path_factory.mktemp("two"), small_data.table[small_data.table["family"].isin(FAMILIES)]
    classes = table.drop_duplicates("class_name").sort_values(["group", "class_name"])
    kept = classes.groupby(["split", "family"]).head(4)["class_name"]
    save_catalog(root, table[table["class_name"].isin(kept)], small_data.root)
    return small_settings.replace({"data.root": str(root)})


@pytest.fixture(scope="module")
def asked(settings, tmp_path_factory):
    experiment = Experiment(settings, run_dir=tmp_path_factory.mktemp("asked"))
    return experiment, ask_encoders(experiment, [TINY, RANDOM], progress=False)


@pytest.fixture(scope="module")
def table(asked):
    return baseline_table(asked[1])


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """Tells of each split that is encoded."""
    real, seen = feature_bank._encoded, []

    def watched(model, reader, *more):
        seen.append(reader.catalog.table["split"].iat[0])
        return real(model, reader, *more)

    monkeypatch.setattr(feature_bank, "_encoded", watched)
    return seen


def test_a_row_per_encoder_matcher_and_episode_type(settings, table):
    types = table["episode_type"].unique()
    assert len(table) == 2 * len(MATCHERS) * len(types) and len(types) > 1
    assert {"mean", "otam", "otam_centred"} <= set(table["matcher"])
    assert (table["low_pct"] <= table["accuracy_pct"]).all() and (table["accuracy_pct"] <= table["high_pct"]).all()
    assert (table["chance_pct"] == 100 / table["way"]).all() and (table["left_out"] == "").all()
    assert table["crop_px"].eq(64).all() and table["resize_px"].eq(72).all() and table["width"].eq(128).all()
    assert table.groupby(["encoder", "weights"])["frozen"].nunique().eq(1).all() and table["frozen"].nunique() == 2
    assert table.groupby(["weights", "matcher"])["settings"].nunique().eq(1).all()
    assert table["settings"].nunique() == 2 * len(MATCHERS) and not table.isna().any().any()


@pytest.mark.parametrize(
    ("matcher", "method", "own"),
    [
        ("mean", "protonet", {}),
        ("otam", "otam", {"model.smoothing": 0.03, "model.smoothing_unit": "std"}),
        ("otam_centred", "otam", {"model.smoothing": 0.03, "model.smoothing_unit": "std", "model.centre": "clip"}),
    ],
)
def test_a_row_is_what_one_evaluation_finds(asked, table, tmp_path, matcher, method, own):
    plain = Experiment(asked[0].settings.replace(own), method_name=method, run_dir=tmp_path)
    rows = table[(table["weights"] == "folder") & (table["matcher"] == matcher)].set_index("episode_type")
    for episode_type, drawn in plain.episodes("val").items():
        found = evaluate(plain.model, plain.bank("val", progress=False), drawn)
        assert rows.loc[episode_type, "accuracy_pct"] == pytest.approx(found.accuracy_pct)


def test_rows_say_whether_names_have_a_score(settings, table, tmp_path):
    assert set(table["text_at_test"]) == {"none"}
    named = Experiment(settings.replace({"model.text_score": 0.5}), run_dir=tmp_path)
    assert set(baseline_table(ask_encoders(named, [TINY], progress=False))["text_at_test"]) == {"score"}


def test_every_row_has_a_mark():
    assert set(MATCHERS) == set(MATCHER_MARKS)


def test_each_split_is_encoded_once_for_all_matchers_and_never_again(settings, asked, tmp_path, encoded):
    experiment = Experiment(settings, run_dir=tmp_path)
    first = run_baselines(experiment, [TINY], "val", say=lambda line: None)
    assert sorted(encoded) == ["train", "val"]
    written = (tmp_path / "tables/baselines-val.csv").read_bytes()
    encoded.clear()
    shutil.rmtree(tmp_path / "features")
    again = run_baselines(Experiment(settings, run_dir=tmp_path), [TINY], "val", say=lambda line: None)
    assert encoded == [] and (tmp_path / "tables/baselines-val.csv").read_bytes() == written
    pd.testing.assert_frame_equal(first, again)
    changed = ask_encoders(experiment.changed({"evaluation.seed": 1}), [TINY], progress=False)
    assert sorted(encoded) == ["train", "val"], "other questions are asked"
    before, now = (found.given[0].outcomes["order"].episodes.query for found in (asked[1], changed))
    assert not np.array_equal(before, now)


def test_a_stopped_call_goes_on_at_the_row_where_it_stopped(settings, tmp_path, monkeypatch):
    real, rows = baselines._ask, []

    def stop_at_second(row, *more):
        rows.append(row.settings.model.centre)
        if len(rows) == 2:
            raise KeyboardInterrupt
        real(row, *more)

    monkeypatch.setattr(baselines, "_ask", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        ask_encoders(Experiment(settings, run_dir=tmp_path), [TINY], progress=False)
    ask_encoders(Experiment(settings, run_dir=tmp_path), [TINY], progress=False)
    assert len(rows) == len(MATCHERS) + 1


def test_a_random_tower_is_the_same_one_each_time_and_follows_the_seed(settings, table):
    def weights(seed: int) -> torch.Tensor:
        (encoder,) = named_encoders([RANDOM], "openai")
        return load_encoder(encoder, seed, torch.device("cpu")).visual.conv1.weight

    torch.rand(3)
    first = weights(0)
    assert torch.equal(first, weights(0)) and not torch.equal(first, weights(1))


def test_one_that_fails_is_left_out_with_its_reason_and_the_others_go_on(settings, tmp_path, monkeypatch):
    lines: list[str] = []
    experiment = Experiment(settings, run_dir=tmp_path)
    real = baselines.load_encoder

    def load(encoder, *more):
        if encoder.name == "RN50":
            raise torch.OutOfMemoryError
        return real(encoder, *more)

    monkeypatch.setattr(baselines, "load_encoder", load)
    names = ["ViT-B-32:openaj", "RN50", TINY, "no-such-model:random"]
    table = run_baselines(experiment, names, "val", lines.append)
    missing = table[table["left_out"] != ""].set_index("encoder")
    assert missing.index.tolist() == ["ViT-B-32", "RN50", "no-such-model"] and missing["accuracy_pct"].isna().all()
    assert "expected weights of ViT-B-32: openai, " in missing.loc["ViT-B-32", "left_out"]
    assert "got 'openaj'. Write ViT-B-32:openai, for example." in missing.loc["ViT-B-32", "left_out"]
    assert missing.loc["RN50", "left_out"].startswith("too little memory: lower evaluation.batch_videos")
    assert "open_clip model name or a model folder, got 'no-such-model'" in missing.loc["no-such-model", "left_out"]
    answered = table[table["left_out"] == ""]
    assert answered["encoder"].eq(TINY).all() and answered["matcher"].nunique() == len(MATCHERS)
    assert [line.split(": ")[0] for line in lines] == [
        "ViT-B-32:openaj", "RN50:folder", f"{TINY}:folder", "no-such-model:random"
    ]  # fmt: skip
    assert "left out, expected weights" in lines[0] and "answered under mean, " in lines[2]
    written = pd.read_csv(tmp_path / "tables/baselines-val.csv", dtype=str, keep_default_na=False)
    assert written["way"].isin(["2", "4", "5", ""]).all(), "whole numbers stay whole beside those that are missing"
    with pytest.raises(WeightsError, match=r"got none of ViT-B-32:openaj, RN50:folder, no-such-model:random\. Put"):
        baselines.require_all(table)
    baselines.require_all(answered)


def test_where_all_fail_there_is_a_table_and_no_picture(settings, tmp_path):
    table = run_baselines(Experiment(settings, run_dir=tmp_path), ["no-such-model"], "val", say=lambda line: None)
    assert len(table) == 1 and not (tmp_path / "figures").exists()
    gaps = pd.read_csv(tmp_path / "tables/baselines_differences-val.csv")
    assert gaps.empty and "p_holm" in gaps
    with pytest.raises(DataError, match="a table without rows"):
        baseline_plots.baselines(table)


def test_what_is_wrong_with_the_data_ends_all(settings, tmp_path):
    nowhere = settings.replace({"data.root": str(tmp_path / "nowhere")})
    with pytest.raises(DataError):
        ask_encoders(Experiment(nowhere, run_dir=tmp_path), [TINY], progress=False)
    with pytest.raises(SettingsError, match="an experiment with a run folder"):
        ask_encoders(Experiment(settings), [TINY], progress=False)


def test_every_row_on_test_is_one_look_and_reading_it_again_is_none(settings, small_data, tmp_path):
    save_catalog(tmp_path / "data", Experiment(settings).catalog.table, small_data.root)
    own = settings.replace({"data.root": str(tmp_path / "data")})
    ask_encoders(Experiment(own, run_dir=tmp_path / "run"), [TINY], "val", progress=False)
    assert not (tmp_path / "data" / LEDGER).exists()
    for _ in range(2):
        answers = ask_encoders(Experiment(own, run_dir=tmp_path / "run"), [TINY, RANDOM], "test", progress=False)
        found = looks(tmp_path / "data")
        assert found["settings"].tolist() == [one.experiment.hash for one in answers.given]
        assert len(found) == 2 * len(MATCHERS) and found["settings"].is_unique


def test_differences_are_paired_with_the_first_encoder_under_otam(asked, table):
    answers = asked[1]
    gaps = baseline_differences(answers).set_index(["first", "episode_type"])
    pct = table.assign(row=table["encoder"] + ":" + table["weights"] + " " + table["matcher"])
    pct = pct.set_index(["row", "episode_type"])["accuracy_pct"]
    assert set(gaps["second"]) == {f"{TINY}:folder otam"} and len(gaps) == len(table) - table["episode_type"].nunique()
    for (row, episode_type), points in gaps["points"].items():
        assert points == pytest.approx(pct[row, episode_type] - pct[f"{TINY}:folder otam", episode_type])
    assert (gaps["p_holm"] >= gaps["p"]).all() and (gaps["low"] <= gaps["points"]).all()
    last = answers.given[-1]
    others = {name: replace(outcome, positions="others") for name, outcome in last.outcomes.items()}
    moved = replace(answers, given=[*answers.given[:-1], replace(last, outcomes=others)])
    assert str(last) in set(gaps.index.get_level_values(0)) - set(baseline_differences(moved)["first"])


def test_pictures_have_the_encoder_s_size_unless_the_user_says_otherwise(settings, tmp_path):
    config = json.loads(in_project(f"{TINY}/open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = 32
    small = tmp_path / "small"
    small.mkdir()
    (small / "open_clip_config.json").write_text(json.dumps(config))
    experiment = Experiment(settings, run_dir=tmp_path / "run")
    answers = ask_encoders(experiment, [f"{small}:random", RANDOM], progress=False)
    sizes = [(s.crop, s.resize) for s in (one.experiment.settings.sampling for one in answers.given)]
    assert sizes == [(32, 36)] * len(MATCHERS) + [(64, 72)] * len(MATCHERS)
    assert {name for name in baseline_differences(answers)["first"] if RANDOM in name}, "the same frames: comparable"
    resized = baselines._rows(experiment.changed({"sampling.resize": 80}), answers.given[0].encoder, 32)["mean"]
    assert (resized.settings.sampling.crop, resized.settings.sampling.resize) == (32, 80)
    with pytest.raises(
        SettingsError, match=r"crops of 32 pixels, as .*small:random takes, got sampling.crop 64\. Leave"
    ):
        baselines._rows(experiment.changed({"sampling.crop": 64}), answers.given[0].encoder, 32)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([""], "expected encoders as NAME, NAME:WEIGHTS or NAME:random, got ''. Put commas between them"),
        ([TINY, " "], "got ' '"),
        ([":openai"], "got ':openai'"),
        (["ViT-B-32:"], "got 'ViT-B-32:'"),
        ([], "expected encoders as NAME, NAME:WEIGHTS or NAME:random, got none. Name at least one."),
        ([TINY, f"{TINY}:folder"], f"expected each encoder once, got {TINY}:folder twice. Leave one of them out."),
    ],
)
def test_names_that_cannot_be_read(names, words):
    with pytest.raises(SettingsError) as error:
        named_encoders(names, "openai")
    assert words in str(error.value)


def test_names_without_weights_take_the_folder_s_or_the_preset_s(tmp_path):
    found = named_encoders([TINY, " ViT-B-32 ", "ViT-B-16:a/file.pt", str(tmp_path)], "openai")
    assert [one.weights for one in found] == ["folder", "openai", "a/file.pt", "openai"]


def test_weights_that_nobody_published(monkeypatch):
    monkeypatch.setattr(encoder_names.open_clip, "list_pretrained_tags_by_model", lambda name: [])
    (encoder,) = named_encoders(["ViT-B-32"], "openai")
    words = "expected weights of ViT-B-32: open_clip knows none; a file, or random, got 'openai'. Write ViT-B-32:random"
    with pytest.raises(WeightsError, match=words):
        load_encoder(encoder, 0, torch.device("cpu"))


def test_the_picture_has_every_row_at_its_place(table):
    figure = baseline_plots.baselines(pd.concat([table, pd.DataFrame([{"encoder": "x", "left_out": "why"}])]))
    types, rows = table["episode_type"].unique(), table.drop_duplicates(["weights", "matcher"])
    assert len(figure.axes) == len(types)
    for panel, episode_type in zip(figure.axes, types, strict=True):
        points = np.concatenate([found.get_offsets() for found in panel.collections])
        wanted = table.loc[table["episode_type"] == episode_type, "accuracy_pct"]
        np.testing.assert_allclose(points, np.stack([wanted, np.arange(len(rows))], 1))
        shapes = [len(found.get_paths()[0].vertices) for found in panel.collections]
        assert shapes[: len(MATCHERS)] == shapes[len(MATCHERS) :], "a matcher has one mark"
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == f"{TINY}:folder, frames averaged" and labels[-1] == f"{RANDOM}, OTAM on centred frames"
    words = in_words(figure)
    assert words.startswith("Accuracy of frozen encoders under every matcher. A mark is the accuracy of one")
    assert f"{labels[-1]} {table['accuracy_pct'].iloc[-1]:.1f}" in words


def command(settings, out, *more: str) -> int:
    keys = ["data.families", "data.root", "episodes.way", "evaluation.episodes", "evaluation.bootstrap"]
    flat = settings.to_flat()
    sets = [part for key in keys for part in ("--set", f"{key}={flat[key]}")]
    return cli.main(["baselines", *sets, "--out", str(out), *more])


def test_the_command(settings, tmp_path, capsys):
    assert command(settings, tmp_path, "--encoders", f"{TINY},no-such-model") == 1
    out, err = capsys.readouterr()
    assert f"{TINY}:folder: answered under mean" in out and "no-such-model:folder: left out, expected" in out
    assert "OTAM on centred frames" in out and f"every digit: {tmp_path / 'tables' / 'baselines-val.csv'}" in out
    assert "tmal: error: expected answers of every encoder, got none of no-such-model:folder. Put right" in err
    assert (tmp_path / "figures/baselines-val.png").exists()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"
    assert command(settings, tmp_path, "--encoders", TINY) == 0
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.centre=clip", "settings that the rows of baselines do not set themselves, got model.centre=clip"),
        ("methods.otam.model.smoothing=0.5", "got methods.otam.model.smoothing=0.5. Leave it out: --encoders names"),
        ("model.backbone=ViT-B-32", "got model.backbone=ViT-B-32"),
        ("model.bottleneck=32", "expected settings that change something, got model.bottleneck=32"),
        ("model.adapters=ffn", "got model.adapters=ffn, but otam has none"),
        ("methods.otam.episodes.shot=2", "expected the same episodes for all methods"),
    ],
)
def test_settings_that_are_not_the_user_s_here(settings, tmp_path, capsys, key, words):
    assert command(settings, tmp_path / "run", "--set", key, "--encoders", TINY) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "run").exists()
