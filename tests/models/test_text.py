"""What is read of classes: names that are too long are cut at a word and said, and never two that read the same; of
several sentences the mean."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tolerances import LAYER_PARITY, assert_parity
from torch.nn.functional import normalize

from tmal_core.config import ModelSettings, in_project
from tmal_core.errors import DataError
from tmal_core.models import text as text_module
from tmal_core.models.backbone import load_backbone
from tmal_core.models.text import _fits, averaged, class_text
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


def test_features_of_sentences_are_averaged_as_in_ts_fsar(assets):
    golden = load_file(assets / "ts_fsar_parts.safetensors")
    parts = [golden[f"text.class{c}.prompts"] for c in range(3)]
    assert [len(part) for part in parts] == [10, 4, 9]
    assert_parity(averaged(torch.cat(parts), [10, 4, 9]), golden["text.class_features"], LAYER_PARITY)


def by_hand(clip, sentences: list[str]) -> torch.Tensor:
    with torch.no_grad():
        features = clip.encode_text(tokenizer(str(in_project("data/tiny_clip")))(sentences))
    return normalize(sum(one / one.norm() for one in features), dim=0)


def test_one_prompt_is_clip_s_feature_and_several_are_their_mean(clip):
    names = ["kick", "pick up"]
    features = class_text(clip, SETTINGS, names)
    with torch.no_grad():
        plain = clip.encode_text(tokenizer(str(in_project("data/tiny_clip")))([f"a photo of {n}." for n in names]))
    assert torch.equal(features, plain) and (features.norm(dim=1) - 1).abs().min() > 0.1
    prompts = ("a photo of {}.", "{}", "someone does {} in a video")
    several = class_text(clip, SETTINGS.model_copy(update={"prompts": prompts}), names)
    for name, feature in zip(names, several, strict=True):
        torch.testing.assert_close(feature, by_hand(clip, [p.format(name) for p in prompts]), atol=1e-5, rtol=1e-5)
    one = class_text(clip, SETTINGS.model_copy(update={"prompts": prompts[:1]}), names)
    torch.testing.assert_close(one, normalize(features, dim=1), atol=1e-6, rtol=1e-5)


def test_a_name_that_is_cut_in_several_prompts_is_said_once_each(clip):
    said: list[str] = []
    prompts = {"prompts": ("{}.", "{}.", "one of many long photos of {}.")}
    class_text(clip, SETTINGS.model_copy(update=prompts), [LONG, "kick"], say=said.append)
    assert len(said) == len(set(said)) == 2


@pytest.fixture
def described(tmp_path):
    """Settings with descriptions of that content."""

    def written(content: dict[str, list[str] | str]) -> ModelSettings:
        (tmp_path / "texts.json").write_text(json.dumps(content), encoding="utf-8")
        return SETTINGS.model_copy(update={"descriptions": tmp_path / "texts.json"})

    return written


def test_descriptions_are_averaged_class_by_class(clip, described, monkeypatch):
    content = {"more": "not asked for", "Pick up": ["a hand lifts a thing", "a thing rises"], "kick": "a foot swings"}
    settings = described(content)
    features = class_text(clip, settings, ["kick", "pick_up"], say=pytest.fail)
    torch.testing.assert_close(features[0], by_hand(clip, ["a foot swings"]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features[1], by_hand(clip, content["Pick up"]), atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(text_module, "_TEXTS_AT_ONCE", 2)
    again = class_text(clip, settings, ["kick", "pick_up"])
    torch.testing.assert_close(again, features, atol=1e-5, rtol=1e-5)


def test_long_descriptions_are_cut_by_the_tokenizer_and_said_in_one_line(clip, described):
    long = [f"{word} " * 40 for word in ("red", "blue", "green")]
    said: list[str] = []
    settings = described({"a": ["short", long[0]], "b": long[1:]})
    features = class_text(clip, settings, ["a", "b"], say=said.append)
    assert said == ["3 of 4 descriptions are cut to what the text tower reads, the first of class 'a'"]
    torch.testing.assert_close(features[1], by_hand(clip, long[1:]), atol=1e-5, rtol=1e-5)
    ends = tokenizer(str(in_project("data/tiny_clip")))(long)
    assert ends.shape == (3, 32) and (ends[:, -1] == ends.max()).all(), "the last token ends the text"


def test_descriptions_that_ask_for_more_are_said_and_read(clip, described):
    said: list[str] = []
    settings = described({"a": ["Could you tell me more?", "a leg"], "b": ["an arm"]})
    features = class_text(clip, settings, ["a", "b"], say=said.append)
    assert len(said) == 1 and said[0].startswith("1 of 3 descriptions look like a language model")
    torch.testing.assert_close(features[0], by_hand(clip, ["Could you tell me more?", "a leg"]), atol=1e-5, rtol=1e-5)


def test_classes_that_are_described_alike_are_refused(clip, described):
    same = "on and " * 30
    words = r"got 'a' and 'c', the same in the 32 tokens of data/tiny_clip\. Describe one of them otherwise"
    content = {"a": [f"{same} left", "leg"], "b": ["leg", "arm"], "c": ["leg", f"{same} right"]}
    with pytest.raises(DataError, match=words):
        class_text(clip, described(content), ["a", "b", "c"], say=lambda _: None)
    assert class_text(clip, described({**content, "c": ["leg"]}), ["a", "b", "c"], say=lambda _: None).shape == (3, 128)


def test_a_class_that_is_not_described(clip, described):
    with pytest.raises(DataError, match=r"descriptions of every class in .*texts\.json, got none of 1 of 2: 'kick'\."):
        class_text(clip, described({"hug": "two meet"}), ["hug", "kick"])


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
