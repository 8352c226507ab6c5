"""The frozen CLIP: loaded only when it is what was asked for, and unchanged by untrained adapters."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerances import IDENTITY, assert_parity

from tmal_core.config import ModelSettings, in_project
from tmal_core.errors import WeightsError
from tmal_core.models import backbone
from tmal_core.models.encoder import build_encoder
from tmal_core.models.open_clip_access import embedded
from tmal_core.models.text import class_text
from tmal_core.runtime.weights_files import WEIGHTS
from tmal_core.tasks.pretrain_tiny import Recipe, pretrain_tiny_clip, retrieval

TINY = in_project("data/tiny_clip")


@pytest.fixture(scope="module")
def tiny():
    return backbone.load_backbone(str(TINY), "folder")


def _adapted(places):
    return ModelSettings(adapters=places, bottleneck=8, flow_encoder="none", text=False)


def test_is_frozen_and_in_eval_mode(tiny):
    assert not tiny.training
    assert not any(p.requires_grad for p in tiny.parameters())
    model = build_encoder(tiny, _adapted("ffn")).train()
    assert not model.clip.training
    assert model.adapters.training


@pytest.mark.parametrize("places", ["ffn", "attention", "both"])
def test_untrained_adapters_are_plain_clip_at_every_block(tiny, places):
    torch.manual_seed(0)
    frames = torch.randn(2, 4, 3, 64, 64)
    model = build_encoder(tiny, _adapted(places))
    with torch.no_grad():
        plain = embedded(tiny.visual, frames.flatten(0, 1))
        for block, tokens in zip([None, *tiny.visual.transformer.resblocks], model.tokens(frames), strict=True):
            plain = plain if block is None else block(plain)
            assert_parity(tokens, plain, IDENTITY)
        features = tiny.encode_image(frames.flatten(0, 1)).unflatten(0, (2, 4))
        assert torch.allclose(model(frames), features, atol=1e-5)


def test_shipped_weights_know_their_pictures(tiny):
    """Chance is 12.5 % for colour and 2.1 % for colour and shape; the margin is four times that at least."""
    found = retrieval(tiny, str(TINY), pictures=300)
    assert found["colour_pct"] > 80
    assert found["colour_and_shape_pct"] > 8.4
    assert sum(f.stat().st_size for f in TINY.iterdir()) < 16e6


def test_a_few_steps_of_pretraining_lower_the_loss_and_leave_a_whole_folder(tmp_path):
    facts = pretrain_tiny_clip(tmp_path / "clip", Recipe(steps=100, batch_size=48, warmup=10), progress=False)
    assert facts["colour_pct"] > 25  # chance is 12.5 %; 70 steps reach 26 %, too near for other machines' rounding
    again = backbone.load_backbone(str(tmp_path / "clip"), "folder")
    assert retrieval(again, str(tmp_path / "clip"), pictures=960)["colour_pct"] == facts["colour_pct"]
    assert str(facts["colour_pct"]) in (tmp_path / "clip" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-17", "random", "expected an open_clip model name"),
        ("nowhere", "folder", "Run in a checkout of the project, or make .*`tmal pretrain-tiny --out nowhere`"),
        ("ViT-B-32", "weights/none.pt", "which is not there"),
        ("roberta-ViT-B-32", "random", "whose text tower is open_clip's own, got .* with roberta-base of transformers"),
    ],
)
def test_what_cannot_be_loaded(name, pretrained, message):
    with pytest.raises(WeightsError, match=message):
        backbone.load_backbone(name, pretrained)


def test_openai_weights_need_quickgelu(tmp_path):
    (tmp_path / "openai-vit-b-32.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="expected a -quickgelu model for OpenAI weights"):
        backbone.load_backbone("ViT-B-32", str(tmp_path / "openai-vit-b-32.safetensors"))


def test_damaged_weights(tmp_path):
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="Check the file"):
        backbone.load_backbone(str(tmp_path), "folder")


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """The folder of weights."""
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_file(TINY / "open_clip_model.safetensors")


@pytest.fixture
def small(monkeypatch) -> str:
    """Stands in for a model of open_clip's: its name, with QuickGELU and the tiny CLIP's sizes."""
    whole = open_clip.factory.get_model_config
    tiny = whole("ViT-B-32-quickgelu") | {"embed_dim": 64}
    tiny["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32}
    tiny["text_cfg"] = {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32-quickgelu", tiny)
    return "ViT-B-32-quickgelu"


@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
def test_text_of_either_kind_of_tower(kind):
    """open_clip keeps the text tower of some models in a module of its own."""
    text = {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    clip = kind(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
    settings = ModelSettings(backbone=str(TINY), prompt="{}")
    features = class_text(clip, settings, ["a red circle", "a blue star"])
    assert features.shape == (2, 16) and not torch.equal(*features)


def archive_of(state: dict[str, torch.Tensor], path: Path) -> Path:
    """A TorchScript archive as OpenAI's: half precision, with three numbers among the weights."""
    root = torch.nn.Module()
    numbers = {name: torch.tensor(8) for name in ("input_resolution", "context_length", "vocab_size")}
    for name, value in {**{key: value.half() for key, value in state.items()}, **numbers}.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(leaf, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(root), path)
    return path


def assert_has(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], value.half().float()) for name, value in state.items())
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("form", ["safetensors", "torch", "torch, older", "in a dict", "from several GPUs"])
def test_weights_in_any_file(tmp_path, state, form):
    path = tmp_path / "weights.bin"
    prefix = "module." if form == "from several GPUs" else ""
    content = {prefix + name: value.clone() for name, value in state.items()}
    if form == "safetensors":
        save_file(content, path)
    else:
        torch.save(
            {"state_dict": content, "epoch": 3} if form == "in a dict" else content,
            path,
            _use_new_zipfile_serialization=form != "torch, older",
        )
    assert_has(backbone.load_backbone(str(TINY), str(path)), state)


def test_openai_s_archive_is_read_once_its_checksum_matched(kept, small, monkeypatch):
    state = backbone.load_backbone(small, "random").state_dict()
    with pytest.raises(
        WeightsError, match=r"ViT-B-32\.pt \(sha256 40d365715913\.\.\.\), got no such file.*weights fetch"
    ):
        backbone.load_backbone(small, "openai")
    path = archive_of(state, kept / "ViT-B-32.pt")
    monkeypatch.setattr(torch.jit, "load", _never)
    with pytest.raises(WeightsError, match=r"\(sha256 40d365715913\.\.\.\), got sha256 [0-9a-f]{12}.*Replace it by"):
        backbone.load_backbone(small, "openai")
    with pytest.raises(WeightsError, match="expected one of OpenAI's archives, unchanged"):
        backbone.load_backbone(small, str(path))


def _never(*_, **__):
    pytest.fail("the archive was opened")


@pytest.fixture
def published(kept, small, monkeypatch) -> dict[str, torch.Tensor]:
    """OpenAI's archive for the small model, with the checksum that is published."""
    state = backbone.load_backbone(small, "random").state_dict()
    path = archive_of(state, kept / "ViT-B-32.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "clip_vit_b_32", dataclasses.replace(WEIGHTS["clip_vit_b_32"], sha256=digest))
    return state


def test_openai_s_weights_by_name_and_by_file(kept, small, published):
    for pretrained in ("openai", "clip_vit_b_32", "ViT-B-32.pt", str(kept / "ViT-B-32.pt")):
        assert_has(backbone.load_backbone(small, pretrained), published)


def test_openai_s_archive_needs_quickgelu_whatever_it_is_called(kept, small, published, monkeypatch):
    plain = dict(open_clip.factory._MODEL_CONFIGS[small], quick_gelu=False)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", plain)
    for pretrained in ("openai", "ViT-B-32.pt", "metaclip_400m"):
        with pytest.raises(
            WeightsError, match=r"expected a -quickgelu model for .* weights, got ViT-B-32, .*Use ViT-B-32-q"
        ):
            backbone.load_backbone("ViT-B-32", pretrained)


def test_openai_s_weights_as_safetensors(kept, small):
    state = {name: value.half() for name, value in backbone.load_backbone(small, "random").state_dict().items()}
    save_file(state, kept / "ViT-B-32-openai.safetensors")
    assert_has(backbone.load_backbone(small, "openai"), state)


def test_other_names_of_open_clip(kept, small):
    entry = backbone.published_weights("ViT-B-16", "laion2b_s34b_b88k")
    assert (
        entry.url
        == "https://huggingface.co/laion/CLIP-ViT-B-16-laion2B-s34B-b88K/resolve/main/open_clip_model.safetensors"
    )
    assert (entry.name, entry.file) == ("ViT-B-16:laion2b_s34b_b88k", "ViT-B-16-laion2b_s34b_b88k.safetensors")
    assert backbone.published_weights("ViT-L-14-336-quickgelu", "openai") is WEIGHTS["clip_vit_l_14_336"]
    assert backbone.published_weights("ViT-B-16", "nobody") is None
    with pytest.raises(
        WeightsError, match=r"fetch ViT-B-32-quickgelu:metaclip_400m`, or take ViT-B-32-quickgelu-metaclip"
    ):
        backbone.load_backbone(small, "metaclip_400m")
    state = {name: value.half() for name, value in backbone.load_backbone(small, "random").state_dict().items()}
    save_file(state, kept / "ViT-B-32-quickgelu-metaclip_400m.safetensors")
    assert_has(backbone.load_backbone(small, "metaclip_400m"), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"conv.weight": torch.zeros(1)}, "missing: positional_embedding, text_projection"),
        (lambda s: s | {"visual.proj": torch.zeros(3, 4)}, r"of another shape: visual\.proj \(3, 4\) for \(128, 128\)"),
        (lambda s: s | {"more": torch.zeros(1)}, "unknown: more"),
        (lambda s: {}, r"weights\.pt \(an archive of dict\)"),
        (lambda s: [torch.zeros(1)], r"weights\.pt \(an archive of list\)"),
        (lambda s: {"epoch": 1, "model": s}, r"weights\.pt \(an archive of epoch, model\)"),
    ],
)
def test_weights_of_another_architecture(tmp_path, state, change, message):
    torch.save(change(state), tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=message):
        backbone.load_backbone(str(TINY), str(tmp_path / "weights.pt"))


@pytest.mark.weights
@pytest.mark.parametrize("model", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"])
def test_openai_s_real_archives(model):
    """Where they lie in the folder of weights."""
    clip = backbone.load_backbone(f"{model}-quickgelu", "openai")
    assert clip.logit_scale.exp().item() == pytest.approx(100, rel=1e-2)
