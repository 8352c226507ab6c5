"""`tmal adopt`: a run that computes what the checkpoint's own code does, or a refusal that names what does not fit."""

from __future__ import annotations

import copy
from unittest.mock import patch

import numpy as np
import pytest
import torch
from clip_fsar_golden import TEXT, Golden, clip_folder
from tolerances import assert_parity

from tmal_core import cli
from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.experiment import Experiment, of_checkpoint
from tmal_core.models.adapters import STAdapter
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.references import TSFSAR, CLIPFSARHead, STAdapterClassifier, fused_scores, load_clip_fsar
from tmal_core.models.references import st_adapter_classifier as classifier_module
from tmal_core.models.text import class_text
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.adopt import adopt_checkpoint

WIDTH, FRAMES = 128, 8


@pytest.fixture(scope="module")
def tiny(small_settings):
    return load_backbone(located(small_settings.model.backbone), "folder")


@pytest.fixture(scope="module")
def their_clip_fsar(tiny):
    """A checkpoint as CLIP-FSAR writes it: a fine-tuned image tower, a temporal transformer, a scale."""
    draw = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    head = CLIPFSARHead(WIDTH, mlp_width=48)
    visual = {k: v + 0.02 * torch.randn(v.shape, generator=draw) for k, v in tiny.visual.state_dict().items()}
    state = {f"head.backbone.{name}": value for name, value in visual.items()}
    state |= {f"head.context2.{name}": value for name, value in head.context2.state_dict().items()}
    return state | {"head.scale": torch.tensor([1.3])}


def saved(tmp_path, content):
    torch.save(content, tmp_path / "theirs.pyth")
    return tmp_path / "theirs.pyth"


def pictures(count: int) -> torch.Tensor:
    return torch.randn(count, FRAMES, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def test_clip_fsar_answers_as_its_own_code(small_settings, tiny, their_clip_fsar, tmp_path):
    path = saved(tmp_path, {"model_state": their_clip_fsar})
    run, adopted = adopt_checkpoint(Experiment(small_settings, run_dir=tmp_path / "run"), path)
    settings = adopted.settings
    assert settings.model.method == "clip_fsar" and settings.model.mlp_width == 48
    assert settings.sampling.fit == run.settings.sampling.fit == "squash"
    assert run.status == "done" and run.summary["adopted"] == str(path)
    model = Experiment.of_run(tmp_path / "run").model
    theirs = load_clip_fsar(path)
    tower = copy.deepcopy(tiny.visual)  # the tiny CLIP's heads are narrower than those that weights are taken to have
    tower.load_state_dict(theirs.backbone.state_dict())
    clips, labels = pictures(5), torch.arange(2)
    with torch.no_grad():
        text = class_text(model.encoder.clip, settings.model, ["a", "b"])
        features = tower(clips.flatten(0, 1)).unflatten(0, (5, FRAMES))
        torch.testing.assert_close(model.encoder(clips), features, atol=1e-4, rtol=1e-4)
        wanted, class_logits = theirs.head(features[:2], features[2:], labels, text, class_text=text, merge_before=True)
        found = model.head.episode_logits(model.encoder(clips[2:]), model.encoder(clips[:2]), labels, text)
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
        mine = model.head.class_logits(model.encoder(clips), text)
        torch.testing.assert_close(mine, class_logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("key", ["sampling.fit", "methods.clip_fsar.sampling.fit"])
def test_pictures_that_a_user_asked_for_stay(small_settings, their_clip_fsar, tmp_path, key):
    path, asked = saved(tmp_path, {"model_state": their_clip_fsar}), {key: "crop"}
    mine = Experiment(small_settings.replace(asked), asked, run_dir=tmp_path / "run")
    assert adopt_checkpoint(mine, path)[1].settings.sampling.fit == "crop"


def test_what_the_file_says_otherwise_is_no_setting(small_settings, their_clip_fsar, tmp_path):
    path, asked = saved(tmp_path, {"model_state": their_clip_fsar}), {"model.mlp_width": 17}
    mine = Experiment(small_settings.replace(asked), asked, "clip_fsar", tmp_path / "run")
    with pytest.raises(SettingsError, match=r"model\.mlp_width \d+, as in the file, got 17\. Leave it out"):
        adopt_checkpoint(mine, path)


@pytest.fixture(scope="module")
def their_ts_fsar(tiny):
    """A checkpoint as TS-FSAR writes it: CLIP as it is, and what was learned beside it."""
    torch.manual_seed(3)
    model = TSFSAR(copy.deepcopy(tiny.visual), 5, side_width=64, temporal_blocks=(1, 3))
    return {name: value.clone() for name, value in model.state_dict().items()}


ON_TINY = {"model.ts_fsar.temporal_blocks": [1, 3], "model.ts_fsar.powers": [0.5, 0.3, 0.2]}


def test_ts_fsar_answers_as_its_own_code(small_settings, tiny, their_ts_fsar, tmp_path):
    path, asked = saved(tmp_path, their_ts_fsar), ON_TINY | {"model.ts_fsar.residual": 1.6}
    settings = small_settings.replace(asked)
    run, adopted = adopt_checkpoint(Experiment(settings, asked, run_dir=tmp_path / "run"), path)
    assert adopted.name == "ts_fsar" and adopted.settings.model.ts_fsar.side_width == 64
    model = Experiment.of_run(tmp_path / "run").model
    theirs = TSFSAR(copy.deepcopy(tiny.visual), 5, side_width=64, temporal_blocks=(1, 3), residual=1.6).eval()
    theirs.load_state_dict(their_ts_fsar)
    clips, labels = pictures(6), torch.arange(2)
    with torch.no_grad():
        text = class_text(model.encoder.clip, adopted.settings.model, ["a", "b"])
        wanted = theirs(clips[:2], clips[2:], labels, torch.nn.functional.normalize(text, dim=-1))
        fused = fused_scores(wanted, power_matching=0.5, power_clip=0.3, power_lsn=0.2)
        found = model.head.episode_logits(model.encoder(clips[2:]), model.encoder(clips[:2]), labels, text)
        torch.testing.assert_close(found.exp(), fused, atol=1e-4, rtol=1e-4)
    assert run.summary["adopted"] == str(path)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("model.projection.weight", 1.0, "with another proj"),
        ("model.layers.1.mlp.fc1.bias", 1.0, "with another transformer.resblocks.1.mlp.c_fc.bias"),
    ],
)
def test_a_ts_fsar_of_another_clip_is_refused(small_settings, their_ts_fsar, tmp_path, name, value, words):
    path = saved(tmp_path, their_ts_fsar | {name: their_ts_fsar[name] + value})
    mine = Experiment(small_settings.replace(ON_TINY), ON_TINY, run_dir=tmp_path / "run")
    with pytest.raises(WeightsError, match=words):
        adopt_checkpoint(mine, path)


def test_ts_fsar_is_not_normalised_otherwise(small_settings, their_ts_fsar, tmp_path):
    mine = Experiment(small_settings.replace(ON_TINY), ON_TINY, run_dir=tmp_path / "run")
    with pytest.raises(SettingsError, match=r"of a checkpoint of CLIP-FSAR, got 0\.45, 0\.225 for ts_fsar"):
        adopt_checkpoint(mine, saved(tmp_path, their_ts_fsar), (0.45, 0.225))


WRAPPED = {
    "as it is written": str,
    "of a wrapped model": "module.{}".format,
    "of a compiled model": lambda name: name.replace("head.", "head._orig_mod."),
    "of both": "module._orig_mod.{}".format,
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("shot", [1, 5])
def test_a_checkpoint_of_clip_fsar_s_gives_the_golden_logits(assets, tmp_path, shot, form):
    """Loaded as `tmal evaluate` loads it, with any share of the text, whose score is of the exact cosine."""
    golden, asked = Golden(assets, shot), on_small_clip(tmp_path)
    content = golden.checkpoint(Experiment.of("hmdb51", asked, "clip_fsar").build())
    content["model_state"] = {WRAPPED[form](name): value for name, value in content["model_state"].items()}
    path = saved(tmp_path, content | {"best": np.float64(61.9), "epochs": np.int64(3), "done": np.bool_(True)})
    for mode, share in {"visual": 0.0, "combine": 0.9, "combine_half": 0.5, "text": 1.0}.items():
        run, _ = adopt_checkpoint(
            Experiment.of("hmdb51", {**asked, "model.text_score": share}, run_dir=tmp_path / mode), path
        )
        model = Experiment.of_run(run.path).model
        for episode in (0, 1):
            found = answers(model, golden, episode)
            found = found if mode == "visual" else found.softmax(1) if mode == "text" else found.exp()
            wanted = golden.tensors[f"start.eval.episode{episode}.{mode}.logits"]
            assert_parity(found, wanted, 1e-5, f"{mode} of episode {episode}")


def on_small_clip(tmp_path):
    """What a user sets to stand on the small CLIP."""
    small = {"model.backbone": str(clip_folder(tmp_path / "clip")), "model.pretrained": "folder"}
    return small | {"sampling.crop": 32, "sampling.resize": 32}


def answers(model, golden, episode):
    clips = {role: (golden.clips(episode, role).float(),) for role in ("query", "support")}
    text = TEXT["test"][golden.tensors[f"episode{episode}.test_class_ids"].long()]
    with torch.no_grad():
        return model(**clips, labels=golden.labels(episode, "support"), text=text)


def test_pictures_by_another_mean_are_taken_into_the_weights(assets, tmp_path):
    """UCF101 with 5 shots in CLIP-FSAR: the adopted model answers on CLIP's pictures as on those of its own."""
    golden, asked = Golden(assets, 1), on_small_clip(tmp_path)
    path = saved(tmp_path, golden.checkpoint(Experiment.of("ucf101", asked, "clip_fsar").build()))
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    found = {}
    for name, normalised in (("plain", None), ("theirs", (0.45, 0.225))):
        run, _ = adopt_checkpoint(Experiment.of("ucf101", asked, run_dir=tmp_path / name), path, normalised)
        found[name] = Experiment.of_run(run.path).model
    assert Run.open(run.path).summary["normalised"] == [0.45, 0.225]
    clips = golden.clips(0, "query").float()
    with torch.no_grad():
        wanted = found["plain"].encoder((clips * std + mean - 0.45) / 0.225)
        assert_parity(found["theirs"].encoder(clips), wanted, 1e-5)
    for wrong in ((0.45, 0.0), (0.45, float("nan"))):
        with pytest.raises(SettingsError, match=r"std \(above 0\) .*, got 0\.45, (0|nan) for clip_fsar\. Leave"):
            adopt_checkpoint(Experiment.of("ucf101", asked, run_dir=tmp_path / "wrong"), path, wrong)


def classifier(tiny, **parts) -> STAdapterClassifier:
    """Of ST-Adapter, with trained adapters in the tiny CLIP's tower."""
    state = {name: value for name, value in tiny.visual.state_dict().items() if name != "proj"}
    parts = {"before_attention": True, "before_mlp": True, **parts}
    model = STAdapterClassifier(5, image_size=64, width=WIDTH, layers=4, heads=4, bottleneck=24, **parts)
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, STAdapter):
            torch.nn.init.normal_(module.conv.weight, std=0.3)
    model.load_state_dict(state, strict=False)
    return model.eval()


@pytest.mark.parametrize(("before_attention", "places"), [(True, "both"), (False, "ffn")])
@pytest.mark.parametrize("alone", [True, False], ids=["trained weights alone", "all weights"])
def test_st_adapter_s_adapters(small_settings, tiny, tmp_path, before_attention, places, alone):
    theirs = classifier(tiny, before_attention=before_attention)
    state = theirs.state_dict()
    if alone:
        state = {name: value for name, value in state.items() if "adapter" in name or name.startswith("fc.")}
    _, adopted = adopt_checkpoint(
        Experiment(small_settings, run_dir=tmp_path / "run"), saved(tmp_path, {"model": state})
    )
    settings = adopted.settings
    assert (settings.model.method, settings.model.adapters) == ("st_adapter", places)
    assert settings.model.bottleneck == 24
    model, clips = adopted.model, pictures(2)
    with torch.no_grad():
        # The projection of the class tokens is undone: the reference has none.
        found = model.encoder(clips) @ torch.linalg.pinv(tiny.visual.proj)
        plain = Experiment(small_settings, method_name="otam").model.encoder(clips)
        torch.testing.assert_close(found, frame_features(theirs, clips), atol=1e-3, rtol=1e-3)
        assert not torch.allclose(model.encoder(clips), plain, atol=1e-2), "the adapters do something"


def frame_features(theirs: STAdapterClassifier, clips: torch.Tensor) -> torch.Tensor:
    """(n, T, D): `ln_post` of each frame's class token, which the classifier averages before it."""
    left, real = [], classifier_module.feed_forward
    with patch.object(classifier_module, "feed_forward", lambda *given: left.append(real(*given)) or left[-1]):
        theirs(clips.transpose(1, 2))
    return theirs.ln_post(left[-1][:, 0]).unflatten(0, (len(clips), FRAMES))


def test_what_does_not_fit_is_named(small_settings, tiny, their_clip_fsar, tmp_path):
    def refused(content, words, settings=small_settings):
        with pytest.raises(WeightsError, match=words):
            adopt_checkpoint(Experiment(settings, run_dir=tmp_path / "run"), saved(tmp_path, content))
        assert not (tmp_path / "run").exists()

    less = {
        name: value
        for name, value in their_clip_fsar.items()
        if not name.startswith("head.backbone.transformer.resblocks.3")
    }
    refused({"model_state": less}, r"the weights of VisionTransformer, got .*missing: transformer\.resblocks\.3")
    twice = their_clip_fsar | {"module.head.scale": torch.ones(1)}
    refused(
        {"model_state": twice}, r"each tensor under one name, got .*theirs\.pyth with scale under several\. Keep one"
    )
    with pytest.raises(SettingsError, match=r"of a checkpoint of CLIP-FSAR, got 0\.45, 0\.225 for st_adapter"):
        theirs = saved(tmp_path, {"model": classifier(tiny).state_dict()})
        adopt_checkpoint(Experiment(small_settings, run_dir=tmp_path / "run"), theirs, (0.45, 0.225))
    gated = small_settings.replace({"model.centre": "gate"})
    with pytest.raises(
        SettingsError, match=r"without a gate, which the file has not, got model\.centre gate\. Set it to"
    ):
        adopt_checkpoint(Experiment(gated, run_dir=tmp_path / "run"), theirs)
    refused([1, 2], r"a checkpoint of ST-Adapter with `model`, a dict of tensors")
    state = classifier(tiny).state_dict()
    state["positional_embedding"] = state["positional_embedding"] + 1
    refused(
        {"model": state}, r"adapters of data/tiny_clip \(folder\), got .*with another positional_embedding\. Set model"
    )
    refused({"model": classifier(tiny, adapter_blocks=[1, 2]).state_dict()}, r"in every block, got .*in 2 of 4 blocks")
    refused({"model": classifier(tiny, kernel_size=(3, 3, 3)).state_dict()}, r"adapters of 3x1x1 .*\(3, 3, 3\)")


def test_command_line(small_settings, small_data, their_clip_fsar, tmp_path, capsys):
    path = saved(tmp_path, {"model_state": their_clip_fsar})
    changes = {"data.root": small_data.root, "episodes.way": 2, "evaluation.episodes": 5, "evaluation.bootstrap": 10}
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    run = tmp_path / "run"
    assert cli.main(["adopt", "--from", str(path), "--out", str(run), *sets]) == 0
    assert f"clip_fsar in {run}: tmal evaluate --out {run}" in capsys.readouterr().out
    assert cli.main(["evaluate", "--out", str(run)]) == 0
    assert "clip_fsar" in capsys.readouterr().out
    assert of_checkpoint(run).checkpoint == run / "checkpoints" / "clip_fsar" / "best.pt"
    assert Run.open(run).status == "done"
    again = ["adopt", "--from", str(path), "--out", str(tmp_path / "other"), *sets, "--normalised", "0.45", "0.225"]
    assert cli.main(again) == 0 and Run.open(tmp_path / "other").summary["normalised"] == [0.45, 0.225]
