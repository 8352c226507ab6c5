"""One experiment: settings resolved once, nothing that a user set dropped in silence, each thing made once."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
import torch

from tmal_core import cli
from tmal_core.config import MATCHERS, ModelSettings, TrainingSettings, load_settings
from tmal_core.data.sets import catalog as catalog_module
from tmal_core.data.sets.catalog import save_catalog
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.experiment import Experiment, of_checkpoint, require_episodes, trained_in_words
from tmal_core.models.methods import METHODS
from tmal_core.runtime.run_folders import Run
from tmal_core.suite.notebook_runs import METHODS as OF_THE_SUITE
from tmal_core.tasks.evaluate import difference_table, evaluate_methods, result_table, way_shot_table
from tmal_core.tasks.train import train_method

FORCED = [(name, switch) for name, method in METHODS.items() for switch in method.fixed]
FROZEN = ["protonet", "otam"]


def other_value(switch: str, value: object) -> object:
    """Another value that the switch may have."""
    choices = MATCHERS if switch == "matching" else get_args(ModelSettings.model_fields[switch].annotation)
    choices = choices or (True, False)
    return next(choice for choice in choices if choice != value)


@pytest.fixture(scope="module")
def plain(small_settings, small_data, small_flow, tmp_path_factory):
    """Settings of four classes of each split, of one family whose clips allow two shots."""
    root, table = tmp_path_factory.mktemp("plain"), small_data.table[small_data.table["family"] == "appearance"]
    names = table.drop_duplicates("class_name").groupby("split")["class_name"].head(4)
    save_catalog(root, table[table["class_name"].isin(names)], small_data.root)
    (root / "flow").symlink_to(small_data.root / "flow")
    short = {"training.episodes": 2, "training.validate_every": 2, "training.val_episodes": 5}
    return small_settings.replace({"data.root": str(root), "evaluation.episodes": 10, **short})


@pytest.fixture(scope="module")
def trained(plain, tmp_path_factory):
    """Run folder of a trained TMAL."""
    experiment = Experiment(plain, method_name="tmal", run_dir=tmp_path_factory.mktemp("trained") / "run")
    with Run.create(experiment.run_dir, experiment.settings, "train", experiment.set_by_user) as run:
        train_method(experiment, run, progress=False)
    return run.path


# settings


def test_defaults_then_preset_then_the_method_s_block_then_the_user(tmp_path):
    preset = tmp_path / "mine.yaml"
    own = "{training.episodes: 40, training.warmup: 5}"
    preset.write_text(f"training: {{episodes: 100, warmup: 3, clip_norm: 2}}\nmethods:\n  tmal: {own}\n")
    tmal, adapters = (Experiment.of(preset, {"training.warmup": 7}, name).settings for name in ("tmal", "st_adapter"))
    assert (tmal.training.episodes, adapters.training.episodes) == (40, 100)
    assert tmal.training.warmup == adapters.training.warmup == 7
    assert tmal.training.clip_norm == 2 and tmal.training.patience == TrainingSettings().patience
    assert tmal.model.method == "tmal" and not tmal.methods


def test_a_scheme_whose_frames_have_no_flow_is_refused_for_a_method_that_reads_it():
    asked = {"sampling.scheme": "reference_segments", "sampling.min_gap": 0}
    words = (
        r"grid all for tmal, which reads flow, got sampling\.scheme reference_segments with sampling\.grid 32\. Change"
    )
    with pytest.raises(SettingsError, match=words):
        Experiment.of("tiny", asked, "tmal")
    assert Experiment.of("tiny", {**asked, "sampling.grid": "all"}, "tmal").settings.model.reads_flow
    for name in ("otam", "st_adapter", "clip_fsar"):
        assert Experiment.of("tiny", asked, name).settings.sampling.scheme == "reference_segments"
    for encoder in ("none", "difference"):
        assert Experiment.of("tiny", {**asked, "model.flow_encoder": encoder}, "tmal")


def test_what_a_scheme_has_no_use_for_is_refused():
    asked = {"sampling.scheme": "reference_stride"}
    with pytest.raises(
        SettingsError, match=r"no sampling\.min_gap with sampling\.scheme reference_stride, got 4\. Set it"
    ):
        Experiment.of("tiny", asked, "otam")
    asked |= {"sampling.min_gap": 0, "evaluation.views": 3}
    with pytest.raises(
        SettingsError, match=r"evaluation\.views 1 with sampling\.scheme reference_stride, got 3\. Leave"
    ):
        Experiment.of("tiny", asked, "otam")
    assert Experiment.of("tiny", {**asked, "sampling.scheme": "reference_segments"}, "otam")


def test_tuples_of_more_frames_than_a_clip_has_are_refused_where_they_are_read():
    asked = {"sampling.num_frames": 2}
    words = r"model\.tuples of up to sampling\.num_frames 2 frames, got 2, 3\. Leave the longer ones out"
    with pytest.raises(SettingsError, match=words):
        Experiment.of("tiny", asked, "trx")
    assert Experiment.of("tiny", {**asked, "model.tuples": [2]}, "trx").settings.model.tuples == (2,)
    assert Experiment.of("tiny", asked, "otam")


def test_a_setting_for_one_method_holds_for_it_alone_and_goes_before_one_for_all():
    asked = {"methods.tmal.model.adapters": "ffn", "model.adapters": "attention"}
    found = Experiment.of("tiny", asked).of_methods(["tmal", "st_adapter"])
    assert [one.settings.model.adapters for one in found.values()] == ["ffn", "attention"]
    alone = Experiment.of("tiny", {"methods.tmal.model.adapters": "ffn"}).of_methods(METHODS)
    assert alone["tmal"].settings.model.adapters == "ffn" and alone["otam"].settings.model.adapters == "none"
    assert alone["st_adapter"].settings == Experiment.of("tiny", method="st_adapter").settings
    section = Experiment.of("tiny", {"methods": {"tmal": {"model": {"adapters": "ffn"}}}}, "tmal")
    assert section.settings == alone["tmal"].settings, "written as a section it means the same"


def test_what_ran_is_what_is_recorded(tmp_path):
    asked = {"methods.tmal.model.adapters": "ffn", "training.episodes": 7}
    experiment = Experiment.of("tiny", asked, "tmal", tmp_path / "run")
    Run.create(experiment.run_dir, experiment.settings, "train", experiment.set_by_user)
    run, again = Run.open(tmp_path / "run"), Experiment.of_run(tmp_path / "run")
    assert run.record["set_by_user"] == asked and run.record["settings"]["model"]["adapters"] == "ffn"
    assert run.settings_hash == experiment.hash == again.hash
    assert (again.name, again.settings, again.set_by_user) == ("tmal", experiment.settings, asked)


@pytest.mark.parametrize(("name", "switch"), FORCED)
def test_a_switch_that_a_method_fixes_is_refused_or_the_same(name, switch):
    fixed = METHODS[name].fixed[switch]
    key, wrong = f"model.{switch}", other_value(switch, fixed)
    words = rf"not fix otherwise, got {key}={wrong}, but {name} has {fixed}\. Leave it out"
    for asked in ({key: wrong}, {f"methods.{name}.{key}": wrong}, {"model": {switch: wrong}}):
        with pytest.raises(SettingsError, match=words):
            Experiment.of("tiny", asked, method=name)
    same = Experiment.of("tiny", {key: fixed}, method=name)
    assert same.settings == Experiment.of("tiny", method=name).settings
    assert getattr(same.settings.model, switch) == fixed


@pytest.mark.parametrize("switch", sorted({switch for _, switch in FORCED}))
def test_several_methods_are_all_named(switch):
    values = {name: method.fixed[switch] for name, method in METHODS.items() if switch in method.fixed}
    wrong = other_value(switch, next(iter(values.values())))
    experiment = Experiment.of("tiny", {f"model.{switch}": wrong}, method="tmal")
    assert getattr(experiment.settings.model, switch) == wrong
    with pytest.raises(SettingsError) as caught:
        experiment.of_methods(METHODS)
    concerned = ", ".join(f"{name} has {value}" for name, value in values.items() if value != wrong)
    assert caught.value.got == f"model.{switch}={wrong}, but {concerned}"
    assert f"--set methods.tmal.model.{switch}={wrong}" in caught.value.remedy
    free = [name for name in METHODS if values.get(name, wrong) == wrong]
    assert {getattr(one.settings.model, switch) for one in experiment.of_methods(free).values()} == {wrong}


def test_a_preset_s_block_against_what_the_method_fixes_is_refused(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("methods:\n  otam: {model.adapters: both}\n")
    with pytest.raises(SettingsError, match=r"got model\.adapters=both, but otam has none"):
        Experiment.of(preset, method="otam")
    with pytest.raises(SettingsError, match=r"got model\.adapters=both, but otam has none"):
        Experiment.of(preset, method="tmal").of_methods(["tmal", "otam"])
    preset.write_text("model: {adapters: both}\n")
    assert Experiment.of(preset, method="otam").settings.model.adapters == "none", "said of all methods, not of otam"


def test_settings_for_methods_that_are_none(tmp_path):
    with pytest.raises(SettingsError, match=r"a method among zero_shot, .*, got 'tmla'"):
        Experiment.of("tiny", {"methods.tmla.model.adapters": "ffn"})
    with pytest.raises(SettingsError, match=r"got model.method=otam, but tmal has tmal\. Leave it out\.$"):
        Experiment.of("tiny", {"methods.tmal.model.method": "otam"}, method="tmal")


@pytest.mark.parametrize(
    ("method", "pair", "fixed"),
    [("st_adapter", "model.matching=bimhm", "otam"), ("otam", "model.adapters=both", "none")],
)
def test_train_and_suite_refuse_in_one_line_before_they_start(method, pair, fixed, tmp_path, capsys):
    out, (switch, wrong) = tmp_path / "run", pair.removeprefix("model.").split("=")
    concerned = [name for name in OF_THE_SUITE if METHODS[name].fixed.get(switch, wrong) != wrong]
    for command, names in ((["train", "--set", f"model.method={method}"], [method]), (["suite"], concerned)):
        assert cli.main([*command, "--set", pair, "--out", str(out)]) == 1
        shown, err = capsys.readouterr()
        assert not shown and err.count("\n") == 1 and not out.exists()
        assert err.startswith("tmal: error: expected settings that the method does not fix otherwise, got ")
        assert f"{pair}, but " in err and f"{method} has {fixed}" in err and f"--set methods.tmal.{pair}" in err
        assert [name for name in METHODS if f" {name} has " in err] == names


def test_a_sentence_around_names_is_refused_where_others_take_its_place(tmp_path):
    both = {"model.text_score": 0.5, "model.prompt": "a {}", "model.prompts": ["the {}", "one {}"]}
    words = r"got model\.prompt=a \{\}, but otam has no use for model\.prompt beside model\.prompts with these settings"
    with pytest.raises(SettingsError, match=words):
        Experiment.of("tiny", both).of_methods(["otam"])
    described = {"model.text_score": 0.5, "model.prompts": ["a {}"], "model.descriptions": str(tmp_path / "x.json")}
    with pytest.raises(SettingsError, match=r"no use for model\.prompts beside model\.descriptions"):
        Experiment.of("tiny", described).of_methods(["otam"])
    del described["model.prompts"]
    assert Experiment.of("tiny", described).of_methods(["otam"])
    with pytest.raises(
        SettingsError, match=r"got model\.descriptions=.*x\.json, but otam has no class names with these"
    ):
        Experiment.of("tiny", {**described, "model.text_score": 0.0}).of_methods(["otam"])


def test_weights_belong_to_what_was_said_of_the_classes(plain, tmp_path):
    texts, origins = tmp_path / "texts.json", []
    for word in ("one", "two"):
        texts.write_text(json.dumps({"a": [word]}))
        origins.append(Experiment(plain.replace({"model.descriptions": str(texts)}), method_name="tmal").origin.digest)
    assert len({*origins, Experiment(plain, method_name="tmal").origin.digest}) == 3


# what is made, and when


def test_the_catalogue_is_read_once_per_process(plain, tmp_path, monkeypatch):
    read, files = catalog_module.pq.read_table, []
    monkeypatch.setattr(catalog_module.pq, "read_table", lambda file: files.append(Path(file)) or read(file))
    catalog_module._read.cache_clear()
    experiments = Experiment(plain, run_dir=tmp_path).of_methods(FROZEN)
    outcomes = evaluate_methods(experiments, "val", progress=False)
    assert len(result_table(experiments, outcomes, "val")) == 2
    assert len(difference_table(experiments, outcomes, "val", [("otam", "protonet")])) == 1
    assert len(way_shot_table(experiments, "val", [2], [1, 2], 5, progress=False)) == 4
    assert experiments["otam"].bank("val") is experiments["otam"].bank("val")
    experiments["otam"].bank("test", progress=False)
    assert files == [plain.data.root / "catalog.parquet"]


def test_an_experiment_travels_with_what_it_was_made_of(plain, trained):
    one = of_checkpoint(trained, overrides={"episodes.shot": 2})
    other = Experiment(plain, {"training.episodes": 2}, "otam", trained)
    assert one.model and other.split("val")
    for experiment in (one, other):
        again = pickle.loads(pickle.dumps(experiment))
        for name in ("common", "set_by_user", "name", "settings", "run_dir", "checkpoint", "hash"):
            assert getattr(again, name) == getattr(experiment, name), name
        assert "model" not in vars(again), "what it made stays behind"


def test_only_an_experiment_with_a_folder_keeps_anything(plain):
    with pytest.raises(SettingsError, match=r"an experiment with a run folder, got none\. Pass run_dir"):
        Experiment(plain, method_name="otam").bank("val")


def test_a_schedule_s_settings_are_refused_where_no_method_is_trained_on_it():
    words = r"change something, got training\.warmup=5, but the schedule of clip_fsar is steps; the schedule of tmal is"
    asked = Experiment.of("hmdb51", {"training.warmup": 5})
    with pytest.raises(SettingsError, match=words):
        asked.of_methods(["clip_fsar", "tmal"])
    cosine = {"methods.tmal.training.schedule": "cosine", "training.warmup": 5}
    found = Experiment.of("hmdb51", cosine).of_methods(["clip_fsar", "tmal"])
    assert found["tmal"].settings.training.warmup == 5
    for key in ("training.rate_drops", "methods.tmal.training.rate_drops"):
        with pytest.raises(SettingsError, match=rf"got {key}=\[\], but the schedule of tmal is cosine\. Leave it out"):
            Experiment.of("tiny", {key: []}).of_methods(["tmal"])


@pytest.mark.parametrize(
    "method, asked, why",
    [
        ("tmal", {"training.backbone_learning_rate": 1e-6}, "tmal leaves the image tower frozen"),
        (
            "clip_fsar",
            {"training.learning_rate": 0.01},
            "clip_fsar tunes the whole image tower, at backbone_learning_rate",
        ),
        ("st_adapter", {"training.text_weight": 0.5}, "st_adapter reads no class names"),
    ],
)
def test_a_rate_or_a_loss_that_the_method_does_not_have_is_refused(method, asked, why):
    with pytest.raises(SettingsError, match=f"settings that change something, got .*, but {why}\\. Leave it out"):
        Experiment.of("tiny", asked).of_methods([method])
    assert Experiment.of("tiny", asked).of_methods(["tmal", "clip_fsar", "st_adapter"]), "one of them has it"


def test_training_has_a_shot_of_its_own(plain, trained, tmp_path):
    asked = {"data.root": str(plain.data.root), "episodes.way": 2, "episodes.queries_train": 1}
    both = {shot: Experiment.of("tiny", {**asked, "episodes.shot": 2, "training.shot": shot}) for shot in (1, None)}
    clips = {shot: one.training_episodes(with_flow=False)[0].num_support for shot, one in both.items()}
    assert clips == {1: 2, None: 4}
    assert {one.samplers("val")["appearance"][0].support.shape[1] for one in both.values()} == {2}
    require_episodes(both[1])
    experiment = of_checkpoint(trained, run_dir=tmp_path)
    known = {"episodes.shot": 5, "training.shot": 1, "training.source": "a paper's"}
    experiment.__dict__["trained_with"] = {**experiment.trained_with, **known}
    words = trained_in_words(experiment)
    assert "2-way 1-shot, seed 0" in words and words.endswith("best.pt; recipe: a paper's")


# checkpoints


@pytest.mark.parametrize(
    "change",
    [
        {"episodes.way": 3},
        {"episodes.shot": 2},
        {"model.matching": "diagonal"},
        {"model.smoothing": 0.1},
        {"model.text_score": 0.25},
        {"evaluation.views": 2},
        {"compute.num_workers": 1},
        {"seed": 5, "training.learning_rate": 0.5},
    ],
    ids=str,
)
def test_what_evaluation_can_vary_a_checkpoint_may_be_used_with(trained, tmp_path, change):
    kept = torch.load(trained / "checkpoints" / "tmal" / "best.pt", weights_only=True)["tunable"]
    experiment = of_checkpoint(trained, overrides=change, run_dir=tmp_path)
    flat = experiment.settings.to_flat()
    assert {key: flat[key] for key in change} == change
    assert all(torch.equal(tensor, kept[name]) for name, tensor in experiment.model.tunable().items())
    if "compute.num_workers" not in change:  # starting one takes longer than all the others together
        asked = {key: value for key, value in change.items() if key.startswith("model.")}
        told = "".join(f"; asked with {key}={value}, trained with" for key, value in asked.items())
        assert told in trained_in_words(experiment) and trained_in_words(experiment).count("asked with") == len(asked)
        outcomes = evaluate_methods({"tmal": experiment}, "val", progress=False)
        table = result_table({"tmal": experiment}, outcomes, "val")
        origin = table[["trained_on", "trained_shot", "trained_seed"]].drop_duplicates()
        assert origin.to_numpy().tolist() == [["diagnostic", 1, 0]]
        shown = table[["way", "shot"]].drop_duplicates().to_numpy().tolist()
        assert shown == [[change.get("episodes.way", 2), change.get("episodes.shot", 1)]]


def test_data_and_run_may_move(plain, trained, tmp_path):
    moved = Path(shutil.copytree(plain.data.root, tmp_path / "data", symlinks=True))
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = of_checkpoint(trained, run_dir=tmp_path / "a")
    after = of_checkpoint(run, overrides={"data.root": str(moved)}, run_dir=tmp_path / "b")
    assert after.checkpoint == run / "checkpoints" / "tmal" / "best.pt" and after.hash == before.hash
    found = [evaluate_methods({"tmal": one}, "val", progress=False)["tmal"]["appearance"] for one in (before, after)]
    assert (found[0].correct == found[1].correct).all()


def test_a_checkpoint_under_another_preset_keeps_its_parts(plain, trained, tmp_path):
    other = {"data.root": str(plain.data.root), "sampling.resize": 72, "sampling.crop": 64}
    experiment = of_checkpoint(trained, "ucf101", other, run_dir=tmp_path)
    model = Experiment.of_run(trained).settings.model
    assert experiment.settings.model == model and experiment.settings.data.name == "ucf101"
    assert experiment.settings.evaluation.episodes == load_settings("ucf101").evaluation.episodes
    assert experiment.trained_with["data.name"] == "diagnostic" and experiment.model


def test_another_backbone_and_other_parts_are_refused(trained):
    for change in ({"model.adapters": "ffn"}, {"model.fusion_width": 32}, {"model.flow_encoder": "none"}):
        with pytest.raises(
            WeightsError, match=r"tunable tensors, got .*best.pt with .*the method and parts that it was"
        ):
            _ = of_checkpoint(trained, overrides=change).model
    words = r"a checkpoint on the frozen weights [0-9a-f]{12}, got .*best.pt on [0-9a-f]{12}\. Set model.backbone and"
    with pytest.raises(WeightsError, match=words):
        _ = of_checkpoint(trained, overrides={"model.pretrained": "random"}).model


def test_several_methods_of_a_checkpoint_keep_its_weights(trained, tmp_path):
    found = of_checkpoint(trained, run_dir=tmp_path).of_methods(["tmal", "otam"])
    assert found["tmal"].checkpoint == trained / "checkpoints" / "tmal" / "best.pt"
    assert found["otam"].checkpoint is None and found["otam"].model and not found["otam"].trained_with


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_evaluate_reads_a_run_and_writes_elsewhere(trained, tmp_path, capsys):
    before, out = files_of(trained), tmp_path / "b"
    command = ["evaluate", "--checkpoint", str(trained), "--set", "episodes.shot=2", "--out"]
    assert cli.main([*command, str(out)]) == 0
    shown = capsys.readouterr().out
    best = trained / "checkpoints" / "tmal" / "best.pt"
    assert f"tmal: trained on diagnostic, 2-way 1-shot, seed 0: {best}\n" in shown
    table = pd.read_csv(out / "tables" / "evaluate-val.csv")
    assert table[["method", "shot", "trained_on", "trained_shot", "trained_seed"]].to_numpy().tolist() == [
        ["tmal", 2, "diagnostic", 1, 0]
    ]
    assert Run.open(out).set_by_user == {"episodes.shot": 2} and Run.open(out).settings.episodes.shot == 2
    for place in (trained, trained / "tables", trained / "deep" / "er"):
        assert cli.main([*command, str(place)]) == 1
        err = capsys.readouterr().err
        assert f"expected a folder other than the run that is read, got {place}. Name another" in err
        assert err.count("\n") == 1
    command[2] = str(best)
    assert cli.main([*command, str(trained)]) == 1
    assert files_of(trained) == before and not (trained / "deep").exists()


# seeds


def test_three_seeds_apart(few_settings, tmp_path):
    """Of training, of evaluation's episodes, and of the resamples behind an interval."""

    def asked(**change: int):
        changes = {key.replace("__", "."): value for key, value in change.items()}
        one = {"otam": Experiment(few_settings.replace(changes), method_name="otam", run_dir=tmp_path)}
        outcomes = evaluate_methods(one, "val", progress=False)
        table = result_table(one, outcomes, "val").drop(columns=["settings", "seed"])
        return one["otam"].training_episodes()[0].classes.tolist(), outcomes["otam"]["order"], table

    _, first, table = asked()
    trainings = {tuple(asked(seed=seed)[0]) for seed in range(5)}
    assert len(trainings) > 1
    _, same, trained_otherwise = asked(seed=1)
    assert (same.episodes.query == first.episodes.query).all() and trained_otherwise.equals(table)
    _, other, _ = asked(evaluation__seed=1)
    assert (other.episodes.query != first.episodes.query).any()
    _, same, resampled = asked(evaluation__resampling_seed=1)
    assert (same.episodes.query == first.episodes.query).all()
    interval = ["low_pct", "high_pct"]
    assert resampled.drop(columns=interval).equals(table.drop(columns=interval))
    assert not resampled[interval].equals(table[interval])


@pytest.mark.parametrize(
    ("key", "value"), [("episodes.shot", 5), ("evaluation.episodes", 7), ("evaluation.seed", 1), ("data.seed", 3)]
)
def test_methods_that_are_compared_answer_the_same_episodes(key, value):
    mine = Experiment.of("tiny", {f"methods.protonet.{key}": value}, "otam")
    with pytest.raises(
        SettingsError, match=rf"the same episodes for all methods, got {key} .* of otam and {value} of p"
    ):
        mine.of_methods(["otam", "protonet"])
    assert mine.of_methods(["otam", "zero_shot"])
