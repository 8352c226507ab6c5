"""Presets: all load, real ones carry the protocol of the field, and what is wrong is told by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmal_core.config import load_settings, preset_names, settings_hash
from tmal_core.data.sets.sources import SOURCES, source_markdown
from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment, require_episodes
from tmal_core.models.methods import METHODS

ROOT = Path(__file__).parent.parent
CLIP_FSAR = {
    "hmdb51": (5000, 1e-5, 1.2, 300),
    "ucf101": (3000, 2e-6, 1.5, 100),
    "kinetics100": (5000, 1e-5, 1.5, 100),
    "ssv2_full": (30_000, 5e-5, 3.0, 1000),
    "ssv2_small": (30_000, 5e-5, 3.0, 1000),
}
"""Training episodes, base learning rate, weight of the video-text loss, episodes between evaluations: CLIP-FSAR's."""
D2ST = {
    "hmdb51": (3000, 1e-3, 150, {5: 0.5, 7: 0.1, 9: 0.05}, 2.5),
    "ucf101": (2400, 5e-4, 120, {5: 0.1, 7: 0.05, 9: 0.01}, 1.5),
    "kinetics100": (3000, 5e-4, 150, {4: 0.1, 6: 0.05, 8: 0.01}, 1.5),
    "ssv2_full": (120_000, 1e-3, 6000, {4: 0.5, 6: 0.1, 8: 0.05}, 2.0),
    "ssv2_small": (40_000, 1e-3, 2000, {4: 0.1, 6: 0.05, 8: 0.01}, 0.5),
}
"""Training episodes, base learning rate, episodes of an epoch, factors by epoch, weight of the video-text loss: of
D2ST-Adapter, but for the weights of UCF101 and Kinetics-100, where it has no such loss and CLIP-FSAR's stands."""


def test_all_presets_are_here_and_load():
    assert preset_names() == sorted(["tiny", "smoke", *SOURCES])
    assert all(load_settings(name).preset == name for name in preset_names())


def test_smoke_is_tiny_with_less_of_everything():
    """Whatever else tiny changes, smoke changes too: it is there to run the same code."""
    less = {"preset", "data.root", "episodes.queries_train", *(f"data.clips_{s}" for s in ("train", "val", "test"))}
    less |= {f"training.{name}" for name in ("episodes", "warmup", "validate_every", "val_episodes")}
    less |= {"evaluation.episodes", "evaluation.bootstrap"}
    tiny, smoke = (load_settings(name).to_flat() for name in ("tiny", "smoke"))
    different = {key for key in tiny if tiny[key] != smoke.get(key) and not key.startswith("methods.")}
    assert different == less
    methods = load_settings("tiny").methods
    assert load_settings("smoke").methods == {
        name: {key: value for key, value in own.items() if key not in less} for name, own in methods.items()
    }
    require_episodes(Experiment.of("smoke"))


@pytest.mark.parametrize("name", SOURCES)
def test_real_presets(name):
    settings = load_settings(name)
    assert settings.data.name == name and str(settings.data.root) == f"data/{name}"
    e, s = settings.episodes, settings.sampling
    assert (e.way, e.shot, e.queries_eval) == (5, 1, 1)
    assert load_settings(name, {"episodes.shot": 5}).episodes.shot == 5
    assert (s.num_frames, s.resize, s.crop, s.fit) == (8, 256, 224, "squash")
    assert not s.flip and s.augment_queries == (name == "kinetics100")
    schemes = {method: Experiment.of(name, method=method).settings.sampling.scheme for method in METHODS}
    own = "reference_stride" if name == "kinetics100" else "reference_segments"
    theirs = {"clip_fsar": own, "ts_fsar": "reference_segments"}
    assert schemes == dict.fromkeys(METHODS, "segments") | theirs
    assert Experiment.of(name, {"sampling.scheme": "segments"}, method="clip_fsar").settings.sampling == s
    assert settings.evaluation.episodes == 10_000
    assert settings.model.backbone == "ViT-B-16-quickgelu" and settings.model.pretrained == "openai"


@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("name", SOURCES)
def test_recipes_are_those_of_the_references(name, shot):
    clip_fsar, *others = (
        Experiment.of(name, {"episodes.shot": shot}, method).settings for method in ("clip_fsar", "st_adapter", "tmal")
    )
    t = clip_fsar.training
    assert (t.episodes, t.backbone_learning_rate, t.text_weight, t.validate_every) == CLIP_FSAR[name]
    assert (t.optimiser, t.weight_decay, t.schedule) == ("adam_l2", 1e-3, "steps")
    assert (t.accumulation, t.clip_norm, t.precision, t.rotate) == (4, None, "float32", False)
    assert t.patience * t.validate_every >= t.episodes, "never stops early"
    assert "RN50" in t.source and "nobody" in t.source and ("third party" in t.source) == name.startswith("ssv2")
    assert (clip_fsar.episodes_in_training.shot, clip_fsar.episodes_in_training.queries_train) == (1, 5)
    assert clip_fsar.episodes.shot == shot
    for one in others:
        t = one.training
        epoch = t.warmup_episodes
        drops = {start // epoch: factor for start, factor in t.rate_drops if start % epoch == 0}
        assert (t.episodes, t.learning_rate, epoch, drops, t.text_weight) == D2ST[name]
        assert (t.optimiser, t.schedule, t.clip_norm, t.accumulation) == ("adam_l2", "steps", None, 8)
        assert t.warmup_rate == t.learning_rate / 5 and t.weight_decay == 1e-3 / 4 and "D2ST" in t.source
        assert (one.episodes_in_training.shot, one.episodes_in_training.queries_train) == (1, 1)
        assert t.patience * t.validate_every >= t.episodes, "never stops early"


def test_where_a_recipe_is_from_changes_no_hash():
    named = load_settings("hmdb51", {"training.source": "elsewhere"})
    assert settings_hash(named.for_method("tmal")) == settings_hash(load_settings("hmdb51").for_method("tmal"))


def test_sources_are_complete():
    assert all(all(vars(source).values()) for source in SOURCES.values())
    assert all(source.page.startswith("https://") for source in SOURCES.values())
    assert sum(SOURCES["hmdb51"].videos.values()) == 6766 and sum(SOURCES["ucf101"].videos.values()) == 13_320
    assert source_markdown() in (ROOT / "README.md").read_text(encoding="utf-8"), "the README shows this table"
    lines = source_markdown().splitlines()
    assert len(lines) == len(SOURCES) + 2 and len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {nam: x}", r"data\.nam: extra inputs are not permitted"),
        ("datas: {}", r"datas: extra inputs"),
        ("prepare: {max_lost: 1.5}", r"prepare\.max_lost: .*less than or equal to 1"),
        ("prepare: {min_frames: 0}", r"prepare\.min_frames: .*greater than or equal to 1"),
        ("sampling: {crop: 300}", r"crop 300 is larger than resize 256"),
        ("episodes: {way: 1}\ntraining: {episodes: -1}", r"episodes\.way: .*; training\.episodes: "),
        ("training: {learning_rate: .inf}", r"training\.learning_rate: .*finite"),
        ("training: {optimiser: sgd}", r"training\.optimiser: .*'adamw', 'adam_l2' or 'adamw_all'"),
        ("training: {schedule: linear}", r"training\.schedule: .*'cosine', 'steps' or 'late_cosine'"),
        ("training: {clip_norm: 0}", r"training\.clip_norm: .*greater than 0"),
        ("training: {shot: 0}", r"training\.shot: .*greater than or equal to 1"),
        ("training: {rate_drops: [[20, 0.1], [10, 0.01]]}", r"training: .*rate_drops start at \[20, 10\], not in asc"),
        ("training: {rate_drops: [[20, 1.5]]}", r"training\.rate_drops\.0\.1: .*less than or equal to 1"),
        ("training: {learning_rate: .nan}", r"training\.learning_rate: "),
        ("model: {prompt: 'a {} of {x}'}", r"model\.prompt: "),
        ("model: {prompt: '{} {'}", r"model\.prompt: "),
        ('data: {root: "a\\0b"}', r"data\.root: "),
        ("[1, 2]", r"a preset of keys and values, got .*mine.yaml with list"),
        ("", r"a preset of keys and values, got .*mine.yaml with NoneType"),
        ("a: [", r"a readable YAML preset, got .*mine.yaml"),
        ("seed: 2020-13-45", r"a readable YAML preset, got .*mine.yaml: month must be in 1..12"),
        ("a: " + "[" * 50_000, r"a readable YAML preset, got .*mine.yaml"),
        ("a: &x [*x]", r"a: extra inputs"),
        ("1: {2: 3}", r"1: keys should be strings"),
    ],
)
def test_a_wrong_preset_is_told(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_settings(tmp_path / "mine.yaml")


def test_files_that_are_no_preset(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"data: {name: caf\xe9}")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("latin.yaml", "folder.yaml", "none.yaml", "zero\0byte.yaml"):
        with pytest.raises(SettingsError, match="a readable YAML preset, got"):
            load_settings(tmp_path / name)
    with pytest.raises(SettingsError, match=r"one of the presets hmdb51, kinetics100, .*tiny, ucf101, got 'hmdb'"):
        load_settings("hmdb")
