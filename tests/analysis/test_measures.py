"""All explanations by name, and weights in random order, on a small tower with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tmal_core.analysis.attention_maps import capture_attention, class_token_maps
from tmal_core.analysis.measures import MEASURES, explain
from tmal_core.analysis.named_patches import patch_text_similarity
from tmal_core.analysis.occlusion import patch_cost
from tmal_core.analysis.target import Target
from tmal_core.analysis.weights_anew import in_random_order, rank_correlation
from tmal_core.config import ModelSettings
from tmal_core.data.clips import Clip
from tmal_core.models.backbone import load_backbone
from tmal_core.models.methods.otam import METHOD as OTAM
from tmal_core.models.methods.tmal import METHOD as TMAL

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}
FRAMES_ALONE = {"tokens of the first block", "tokens of the last block", "likeness to the name"}
FRAMES_ALONE |= {"attention rollout", "attention of the last block"}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    pictures = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": pictures}))
    torch.manual_seed(0)
    return load_backbone(str(folder), "random")


def target_of(model, way=3):
    seen = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=seen))
    model.eval()
    text = torch.randn(way, 24, generator=seen)
    support = Clip(*(torch.randn(way, 4, n, 32, 32, generator=seen) for n in (3, 2)))
    return Target.of_clips(model, support, torch.arange(way), text, 1)


@pytest.fixture(scope="module")
def target(backbone):
    parts = ModelSettings(adapters="both", bottleneck=8, fusion_width=8, mlp_width=16, text_levels="last")
    return target_of(TMAL.build(backbone, parts))


@pytest.fixture(scope="module")
def clip():
    return Clip(*(torch.randn(4, n, 32, 32, generator=torch.Generator().manual_seed(n)) for n in (3, 2)))


def test_every_measure_gives_a_map_per_input(target, clip):
    frames, flow = (explain(target, clip, what) for what in ("frames", "flow"))
    assert list(frames) == list(MEASURES) and set(flow) == set(MEASURES) - FRAMES_ALONE
    for found in (*frames.values(), *flow.values()):
        assert found.shape == (4, 2, 2) and found.isfinite().all() and found.unique().numel() > 1
    shared = set(flow) & set(frames)
    assert all(not torch.equal(frames[name], flow[name]) for name in shared)


def test_maps_are_what_their_modules_make(target, clip):
    found = explain(target, clip, "frames")
    torch.testing.assert_close(found["occlusion"], patch_cost(target, clip, "frames"))
    attention = capture_attention(target.model, clip.frames[None], clip.flow_px[None])[0]
    torch.testing.assert_close(found["attention of the last block"], class_token_maps(attention[:, -1], (2, 2)))
    names = patch_text_similarity(target.model, clip, target.text)
    torch.testing.assert_close(found["likeness to the name"], names[..., 1] - (names[..., 0] + names[..., 2]) / 2)


def test_maps_are_of_the_class_but_where_it_is_said(target, clip):
    own, other = explain(target, clip), explain(target.of_label(0), clip)
    same = {name for name in own if torch.equal(own[name], other[name])}
    assert same == {name for name, measure in MEASURES.items() if not measure.knows_class}


def test_a_method_without_parts_has_fewer_measures(backbone, clip):
    frozen = target_of(
        OTAM.build(backbone, ModelSettings(method="otam", adapters="none", flow_encoder="none", text=False))
    )
    assert set(explain(frozen, clip)) == set(MEASURES) - {"size of what is added", "likeness to the name"}
    with pytest.raises(ValueError, match="expected a method that reads flow"):
        explain(frozen, clip, "flow")
    with pytest.raises(ValueError, match=r"expected measures among occlusion, .*, got guess"):
        explain(frozen, clip, "frames", ["occlusion", "guess"])


def test_a_target_of_clips_is_that_of_their_tokens(target):
    """Support encoded with the names of its classes, as an episode does it."""
    seen = torch.Generator().manual_seed(9)
    support = Clip(*(torch.randn(3, 4, n, 32, 32, generator=seen) for n in (3, 2)))
    found = Target.of_clips(target.model, support, torch.arange(3), target.text, 2)
    with torch.no_grad():
        tokens = target.model.encoder(*support, text=target.text)
    torch.testing.assert_close(found.support, tokens, atol=1e-5, rtol=1e-4)
    assert found.label == 2 and found.of_label(0).label == 0 and found.of_label(0).support is found.support


@pytest.mark.parametrize("which", ["trained", "all"])
def test_weights_keep_their_numbers_and_lose_their_places(target, which):
    model = target.model
    before = {name: value.clone() for name, value in model.named_parameters()}
    copy = dict(in_random_order(model, which, np.random.default_rng(0)).named_parameters())
    trained = set(model.tunable())
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
        torch.testing.assert_close(copy[name].flatten().sort().values, value.flatten().sort().values)
        if value.unique().numel() > 8:
            assert torch.equal(copy[name], value) == (which == "trained" and name not in trained), name
    again, other = (dict(in_random_order(model, which, np.random.default_rng(s)).named_parameters()) for s in (0, 1))
    name = max(trained, key=lambda one: copy[one].unique().numel())
    assert torch.equal(again[name], copy[name]) and not torch.equal(other[name], copy[name])


def test_rank_correlation_by_hand():
    first = torch.arange(8.0).view(2, 2, 2)
    assert rank_correlation(first, first.exp()) == pytest.approx(1) and rank_correlation(first, -first) == -1
    assert rank_correlation(first, torch.ones(2, 2, 2)) == 0
    with pytest.raises(ValueError, match="expected maps of one size"):
        rank_correlation(first, first[:1])
