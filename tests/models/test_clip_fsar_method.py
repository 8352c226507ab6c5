"""The method `clip_fsar`, built from TMAL's parts, computes what the reference's head does on the same features."""

from __future__ import annotations

import pytest
import torch

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
    head.context2.load_state_dict(model.modulation.context2.state_dict())
    with torch.no_grad():
        head.scale.fill_(1.7)
        model.log_text_scale.fill_(torch.tensor(1.7).log())
    return model, head


def test_the_same_scores(pair):
    model, head = pair
    draw = torch.Generator().manual_seed(1)
    support = torch.randn(WAY * SHOTS, FRAMES, WIDTH, generator=draw)
    query, text = torch.randn(4, FRAMES, WIDTH, generator=draw), torch.randn(WAY, WIDTH, generator=draw)
    labels = torch.arange(WAY).repeat(SHOTS)
    combined = model.scores_text
    with torch.no_grad():
        mine = model.episode_logits(query, support, labels, text)
        theirs, _ = head(
            support, query, labels, text[labels], merge_before=True, mode="combine" if combined else "visual"
        )
    if combined:
        # The reference scores text by exact cosines here, and its products of powers are not normalised.
        ratio = mine.softmax(1) / (theirs / theirs.sum(1, keepdim=True))
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=2e-3, rtol=0)
    else:
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_the_same_class_logits(pair):
    model, head = pair
    draw = torch.Generator().manual_seed(2)
    clips, text = torch.randn(5, FRAMES, WIDTH, generator=draw), torch.randn(7, WIDTH, generator=draw)
    with torch.no_grad():
        _, theirs = head(clips[:2], clips[2:], torch.tensor([0, 1]), text[:2], class_text=text)
        torch.testing.assert_close(model.text_similarity(clips, text), theirs, atol=1e-5, rtol=1e-5)


def test_the_whole_image_tower_is_tuned_and_no_text_tower():
    model = build(SETTINGS.model)
    names = model.tunable()
    assert (
        any(name.startswith("clip.visual.") for name in names) and "modulation.context2.layers.0.0.norm.weight" in names
    )
    assert all(p.requires_grad for p in model.clip.visual.parameters())
    assert not any(name.startswith(("clip.transformer", "clip.token_embedding", "log_scale")) for name in names)
