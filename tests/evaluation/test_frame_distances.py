"""The unit of OTAM's smoothing: one number of the training split, kept with the run, of no episode."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.evaluation import frame_distances
from tmal_core.evaluation.frame_distances import frame_distance_std
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.experiment import Experiment, of_checkpoint
from tmal_core.matching import cosine_distance
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.support_gate import spread_ratio
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.train import train_method

IN_STD = {"model.smoothing_unit": "std", "model.smoothing": 2.0}


def test_frames_of_one_clip_are_not_compared_with_each_other(monkeypatch):
    monkeypatch.setattr(frame_distances, "_AT_ONCE", 3)  # of 7 clips: a part of one at the end
    frames = torch.randn(7, 2, 5)
    distances = cosine_distance(frames, frames).double()
    pairs = [distances[one, other] for one in range(7) for other in range(7) if one != other]
    expected = torch.stack(pairs).std(correction=0).item()
    assert frame_distance_std(frames) == pytest.approx(expected, rel=1e-6)  # float32, summed in another order


@pytest.mark.parametrize("centre", ["none", "clip", "both", "gate"])
def test_frozen_rows_measure_the_training_split_once_and_keep_it(few_settings, tmp_path, monkeypatch, centre):
    settings = few_settings.replace({**IN_STD, "model.centre": centre})
    one = Experiment(settings, method_name="otam", run_dir=tmp_path)
    kept = tmp_path / "frame_distances-otam.json"
    head, record = one.model.head, json.loads(kept.read_text())
    plain = Experiment(few_settings, method_name="otam", run_dir=tmp_path / "plain").bank("train", progress=False)
    assert record["clips"] == len(plain.query) == len(one.split("train"))
    wanted = frame_distance_std(head.modulate(plain.query))
    assert head.frame_std == record["std"] == pytest.approx(wanted, rel=1e-5) and 0.01 < wanted < 0.5
    kept.write_text(json.dumps({**record, "std": 0.125}))
    assert Experiment(settings, method_name="otam", run_dir=tmp_path).model.head.frame_std == 0.125, (
        "read, not measured"
    )
    other = settings.replace({"model.centre": "clip" if centre == "none" else "none"})
    anew = Experiment(other, method_name="otam", run_dir=tmp_path).model.head.frame_std
    assert anew not in (0.125, record["std"]), "of other features it is another number"
    with pytest.raises(SettingsError, match="with a run folder"):
        _ = Experiment(settings, method_name="otam").model


def test_a_gate_takes_the_training_split_s_ratio_for_usual_and_trained_weights_keep_theirs(few_settings, tmp_path):
    settings = few_settings.replace({"model.centre": "gate", "training.episodes": 4, "training.validate_every": 4})
    one = Experiment(settings, method_name="otam", run_dir=tmp_path / "frozen")
    head, record = one.model.head, json.loads((tmp_path / "frozen" / "frame_distances-otam.json").read_text())
    tokens = one.bank("train", progress=False).query
    wanted = spread_ratio(normalize(tokens, dim=-1)).item()
    assert record["usual"] == pytest.approx(wanted, abs=1e-2) and head.frame_std == 1.0
    assert head.gate.usual.item() == pytest.approx(record["usual"], rel=1e-6)
    experiment = Experiment(settings, method_name="st_adapter", run_dir=tmp_path / "run")
    with Run.create(experiment.run_dir, experiment.settings, "train") as run:
        trained = train_method(experiment, run, progress=False)[0].head.gate
    assert 0 < abs(trained.usual.item() - record["usual"]) < 0.1, "learned from there on"
    used = of_checkpoint(tmp_path / "run", run_dir=tmp_path / "b").model.head.gate
    assert torch.equal(used.usual, trained.usual) and torch.equal(used.log_sharpness, trained.log_sharpness)


def test_of_many_clips_some_are_measured(few_settings, tmp_path, monkeypatch):
    monkeypatch.setattr("tmal_core.experiment.MOST_CLIPS", 9)
    experiment = Experiment(few_settings.replace(IN_STD), method_name="otam", run_dir=tmp_path)
    assert experiment.model.head.frame_std > 0
    assert json.loads((tmp_path / "frame_distances-otam.json").read_text())["clips"] == 9


def test_a_query_s_logits_depend_neither_on_other_queries_nor_on_other_episodes(few_settings, tmp_path):
    experiment = Experiment(few_settings.replace(IN_STD), method_name="otam", run_dir=tmp_path)
    bank, drawn = experiment.bank("val", progress=False), experiment.episodes("val", 6)["order"]
    whole = evaluate(experiment.model, bank, drawn).logits
    for index in range(6):
        alone = Episodes(drawn.name, drawn.support[[index]], drawn.query[[index]], drawn.seed)
        np.testing.assert_allclose(evaluate(experiment.model, bank, alone).logits[0], whole[index], atol=1e-5)
        asked, support = (bank.query[torch.from_numpy(rows[index].ravel())] for rows in (drawn.query, drawn.support))
        labels = torch.arange(drawn.way).repeat_interleave(drawn.support.shape[2])
        for query, wanted in zip(asked, whole[index], strict=True):
            found = experiment.model.head.episode_logits(query[None], support, labels)[0].detach()
            np.testing.assert_allclose(found / experiment.model.head.log_scale.exp().item(), wanted, atol=1e-5)


def test_trained_rows_keep_the_number_of_their_training(few_settings, tmp_path, monkeypatch):
    """Of the untrained model, on the data it was trained on; evaluation elsewhere takes the checkpoint's."""
    settings = few_settings.replace({**IN_STD, "training.episodes": 4, "training.validate_every": 4})
    experiment = Experiment(settings, method_name="st_adapter", run_dir=tmp_path / "run")
    with Run.create(experiment.run_dir, experiment.settings, "train") as run:
        model, _ = train_method(experiment, run, progress=False)
    frozen = Experiment(settings, method_name="otam", run_dir=tmp_path / "frozen").model.head.frame_std
    assert model.head.frame_std == run.summary["st_adapter.frame_std"] == pytest.approx(frozen, rel=1e-5)

    def read(*_):
        pytest.fail("measured again")

    monkeypatch.setattr(frame_distances, "encode", read)
    for change in ({}, {"model.smoothing": 1.0}):
        used = of_checkpoint(tmp_path / "run", overrides=change, run_dir=tmp_path / "b").model.head
        assert used.frame_std == model.head.frame_std and used.options == {
            "smoothing": change.get("model.smoothing", 2.0)
        }
    absolute = of_checkpoint(tmp_path / "run", overrides={"model.smoothing_unit": "absolute"}, run_dir=tmp_path / "c")
    assert absolute.model.head.frame_std == 1.0


def test_weights_trained_on_absolute_distances_have_no_such_number(few_settings, tmp_path):
    settings = few_settings.replace({"training.episodes": 4, "training.validate_every": 4})
    experiment = Experiment(settings, method_name="st_adapter", run_dir=tmp_path / "run")
    with Run.create(experiment.run_dir, experiment.settings, "train") as run:
        train_method(experiment, run, progress=False)
    assert "st_adapter.frame_std" not in run.summary
    words = (
        r"trained with model\.smoothing_unit std, got .*best\.pt of absolute\. Set model\.smoothing_unit to absolute"
    )
    with pytest.raises(WeightsError, match=words):
        _ = of_checkpoint(tmp_path / "run", overrides=IN_STD, run_dir=tmp_path / "b").model


def test_only_otam_counts_in_deviations(small_settings):
    for name, words in {"protonet": "protonet has no OTAM", "clip_fsar": "clip_fsar has absolute"}.items():
        with pytest.raises(SettingsError, match=words):
            Experiment.of("tiny", {"model.smoothing_unit": "std"}, name).of_methods([name])
    averaged = small_settings.replace({**IN_STD, "model.method": "tmal", "model.matching": "mean"})
    assert isinstance(Experiment(averaged).build(), FewShotModel) and not Experiment(averaged).build().head.in_std


def test_rows_are_spread_over_the_catalogue(small_data):
    few = small_data.spread(5)
    assert isinstance(few, Catalog) and few.root == small_data.root and len(few) == 5
    assert few.table["video"].iloc[[0, -1]].tolist() == small_data.table["video"].iloc[[0, -1]].tolist()
