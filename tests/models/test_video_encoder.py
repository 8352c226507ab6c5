"""Video transformers as frozen encoders: the tokens of transformers' own models, pooled by time step, or a refusal."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
)

from tmal_core.analysis.inspection import Asked, Question, banked, matched_features
from tmal_core.config import load_settings
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.evaluation.naming import use_untrained
from tmal_core.evaluation.scoring import evaluate
from tmal_core.experiment import Experiment
from tmal_core.models.backbone import load_backbone, picture_statistics, published_weights
from tmal_core.models.methods import METHODS, build
from tmal_core.models.summary import frozen_hash
from tmal_core.models.video_towers import IMAGENET, VIDEO_TOWERS
from tmal_core.tasks.baselines import run_baselines

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16}
MAE = {**SMALL, "image_size": 64, "num_frames": 4, "intermediate_size": 48, "decoder_hidden_size": 16}
MAE |= {"decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
JEPA = {**SMALL, "crop_size": 64, "frames_per_clip": 8, "pred_hidden_size": 16, "pred_num_hidden_layers": 1}
JEPA |= {"pred_num_attention_heads": 1, "num_pooler_layers": 1}
MEAN = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
MADE = {
    "VideoMAE, tuned": (VideoMAEForVideoClassification, VideoMAEConfig, {**MAE, "use_mean_pooling": True}),
    "VideoMAE, not tuned": (VideoMAEForPreTraining, VideoMAEConfig, {**MAE, "use_mean_pooling": False}),
    "V-JEPA 2": (VJEPA2Model, VJEPA2Config, JEPA),
    "V-JEPA 2, tuned": (VJEPA2ForVideoClassification, VJEPA2Config, JEPA),
}
FRAMES = torch.randn(3, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=MADE)
def made(request, tmp_path_factory):
    """A folder as Hugging Face has it, and the model that it was saved from."""
    folder = tmp_path_factory.mktemp("video")
    return folder, saved(request.param, folder)


def saved(name, folder):
    model_class, config_class, config = MADE[name]
    torch.manual_seed(1)
    model = model_class(config_class(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN[0], "image_std": MEAN[1]}))
    return model


@torch.no_grad()
def test_time_steps_are_the_means_of_their_tokens(made):
    folder, model = made
    tower = load_backbone(str(folder), "folder")
    whole = getattr(model, model.base_model_prefix, model)
    if "vjepa2" in model.base_model_prefix:
        tokens = whole(FRAMES, skip_predictor=True).last_hidden_state
    else:
        tokens = whole(FRAMES).last_hidden_state
    steps = torch.stack([tokens[:, 16 * step : 16 * step + 16].mean(1) for step in (0, 1)], 1)
    found = tower.encode_video(FRAMES)
    assert found.shape == (3, 2, 32) and not any(p.requires_grad for p in tower.parameters())
    torch.testing.assert_close(found, steps, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tower.encode_video(FRAMES[1:2]), found[1:2], atol=1e-5, rtol=1e-4)
    assert (tower.encode_video(FRAMES.flip(1)) - found).abs().max() > 1e-3
    assert picture_statistics(str(folder), "folder") == tuple(map(tuple, MEAN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("videomae")
    saved("VideoMAE, not tuned", place)
    return place


def settings_of(settings, folder, **changes):
    own = {"model.backbone": str(folder), "model.pretrained": "folder", "sampling.num_frames": 4}
    return settings.replace({**own, "model.text_score": 0.0, **changes})


@pytest.mark.parametrize("method, matching", [("protonet", None), ("otam", None), ("frozen", "otam+tuples")])
def test_frozen_methods_answer_from_a_bank_as_one_by_one(few_settings, folder, tmp_path, method, matching):
    changes = {"model.matching": matching} if matching else {}
    experiment = Experiment(settings_of(few_settings, folder, **changes), method_name=method, run_dir=tmp_path)
    bank = experiment.bank("val", progress=False)
    reader = experiment.reader(experiment.split("val"))
    frames = reader.evaluate(0).frames[None]
    with torch.no_grad():
        torch.testing.assert_close(experiment.model.encoder(frames)[0], bank.query[0], atol=1e-5, rtol=1e-4)
    assert bank.query.shape[1:] == (2, 32)
    outcome = evaluate(experiment.model, bank, experiment.episodes("val", 5)["order"])
    assert np.isfinite(outcome.logits).all()


def test_its_steps_are_of_several_frames_and_not_taken_apart_by_frame(few_settings, folder, tmp_path):
    experiment = Experiment(settings_of(few_settings, folder), method_name="otam", run_dir=tmp_path)
    question = Question.of(experiment.samplers("val")["order"][0])
    bank = experiment.bank("val", progress=False)
    assert Asked(experiment.model, question, banked(bank, question)).parts(0, 0) is None
    with pytest.raises(SettingsError, match=r"of each frame, got VideoMAEModel, which gives moments of several"):
        matched_features(experiment.model, bank, 0, 1)


def test_without_names_distances_keep_the_scale_of_the_settings(few_settings, folder, tmp_path):
    experiment = Experiment(settings_of(few_settings, folder), method_name="otam", run_dir=tmp_path)
    model = experiment.build()
    before = model.head.log_scale.item()
    use_untrained(model, 4)
    assert model.head.log_scale.item() == before


def test_baselines_ask_it_under_every_matcher(few_settings, folder, tmp_path):
    settings = few_settings.replace({"sampling.num_frames": 4, "evaluation.episodes": 5})
    experiment = Experiment(settings, method_name="otam", run_dir=tmp_path)
    table = run_baselines(experiment, [str(folder)], "val", say=lambda line: None)
    assert (table["left_out"] == "").all() and (table["width"] == 32).all() and not table["text"].any()
    assert table["matcher"].nunique() == 4


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if not one.any_tower])
def test_what_stands_in_clip_s_blocks_is_refused(folder, method):
    parts = load_settings("tiny").model.model_copy(update={"backbone": str(folder), "pretrained": "folder"})
    with pytest.raises(WeightsError, match=f"CLIP's own ViT blocks for {method}, got .* with VideoMAEModel"):
        build(parts.model_copy(update={"method": method}))


@pytest.mark.parametrize("method, score", [("zero_shot", 0.0), ("otam", 0.5)])
def test_what_reads_names_is_refused(folder, method, score):
    update = {"backbone": str(folder), "pretrained": "folder", "method": method, "text_score": score}
    words = (
        rf"text tower for {method}, which reads class names, got .*videos and no text\. Set model\.text_score to 0 with"
    )
    with pytest.raises(WeightsError, match=words):
        build(load_settings("tiny").model.model_copy(update=update))


def test_numbers_of_frames_that_they_do_not_take(folder, tmp_path):
    words = r"4 frames a clip, as .* takes, got 8\. Set sampling\.num_frames to 4"
    with pytest.raises(SettingsError, match=words):
        load_backbone(str(folder), "folder").encode_video(torch.zeros(1, 8, 3, 64, 64))
    saved("V-JEPA 2", tmp_path)
    tower = load_backbone(str(tmp_path), "folder")
    assert tower.encode_video(torch.zeros(1, 6, 3, 64, 64)).shape == (1, 3, 32)
    with pytest.raises(SettingsError, match=r"a multiple of 2 frames a clip, as .* takes, got 5"):
        tower.encode_video(torch.zeros(1, 5, 3, 64, 64))


PARAMETERS = {  # millions, as published: of V-JEPA 2 the encoder alone
    "VideoMAE-B-16": (768, 86), "VideoMAE-L-16": (1024, 304), "V-JEPA2-L-16": (1024, 304),
    "V-JEPA2-H-16": (1280, 632), "V-JEPA2-g-16": (1408, 1012),
}  # fmt: skip


@pytest.mark.parametrize("name", VIDEO_TOWERS)
def test_published_sizes(name):
    tower = load_backbone(name, "random", "meta")
    width, millions = PARAMETERS[name]
    assert tower.width == width and tower.tubelet == 2 and tower.num_frames == (16 if "MAE" in name else None)
    assert sum(p.numel() for p in tower.visual.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    assert tower.visual.image_size == (224 if "MAE" in name else 256) and picture_statistics(name, "random") == IMAGENET


def test_published_weights_have_an_address_and_belong_into_the_folder_of_weights(tmp_path, monkeypatch):
    entry = published_weights("VideoMAE-B-16", "kinetics400")
    assert entry.file == "VideoMAE-B-16-kinetics400.safetensors"
    assert entry.url.endswith("MCG-NJU/videomae-base-finetuned-kinetics/resolve/main/model.safetensors")
    assert published_weights("V-JEPA2-L-16", "openai") is None
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"VideoMAE-B-16-kinetics400\.safetensors .*no such file"):
        load_backbone("VideoMAE-B-16", "kinetics400")
    with pytest.raises(
        WeightsError, match=r"got .*openai, which is not there\. Name weights \(selfsupervised, kinetics400"
    ):
        load_backbone("VideoMAE-B-16", "openai")


def test_files_that_are_not_what_they_should_be(folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"weights of a videomae of this size, got .* without encoder\.layer\.2"):
        load_backbone(str(tmp_path), "folder")
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(WeightsError, match="weights of a videomae of this size"):
        load_backbone(str(tmp_path), "folder")
    (tmp_path / "model.safetensors").write_text("no tensors")
    with pytest.raises(WeightsError, match=r"expected a file of safetensors, got .*Fetch it again"):
        load_backbone(str(tmp_path), "folder")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors, which is not there\. Name weights \(folder\)"):
        load_backbone(str(tmp_path), "folder")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"expected JSON in .*config\.json"):
        load_backbone(str(tmp_path), "folder")


def test_more_layers_than_the_config_has_are_refused(folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(WeightsError, match=r"of this size, got .* with .*encoder\.layer\.1.* and more"):
        load_backbone(str(tmp_path), "folder")


def test_what_no_weight_tells_of_has_a_key_of_its_own(folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    one, other = (load_backbone(str(place), "folder") for place in (folder, tmp_path))
    assert (one.encode_video(FRAMES) - other.encode_video(FRAMES)).abs().max() > 1e-4
    assert frozen_hash(one) != frozen_hash(other) and frozen_hash(one) == frozen_hash(
        load_backbone(str(folder), "folder")
    )


def test_weights_of_something_else_are_no_weights(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"weights of a videomae of this size, got .* and more"):
        load_backbone(str(tmp_path), "folder")


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"expected transformers, .* got none installed\. .*tmal-core\[video\]"):
        load_backbone(str(folder), "folder")
