"""Class names that are longer than the text tower reads: cut at a word and said, and never two that read the same."""

from __future__ import annotations

import pytest
import torch

from tmal_core.config import ModelSettings, in_project
from tmal_core.errors import DataError
from tmal_core.models.backbone import load_backbone
from tmal_core.models.text import _fits, class_text
from tmal_core.models.tokenizers import tokenizer

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


def test_a_row_that_ends_with_a_token_for_the_class():
    """CLIPA's: begin, words, end, padding, and always the class's token last."""

    class Read:
        tokenizer_mode = "clips"

        def __call__(self, texts, context_length=8):
            words = [len(word) + 10 for word in texts[0].split()][: context_length - 3]
            row = [1, *words, 2]
            return torch.tensor([row + [0] * (context_length - 1 - len(row)) + [3]])

    assert Read()(["a b"]).tolist() == [[1, 11, 11, 2, 0, 0, 0, 3]]
    fits = [_fits(" ".join("abcdefghi"[:count]), Read()) for count in (1, 4, 5, 6, 9)]
    assert fits == [True, True, True, False, False]
