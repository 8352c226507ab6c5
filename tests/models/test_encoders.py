"""Image towers of every kind: frozen methods take them all, with their own pictures and texts; others name them."""

from __future__ import annotations

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from tmal_core.config import ModelSettings, in_project
from tmal_core.data.clips import Clip
from tmal_core.data.video import transforms
from tmal_core.errors import WeightsError
from tmal_core.evaluation import feature_bank as bank
from tmal_core.experiment import Experiment
from tmal_core.models import open_clip_access as access
from tmal_core.models import text, tokenizers
from tmal_core.models.backbone import load_backbone, picture_statistics, published_weights, save_folder
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.frozen_encoder import FrozenEncoder
from tmal_core.models.heads import ZeroShotHead
from tmal_core.models.methods import METHODS, build
from tmal_core.models.summary import frozen_hash, parameter_table
from tmal_core.models.text import class_text

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
PICTURES = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.5, 0.2]}
TOWERS: dict[str, dict[str, Any]] = {
    "timm, as SigLIP's": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
    "timm, convolutions": {"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"},
    "OpenAI's ResNet": {"layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "ViT of other blocks": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "qk_norm": True},
}
KINDS = ("timm's VisionTransformer", "timm's ConvNeXt", "ModifiedResNet", "ViT of CustomResidualAttentionBlock")
SOME = (
    "ViT-B-32", "coca_base", "RN50", "ViT-B-16-SigLIP2", "PE-Core-T-16-384", "MobileCLIP2-S0", "EVA02-B-16",
    "convnext_tiny", "swin_base_patch4_window7_224", "ViTamin-S", "nllb-clip-base-siglip",
)  # fmt: skip
REFUSED = 10  # whose text towers come from transformers


def write_folder(folder: Path, tower: dict[str, Any], **more: Any) -> Path:
    """A model folder without weights, of small sizes."""
    texts = TEXT | more.pop("text", {})
    model = {"embed_dim": 64, "vision_cfg": {"image_size": 64, **tower}, "text_cfg": texts, **more}
    folder.mkdir(exist_ok=True)
    config = {"model_cfg": model, "preprocess_cfg": PICTURES}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def settings_of(folder: Path | str, method: str = "frozen", **more: Any) -> ModelSettings:
    return ModelSettings(method=method, backbone=str(folder), pretrained="random", **more)


@pytest.fixture(params=TOWERS)
def folder(request, tmp_path) -> Path:
    return write_folder(tmp_path / "model", TOWERS[request.param], custom_text=True)


@pytest.fixture
def unreachable(monkeypatch) -> None:
    """Whoever asks the network has failed."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))


def outcome(name: str) -> str:
    """What becomes of a model of open_clip's, its architecture alone: the kind of its tower, or that it is refused."""
    try:
        model = build(settings_of(name, "otam"), "meta")
    except WeightsError as error:
        assert "\n" not in str(error) and name in error.got and error.remedy
        return f"refused: expected {error.expected}"
    encoder, (side, _) = model.encoder, access.image_size(model.encoder.clip.visual)
    query, support = encoder.encode_roles(torch.zeros(2, 3, 3, side, side, device="meta"))
    assert query is support and query.shape == (2, 3, encoder.joint_width)
    kind = access.kind_of(encoder.clip.visual)
    assert type(encoder) is (ClipEncoder if kind == "ViT of ResidualAttentionBlock" else FrozenEncoder)
    return kind


@pytest.mark.parametrize("name", SOME)
def test_a_model_of_each_kind_runs_or_refuses(name, unreachable):
    assert outcome(name).startswith("refused") == (name == "nllb-clip-base-siglip")


@pytest.mark.slow
def test_all_models_run_or_refuse(unreachable):
    counts = Counter(map(outcome, open_clip.list_models()))
    print(counts)
    refused = {words: count for words, count in counts.items() if words.startswith("refused")}
    assert refused == {"refused: expected a CLIP whose text tower is open_clip's own": REFUSED}
    assert sum(counts.values()) - REFUSED >= 134 and counts["ViT of ResidualAttentionBlock"] >= 48


def test_features_are_the_tower_s_own_and_nothing_changes(folder):
    model = build(settings_of(folder, matching="bimhm"))
    encoder, before = model.encoder, frozen_hash(model.encoder)
    assert isinstance(encoder, FrozenEncoder) and access.kind_of(encoder.clip.visual) in KINDS
    (side, _), model = access.image_size(encoder.clip.visual), model.train()
    assert not encoder.clip.training and not any(p.requires_grad for p in encoder.parameters())
    frames = torch.randn(3, 2, 3, side, side)
    found = torch.cat([query for query, _ in bank.encode_clips(model, Clip(frames))])
    with torch.no_grad():
        alone = torch.stack([encoder.clip.encode_image(clip) for clip in frames])
        whole = encoder.clip.visual(frames.flatten(0, 1)).unflatten(0, (3, 2))
    assert found.shape == (3, 2, encoder.joint_width) == (3, 2, 64)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)
    assert (found[0, 0] - found[1, 0]).abs().max() > 3e-5, "a picture changes its features"
    logits = model.head.episode_logits(found[2:], found[:2], torch.arange(2))
    assert logits.shape == (1, 2) and logits.isfinite().all()
    assert frozen_hash(encoder) == before
    assert parameter_table(model)["trained"].sum() == 2, "the scale alone, once in the sum of all"


def test_weights_of_any_tower_come_back(folder):
    clip = load_backbone(str(folder), "random")
    config = json.loads((folder / "open_clip_config.json").read_text())
    save_folder(clip, folder, config, torch.float32)
    again = load_backbone(str(folder), "folder")
    assert frozen_hash(again) == frozen_hash(clip)
    assert access.statistics(again.visual) == (tuple(PICTURES["mean"]), tuple(PICTURES["std"]))
    state = load_file(folder / "open_clip_model.safetensors")
    del state[next(name for name in state if name.startswith("visual."))]
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(WeightsError, match=r"expected the weights of CustomTextCLIP, got .* missing: visual\."):
        load_backbone(str(folder), "folder")


@pytest.mark.parametrize("name", ["st_adapter", "tmal", "clip_fsar"])
def test_what_joins_inside_needs_clip_s_blocks(folder, name):
    with pytest.raises(WeightsError) as caught:
        build(settings_of(folder, name))
    assert caught.value.expected == f"an image tower of CLIP's own ViT blocks for {name}"
    assert caught.value.got.endswith(f"with {access.kind_of(load_backbone(str(folder), 'random').visual)}")
    assert caught.value.remedy.endswith("takes any image tower: zero_shot, protonet, otam, frozen.")
    assert [method for method in METHODS.values() if method.any_tower] == [
        METHODS[free] for free in ("zero_shot", "protonet", "otam", "frozen")
    ]


def test_blocks_of_other_towers_are_not_looked_into(folder):
    model = build(settings_of(folder))
    with pytest.raises(WeightsError, match=r"blocks and patches can be looked into, got FrozenEncoder with .*Look at"):
        _ = model.clip_encoder
    own = build(ModelSettings(method="frozen", backbone=str(in_project("data/tiny_clip")), pretrained="folder"))
    assert own.clip_encoder is own.encoder


def test_frozen_takes_any_matcher():
    tiny = {"backbone": str(in_project("data/tiny_clip")), "pretrained": "folder"}
    heads = [build(ModelSettings(method="frozen", matching=name, **tiny)).head for name in ("mean", "bimhm", "otam")]
    assert [head.matching for head in heads] == ["mean", "bimhm", "otam"]
    centred = build(ModelSettings(method="frozen", matching="bimhm", centre="clip", **tiny)).head
    assert centred.centre == "clip"


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        ({**TOWERS["timm, convolutions"], "image_size": [64, 96]}, "got .* with timm's ConvNeXt of 64 x 96"),
        (
            {"timm_model_name": "naflexvit_base_patch16_gap", "timm_pool": "avg", "timm_proj": "linear"},
            "got .* with timm's NaFlexVit of 64 x 64",
        ),
    ],
)
def test_pictures_that_are_no_squares_of_one_size(tmp_path, vision, words):
    folder = write_folder(tmp_path / "model", vision)
    with pytest.raises(WeightsError, match=f"expected an image tower of square pictures of one size, {words}"):
        load_backbone(str(folder), "random", "meta")


@pytest.mark.parametrize("config", ["{", "[]", '{"model_cfg": {"vision_cfg": {}}}', None])
def test_a_folder_s_config_that_cannot_be_read(tmp_path, config):
    if config is not None:
        (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(
        WeightsError, match=r"expected a readable open_clip_config\.json in .*Write it as open_clip does"
    ):
        load_backbone(str(tmp_path), "random")


def test_mean_and_std_are_those_of_the_weights():
    assert access.CLIP_STATISTICS == (transforms.CLIP_MEAN, transforms.CLIP_STD)
    half, plain = ((0.5,) * 3,) * 2, ((0.0,) * 3, (1.0,) * 3)
    assert picture_statistics("ViT-B-16-quickgelu", "openai") == access.CLIP_STATISTICS
    assert picture_statistics("ViT-B-16-SigLIP2", "webli") == picture_statistics("PE-Core-B-16", "meta") == half
    assert picture_statistics("MobileCLIP-S1", "datacompdr") == plain
    assert access.statistics(load_backbone("PE-Core-T-16-384", "random", "meta").visual) == half
    # The same architecture, trained on otherwise normalised pictures.
    assert picture_statistics("ViT-L-14", "laion2b_s32b_b82k") == half
    assert picture_statistics("ViT-L-14", "openai") == access.CLIP_STATISTICS
    # A file and random weights: as the first weights that the model is known for; CLIP's where it is known for none.
    assert picture_statistics("MobileCLIP-S1", "random") == picture_statistics("MobileCLIP-S1", "a/file.pt") == plain
    assert picture_statistics("ViT-S-16", "random") == access.CLIP_STATISTICS
    tiny = str(in_project("data/tiny_clip"))
    assert picture_statistics(tiny, "folder") == picture_statistics(tiny, "random") == access.CLIP_STATISTICS


def test_pictures_and_keys_follow_the_encoder(tmp_path, small_settings, small_data):
    """From the file to the bank: other means of the same weights are other pictures, other tokens and another key."""
    folder = write_folder(tmp_path / "model", TOWERS["timm, convolutions"])
    config = json.loads((folder / "open_clip_config.json").read_text())
    save_folder(load_backbone(str(folder), "random"), folder, config, torch.float32)
    val = small_data.select("val", family="appearance").spread(3)
    chosen = {"model.backbone": str(folder), "model.pretrained": "folder", "model.method": "otam"}
    banks, hashes, frames = [], [], []
    for pictures in (PICTURES, {}):
        (folder / "open_clip_config.json").write_text(json.dumps(config | {"preprocess_cfg": pictures}))
        experiment = Experiment(small_settings.replace(chosen))
        reader, model = experiment.reader(val), experiment.build()
        banks.append(bank.encode(model, reader, progress=False))
        hashes.append(frozen_hash(model.encoder.clip))
        frames.append(reader.evaluate(0).frames)
    assert len({one.key for one in banks}) == len(set(hashes)) == 2
    mean, std = (torch.tensor(PICTURES[name]).view(3, 1, 1) for name in ("mean", "std"))
    clip_mean, clip_std = (torch.tensor(values).view(3, 1, 1) for values in access.CLIP_STATISTICS)
    torch.testing.assert_close(frames[0] * std + mean, frames[1] * clip_std + clip_mean, atol=1e-5, rtol=1e-5)
    assert banks[0].query.shape == (3, small_settings.sampling.num_frames, 64)
    assert not torch.allclose(banks[0].query, banks[1].query)
    with torch.no_grad():
        alone = model.encoder(frames[1][None])[0]
    torch.testing.assert_close(banks[1].query[0], alone, atol=1e-4, rtol=1e-4)
    same = Experiment(small_settings.replace(chosen | {"model.method": "frozen"}))
    assert bank.bank_key(same.build(), same.reader(val)) == banks[1].key, "matchers share what is encoded"


def test_grey_differences_count_in_the_encoder_s_std():
    black, white = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    mean, std = (torch.tensor(PICTURES[name]).view(3, 1, 1) for name in ("mean", "std"))
    found = transforms.grey_difference((black - mean) / std, (white - mean) / std, tuple(PICTURES["std"]))
    torch.testing.assert_close(found, torch.ones(1, 1, 2, 2))


def test_published_weights_of_timm_s_towers():
    entry = published_weights("ViT-B-16-SigLIP2", "webli")
    assert entry is not None
    assert entry.url == "https://huggingface.co/timm/ViT-B-16-SigLIP2/resolve/main/open_clip_model.safetensors"
    assert (entry.name, entry.file) == ("ViT-B-16-SigLIP2:webli", "ViT-B-16-SigLIP2-webli.safetensors")


def test_texts_have_the_model_s_own_context(folder):
    clip = load_backbone(str(folder), "random")
    assert tokenizers.tokenizer(str(folder))(["a red circle"]).shape == (1, 12)
    said: list[str] = []
    settings = settings_of(folder, prompt="{}")
    features = class_text(clip, settings, ["circle", " ".join(["circle"] * 20)], say=said.append)
    assert features.shape == (2, 64) and len(said) == 1
    assert tokenizers.tokenizer("PE-Core-B-16")(["a red circle"]).shape == (1, 32)


def test_a_tokenizer_of_its_own_is_read_from_its_place_or_asked_for(tmp_path, monkeypatch, unreachable):
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path / "kept"))
    clip = load_backbone("ViT-B-16-SigLIP", "random", "meta")
    place = tmp_path / "kept" / "tokenizers" / "timm--ViT-B-16-SigLIP"
    with pytest.raises(WeightsError) as caught:
        class_text(clip, settings_of("ViT-B-16-SigLIP"), ["circle"])
    assert str(caught.value) == (
        f"expected the tokenizer of ViT-B-16-SigLIP in {place}, got no tokenizer.json. Put tokenizer.json and "
        "tokenizer_config.json of huggingface.co/timm/ViT-B-16-SigLIP there; frames alone need none."
    )
    place.mkdir(parents=True)
    (place / "tokenizer.json").write_text("{}")
    asked: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(tokenizers, "HFTokenizer", lambda *name, **how: asked.append((name, how)) or str)
    assert tokenizers.tokenizer("ViT-B-16-SigLIP") is str
    how = {"local_files_only": True, "context_length": 64, "tokenizer_mode": None, "clean": "canonicalize"}
    assert asked == [((str(place),), how)]
    own = write_folder(tmp_path / "model", TOWERS["OpenAI's ResNet"], text={"hf_tokenizer_name": "some/other"})
    with pytest.raises(WeightsError, match=rf"expected the tokenizer of {own} in {own}, got no tokenizer.json"):
        tokenizers.tokenizer(str(own))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ModuleNotFoundError("none"),
            r"the package transformers, which reads .* of ViT-B-16-SigLIP, got none\. Install",
        ),
        (ValueError("no\nwords"), r"the tokenizer of timm/ViT-B-16-SigLIP in .*, got ValueError: no words\. Replace"),
    ],
)
def test_a_tokenizer_that_cannot_be_read(tmp_path, monkeypatch, error, words):
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path))
    place = tmp_path / "tokenizers" / "timm--ViT-B-16-SigLIP"
    place.mkdir(parents=True)
    (place / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(tokenizers, "HFTokenizer", fails)
    with pytest.raises(WeightsError, match=words):
        tokenizers.tokenizer("ViT-B-16-SigLIP")


def test_a_tokenizer_by_transformers(tmp_path, monkeypatch, unreachable):
    """A small one in the form that Hugging Face has; like SigLIP's it pads with what ends a text."""
    pytest.importorskip("transformers")
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path))
    place = tmp_path / "tokenizers" / "timm--ViT-B-16-SigLIP"
    place.mkdir(parents=True)
    model = {"type": "WordLevel", "vocab": {"<unk>": 0, "</s>": 1, "red": 2, "circle": 3}, "unk_token": "<unk>"}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    end = {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}
    after = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": end}
    whole = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": after,
        "model": model,
    }
    (place / "tokenizer.json").write_text(json.dumps(whole))
    marks = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **marks}
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    read = tokenizers.tokenizer("ViT-B-16-SigLIP")
    assert read(["Red, circle"]).tolist() == [[2, 3] + [1] * 62]
    assert [text._fits("red " * count, read) for count in (63, 64)] == [True, False]


def test_the_logit_bias_of_siglip_changes_no_answer(tmp_path):
    """It is loaded and named with the weights, and cancels where answers are made: in softmaxes over names."""
    tower = TOWERS["timm, as SigLIP's"]
    folder = write_folder(tmp_path / "model", tower, custom_text=True, init_logit_bias=-10.0)
    clip = load_backbone(str(folder), "random")
    pictures, names = torch.randn(2, 3, 160, 160), torch.randn(5, 64)
    model = FewShotModel(FrozenEncoder(clip), ZeroShotHead(clip.logit_scale))
    tokens = model.encoder(pictures[:, None])
    assert clip.logit_bias.item() == -10 and "clip.logit_bias" in model.encoder.state_dict()
    image, words = (torch.nn.functional.normalize(part, dim=-1) for part in (clip.encode_image(pictures), names))
    siglip = clip.logit_scale.exp() * image @ words.T + clip.logit_bias
    torch.testing.assert_close(model.head.text_similarity(tokens, names).softmax(1), siglip.softmax(1))
