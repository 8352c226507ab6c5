"""Settings that hold for one method, beside those that hold for all."""

from __future__ import annotations

import pytest

from tmal_core.config import load_settings, settings_hash
from tmal_core.errors import SettingsError


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {episodes: 100}\nmethods:\n  tmal: {training.episodes: 40, model.bottleneck: 8}\n")
    return path


def test_a_method_has_its_own_settings_and_others_have_not(preset):
    settings = load_settings(preset)
    tmal = settings.for_method("tmal")
    assert (tmal.model.method, tmal.training.episodes, tmal.model.bottleneck) == ("tmal", 40, 8)
    assert tmal.for_method("tmal") == tmal
    assert tmal.for_method("st_adapter").methods == settings.methods
    assert settings.for_method("st_adapter").training.episodes == 100


def test_what_a_user_asks_for_holds_for_every_method(preset):
    settings = load_settings(preset, {"training.episodes": 7})
    assert {settings.for_method(name).training.episodes for name in ("tmal", "otam")} == {7}
    assert settings.for_method("tmal").model.bottleneck == 8
    again = load_settings(preset).replace({"training.episodes": 7})
    assert again == settings and settings_hash(again) == settings_hash(settings)


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
