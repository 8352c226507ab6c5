"""The frozen CLIP: loaded only when it is what was asked for, and unchanged by untrained adapters."""

from __future__ import annotations

import pytest
import torch

from tmal_core.config import in_project, load_settings
from tmal_core.errors import WeightsError
from tmal_core.models import backbone
from tmal_core.models.methods import build
from tmal_core.models.tmal import TMAL
from tmal_core.tasks.pretrain_tiny import Recipe, pretrain_tiny, retrieval

TINY = in_project("data/tiny_clip")


@pytest.fixture(scope="module")
def tiny():
    return backbone.load_backbone(str(TINY), "folder")


def test_is_frozen_and_in_eval_mode(tiny):
    assert not tiny.training
    assert not any(p.requires_grad for p in tiny.parameters())
    model = TMAL(tiny, adapters=("ffn",), bottleneck=8).train()
    assert not model.clip.training
    assert model.adapters.training


@pytest.mark.parametrize("places", [("ffn",), ("attention",), ("attention", "ffn")])
def test_untrained_adapters_are_plain_clip_at_every_block(tiny, places):
    torch.manual_seed(0)
    frames = torch.randn(2, 4, 3, 64, 64)
    model = TMAL(tiny, adapters=places, bottleneck=8)
    with torch.no_grad():
        plain = tiny.visual._embeds(frames.flatten(0, 1))
        for block, tokens in zip([None, *tiny.visual.transformer.resblocks], model.tokens(frames), strict=True):
            plain = plain if block is None else block(plain)
            assert (tokens - plain).abs().max() < 1e-6 * plain.abs().max()
        features = tiny.encode_image(frames.flatten(0, 1)).unflatten(0, (2, 4))
        assert torch.allclose(model.encode(frames), features, atol=1e-5)


def test_full_size_backbone_with_random_weights():
    """ViT-B/16 at 224 pixels: adapters of 12 x 384 train 7.1 M parameters, as ST-Adapter's table says."""
    settings = load_settings("tiny", {"model.backbone": "ViT-B-16-quickgelu", "model.pretrained": "random"})
    model = build(settings.replace({"model.adapters": "ffn", "model.bottleneck": 384}).model)
    trained = sum(p.numel() for p in model.tunable().values())
    assert 7.0e6 < trained < 7.2e6
    with torch.no_grad():
        assert model.encode(torch.zeros(1, 2, 3, 224, 224)).shape == (1, 2, 512)


def test_shipped_weights_know_their_pictures(tiny):
    """Chance is 12.5 % for colour and 2.1 % for colour and shape; the margin is four times that at least."""
    found = retrieval(tiny, str(TINY), pictures=300)
    assert found["colour_pct"] > 80
    assert found["colour_and_shape_pct"] > 8.4
    assert sum(f.stat().st_size for f in TINY.iterdir()) < 16e6


def test_a_few_steps_of_pretraining_lower_the_loss_and_leave_a_whole_folder(tmp_path):
    facts = pretrain_tiny(tmp_path / "clip", Recipe(steps=70, batch_size=48, warmup=10), progress=False)
    assert facts["colour_pct"] > 25  # chance is 12.5 %
    again = backbone.load_backbone(str(tmp_path / "clip"), "folder")
    assert retrieval(again, str(tmp_path / "clip"), pictures=960)["colour_pct"] == facts["colour_pct"]
    assert str(facts["colour_pct"]) in (tmp_path / "clip" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-17", "random", "expected an open_clip model name"),
        ("nowhere", "folder", "Run from the project's root"),
        ("ViT-B-32", "weights/none.pt", "which is not there"),
        ("RN50", "random", "whose image tower is a ViT"),
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
