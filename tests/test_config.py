"""Settings that hold for one method, beside those that hold for all."""

from __future__ import annotations

import hashlib

import pytest

from tmal_core.config import LEFT_ALONE, Settings, descriptions_sha256, load_settings, settings_hash
from tmal_core.errors import SettingsError

TRX = {"model.tuples": [2], "model.tuple_width": 64}


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {episodes: 100}\nmethods:\n  tmal: {training.episodes: 40, model.bottleneck: 8}\n")
    return path


def test_a_method_has_its_own_settings_and_others_have_not(preset):
    settings = load_settings(preset)
    tmal = settings.for_method("tmal")
    assert (tmal.model.method, tmal.training.episodes, tmal.model.bottleneck) == ("tmal", 40, 8)
    assert tmal.for_method("tmal") == tmal and not tmal.methods
    assert settings.for_method("st_adapter").training.episodes == 100


def test_what_a_user_asks_for_holds_for_every_method(preset):
    settings = load_settings(preset, {"training.episodes": 7})
    assert {settings.for_method(name).training.episodes for name in ("tmal", "otam")} == {7}
    assert settings.for_method("tmal").model.bottleneck == 8
    again = load_settings(preset).replace({"training.episodes": 7})
    assert again == settings and settings_hash(again) == settings_hash(settings)


def test_what_a_user_asks_for_one_method_holds_for_it_alone_and_goes_before_all(preset):
    both = {"methods.tmal.training.episodes": 9, "training.episodes": 7, "model.bottleneck": 16}
    for asked in (both, dict(reversed(both.items()))):
        settings = load_settings(preset, asked)
        assert settings == load_settings(preset).replace(asked)
        assert {name: settings.for_method(name).training.episodes for name in ("tmal", "otam")} == {
            "tmal": 9,
            "otam": 7,
        }
        assert settings.for_method("tmal").model.bottleneck == 16
    for wrong in ("methods.tmal", "methods."):
        with pytest.raises(SettingsError, match=rf"methods.<name>.<key>, got '{wrong}'\. Write for example"):
            load_settings(preset, {wrong: 1})
    with pytest.raises(SettingsError, match=r"valid settings in methods\.tmal, got training\.epochs"):
        load_settings(preset).replace({"methods.tmal.training.epochs": 1})


def test_what_changes_no_number_names_no_settings(preset):
    settings = load_settings(preset)
    moved = settings.replace({"data.root": "elsewhere", "data.cache": True, "training.memory": "low"})
    assert settings_hash(moved) == settings_hash(settings)
    assert settings_hash(settings.replace({"evaluation.seed": 1})) != settings_hash(settings)


def test_a_setting_that_is_left_alone_does_not_rename_what_was_made_before_it(preset, monkeypatch):
    settings = load_settings(preset)
    older = settings_hash(settings)
    monkeypatch.setitem(LEFT_ALONE, "training", {"clip_norm": settings.training.clip_norm})
    without = settings_hash(settings)
    assert without != older  # as it was before there was training.clip_norm
    assert settings_hash(settings.replace({"training.clip_norm": 3.0})) not in (without, older)


def test_settings_of_trx_rename_no_other_run(preset):
    settings = load_settings(preset)
    named = settings_hash(settings, "model")
    assert settings_hash(settings.replace({"model.tuples": [2, 3], "model.tuple_width": 1152}), "model") == named
    others = {settings_hash(settings.replace({key: value}), "model") for key, value in TRX.items()}
    assert len(others | {named}) == 3
    for wrong, words in (
        ([], "at least one number of frames"),
        ([2, 2], "each of them once"),
        ([1], "than or equal to 2"),
    ):
        with pytest.raises(SettingsError, match=rf"model\.tuples.*{words}"):
            load_settings(preset, {"model.tuples": wrong})


def test_wrong_settings_of_a_method_are_found_at_once(preset):
    preset.write_text("methods:\n  tmal: {training.epochs: 40}\n")
    with pytest.raises(SettingsError, match=r"valid settings in methods\.tmal, got training\.epochs"):
        load_settings(preset)
    preset.write_text("methods: [tmal]\n")
    with pytest.raises(SettingsError, match="methods"):
        load_settings(preset, {"seed": 1})


def test_a_crop_larger_than_its_frame_and_an_uneven_grid_are_told():
    with pytest.raises(SettingsError, match=r"crop 80 is larger than resize 72"):
        load_settings("tiny", {"sampling.crop": 80})
    with pytest.raises(SettingsError, match=r"grid 12 is not a multiple of num_frames 8"):
        load_settings("tiny", {"sampling.grid": 12})


def test_a_preset_is_no_setting():
    with pytest.raises(
        SettingsError, match=r"a preset by itself, got preset among other settings. Name it as --preset"
    ):
        load_settings("tiny", {"preset": "hmdb51"})


def test_queries_that_look_otherwise_never_become_support():
    with pytest.raises(
        SettingsError, match=r"got sampling\.augment_queries with training\.rotate, by which .* clips\. Correct"
    ):
        load_settings("tiny", {"sampling.augment_queries": True})


def test_descriptions_of_classes_are_named_by_what_they_say(tmp_path):
    def of(place):
        return settings_hash(load_settings("tiny", {"model.descriptions": str(place)}))

    plain = load_settings("tiny", {"model.prompts": [], "model.descriptions": None})
    assert settings_hash(plain) == settings_hash(load_settings("tiny"))
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.yaml").write_text("{}")
    assert of(tmp_path / "a.json") == of(tmp_path / "b.yaml") != settings_hash(plain)
    whole = of(tmp_path)
    assert whole not in (of(tmp_path / "a.json"), of(tmp_path / "none.json"))
    (tmp_path / "README.md").write_text("none")
    assert of(tmp_path) == whole
    before = of(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").write_text("a: b")
    assert of(tmp_path / "b.yaml") != before and of(tmp_path) != whole
    model = load_settings("tiny", {"model.descriptions": str(tmp_path / "b.yaml")}).model
    assert descriptions_sha256(model) == hashlib.sha256(b"a: b").hexdigest()
    assert descriptions_sha256(plain.model) is None


def test_prompts_are_sentences_with_a_place_for_the_name():
    found = load_settings("tiny", {"model.prompts": ["a {}", "the {}"]})
    assert found.model.prompts == ("a {}", "the {}") and settings_hash(found) != settings_hash(load_settings("tiny"))
    assert found.replace({}) == found
    with pytest.raises(SettingsError, match=r"model\.prompts\.1: .*a sentence with \{\} for the class name"):
        load_settings("tiny", {"model.prompts": ["a {}", "the"]})


def test_what_is_left_alone_are_defaults():
    """Else the hash of settings that nobody changed would name other results than it did before."""
    defaults = Settings(preset="").model_dump(mode="json")
    for section, values in LEFT_ALONE.items():
        assert {name: defaults[section][name] for name in values} == values
    settings = load_settings("tiny")
    assert settings_hash(settings.replace({"evaluation.leave_out": ["run"]})) != settings_hash(settings)
