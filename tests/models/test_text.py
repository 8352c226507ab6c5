"""Class names that are longer than the text tower reads: cut at a word and said, and never two that read the same."""

from __future__ import annotations

import pytest
import torch

from tmal_core.config import ModelSettings, in_project
from tmal_core.errors import DataError
from tmal_core.models.backbone import load_backbone, tokenizer
from tmal_core.models.text import class_text

SETTINGS = ModelSettings(backbone="data/tiny_clip", pretrained="folder", prompt="a photo of {}.")
LONG = " ".join(["put"] + ["something small"] * 20)  # 41 words, of which the 32 tokens of the tiny CLIP hold some


@pytest.fixture(scope="module")
def clip():
    return load_backbone(str(in_project("data/tiny_clip")), "folder")


def test_a_long_name_is_cut_at_a_word_and_said(clip):
    said: list[str] = []
    features = class_text(clip, SETTINGS, [LONG, "kick"], say=said.append)
    assert len(said) == 1
    short = said[0].split("' is read as '")[1].partition("'")[0]
    assert LONG.startswith(f"{short} ") and said[0].startswith(f"class name '{LONG}' is read as '")
    assert torch.equal(features, class_text(clip, SETTINGS, [short, "kick"], say=pytest.fail))
    # Whole to the full stop of the prompt, and one word more would not be.
    read = tokenizer(str(in_project("data/tiny_clip")))
    assert read([f"a photo of {short}."], context_length=99)[0].count_nonzero() <= 32
    more = LONG[: LONG.index(" ", len(short) + 1)]
    assert read([f"a photo of {more}."], context_length=99)[0].count_nonzero() > 32


def test_by_default_a_cut_is_a_warning(clip):
    with pytest.warns(UserWarning, match=r"is read as .*: its text is longer than the text tower reads"):
        class_text(clip, SETTINGS, [LONG])


def test_a_single_word_that_is_too_long_is_said_as_well(clip):
    said: list[str] = []
    class_text(clip, SETTINGS, ["x1y2" * 30], say=said.append)
    assert "is cut within" in said[0] and len(said) == 1


def test_names_that_read_the_same(clip):
    words = (
        r"class names that read differently, got '.* left' and '.* right', the same in the 32 tokens of data/tiny_clip"
    )
    with pytest.raises(DataError, match=words):
        class_text(clip, SETTINGS, [f"{LONG} left", "kick", f"{LONG} right"], say=lambda _: None)
