"""The method `clip_fsar` computes what the reference's head does on the same features."""

from __future__ import annotations

import pytest
import torch
from tolerances import LAYERS

from tmal_core.config import load_settings
from tmal_core.models.methods import build
from tmal_core.models.references import CLIPFSARHead

SETTINGS = load_settings("tiny", {"model.method": "clip_fsar", "model.mlp_width": 64})
WAY, SHOTS, FRAMES, WIDTH = 3, 2, 8, 128


@pytest.fixture(params=[0.0, 0.9], ids=["visual", "combined"])
def pair(request):
    """The method and the head with the same random weights."""
    torch.manual_seed(0)
    model = build(SETTINGS.replace({"model.text_score": request.param}).model).eval()
    head = CLIPFSARHead(WIDTH, mlp_width=64).eval()
    head.context2.load_state_dict(model.head.context2.state_dict())
    with torch.no_grad():
        head.scale.fill_(1.7)
        model.head.scale.fill_(1.7)
    return model, head


def test_the_same_scores(pair):
    model, head = pair
    draw = torch.Generator().manual_seed(1)
    support = torch.randn(WAY * SHOTS, FRAMES, WIDTH, generator=draw)
    query, text = torch.randn(4, FRAMES, WIDTH, generator=draw), torch.randn(WAY, WIDTH, generator=draw)
    labels = torch.arange(WAY).repeat(SHOTS)
    combined = model.head.scores_text
    with torch.no_grad():
        mine = model.head.episode_logits(query, support, labels, text)
        theirs, _ = head(
            support, query, labels, text[labels], merge_before=True, mode="combine" if combined else "visual"
        )
    if combined:
        torch.testing.assert_close(mine.exp(), theirs, atol=1e-6, rtol=1e-5)
    else:
        torch.testing.assert_close(mine, theirs, **LAYERS)


def test_the_same_class_logits(pair):
    model, head = pair
    draw = torch.Generator().manual_seed(2)
    clips, text = torch.randn(5, FRAMES, WIDTH, generator=draw), torch.randn(7, WIDTH, generator=draw)
    with torch.no_grad():
        _, theirs = head(clips[:2], clips[2:], torch.tensor([0, 1]), text[:2], class_text=text)
        torch.testing.assert_close(model.head.class_logits(clips, text), theirs, **LAYERS)


def test_the_whole_image_tower_is_tuned_and_no_text_tower():
    model = build(SETTINGS.model)
    names, tower = model.tunable(), model.encoder.clip.visual
    assert {f"encoder.clip.visual.{name}" for name, _ in tower.named_parameters()} < set(names)
    assert "head.context2.layers.0.0.norm.weight" in names and all(p.requires_grad for p in tower.parameters())
    frozen = ("encoder.clip.transformer", "encoder.clip.token_embedding", "head.log_scale")
    assert not any(name.startswith(frozen) for name in names)
