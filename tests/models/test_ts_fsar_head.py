"""The method `ts_fsar` computes what the reference does, trains by its losses, and answers many episodes at once."""

from __future__ import annotations

import json

import pytest
import torch
from golden_weights import by_rule, normalised, read_golden
from tolerances import LAYERS, PARITY, assert_parity

from tmal_core.config import TSFSARSettings, load_settings
from tmal_core.data.clips import EpisodeClips
from tmal_core.errors import SettingsError
from tmal_core.experiment import Experiment
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import build
from tmal_core.models.open_clip_access import QuickGELU, VisionTransformer
from tmal_core.models.references import load_ts_fsar
from tmal_core.models.ts_fsar_encoder import TSFSAREncoder
from tmal_core.models.ts_fsar_head import TSFSARHead
from tmal_core.training.losses import episode_loss

TINY = load_settings("tiny", {"model.method": "ts_fsar"}).for_method("ts_fsar")


class Clip(torch.nn.Module):
    """What the encoder needs of a CLIP: its image tower."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual


@pytest.fixture(params=[1, 3], ids=["1shot", "3shot"])
def golden(request, assets, tmp_path):
    """A golden file, and the method with its weights."""
    tensors, s = read_golden(assets / f"ts_fsar_{request.param}shot.safetensors")
    shapes = json.loads((assets / f"ts_fsar_{request.param}shot_state_dict.json").read_text())
    torch.save({name: by_rule(name, shape) for name, shape in shapes.items()}, tmp_path / "theirs.pth")
    theirs = load_ts_fsar(tmp_path / "theirs.pth", temporal_blocks=s["temporal_blocks"], alpha=s["alpha"])
    parts = TSFSARSettings(
        num_frames=s["frames"],
        side_width=s["side_width"],
        temporal_blocks=s["temporal_blocks"],
        residual=s["residual"],
        clip_temperature=s["temperature_clip"],
        side_temperature=s["temperature_lsn"],
        dropout=0.0,
        guided_weight=s["w_guided_ce"],
        side_weight=s["w_text_lsn"],
        clip_weight=s["w_glac"],
        distillation_temperature=s["kd_temperature"],
        powers=[s["power_matching"], s["power_clip"], s["power_lsn"]],
    )
    model = FewShotModel(TSFSAREncoder(Clip(theirs.visual), parts), TSFSARHead(parts))
    model.head.take_classes(7)
    for name in ("side", "adapter", "up_ln", "up_linear"):
        getattr(model.encoder, name).load_state_dict(getattr(theirs, name).state_dict())
    for name in ("matching", "guided"):
        getattr(model.head, name).load_state_dict(getattr(theirs, name).state_dict())
    return tensors, model


def test_it_answers_as_the_reference(golden):
    tensors, model = golden
    support, query = (normalised(tensors[f"{role}_frames"].float()) for role in ("support", "query"))
    with torch.no_grad():
        logits = model.eval()([query], [support], tensors["support_labels"].long(), tensors["eval.episode_text"])
        assert_parity(logits.exp(), tensors["eval.fused"])
        model.head.parts = model.head.parts.model_copy(update={"powers": (1.0, 0.0, 0.0)})
        assert not model.head.scores_text
        scores = model([query], [support], tensors["support_labels"].long(), tensors["eval.episode_text"])
        assert_parity(scores, tensors["eval.scores"])


def test_a_step_costs_what_the_reference_s_does(golden):
    tensors, model = golden
    model.train()
    frames = torch.cat([normalised(tensors[f"{role}_frames"].float()) for role in ("support", "query")])
    labels = torch.cat([tensors["support_labels"], tensors["query_labels"]]).long()
    ids = torch.cat([tensors["support_class_ids"], tensors["query_class_ids"]]).long()
    classes = torch.stack([ids[labels == label][0] for label in range(5)])
    assert torch.equal(classes[labels], ids)
    everyone = {"bases": torch.arange(len(labels)), "named": torch.ones(len(labels), dtype=torch.bool)}
    clips = EpisodeClips(
        episode_type="all",
        frames=frames,
        flow_px=None,
        labels=labels,
        classes=classes,
        num_support=len(tensors["support_labels"]),
        exchangeable=True,
        **everyone,
    )
    result = episode_loss(model, clips, tensors["text_features_train"], text_weight=1.0)
    assert_parity(result.loss[None], tensors["train.loss"], PARITY)
    result.loss.backward()
    generator = model.head.matching.generator.weight.grad
    assert_parity(generator, tensors["train.grad.ts_dcm.generator.weight"], 2e-4)
    assert all(p.grad is not None and p.grad.any() for p in model.tunable().values())


@pytest.fixture(scope="module")
def tiny():
    return build(TINY.model)


@pytest.fixture(scope="module")
def episodes():
    """Clip tokens of three 3-way episodes of two shots, and names."""
    parts, draw = TINY.model.ts_fsar, torch.Generator().manual_seed(1)
    width = parts.side_width * (parts.side_width + 1) // 2 + parts.side_width + 2 * 128
    query, support = (torch.randn(3, n, 8, width, generator=draw) for n in (4, 6))
    return query, support, torch.randn(3, 3, 128, generator=draw)


@torch.no_grad()
def test_relabelling_permutes_the_logits_and_nobody_else_s_query_matters(tiny, episodes):
    query, support, text = (part[0] for part in episodes)
    labels, head = torch.tensor([0, 1, 2, 0, 1, 2]), tiny.eval().head
    logits = head.episode_logits(query, support, labels, text)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    shuffled = head.episode_logits(query, support[order], labels[order], text)
    torch.testing.assert_close(shuffled, logits, **LAYERS)
    torch.testing.assert_close(head.episode_logits(query[1:2], support, labels, text), logits[1:2], **LAYERS)
    renamed = torch.tensor([2, 0, 1])  # new label of each class
    permuted = head.episode_logits(query, support, renamed[labels], text[renamed.argsort()])
    torch.testing.assert_close(permuted[:, renamed], logits, **LAYERS)


@torch.no_grad()
def test_many_episodes_at_once_are_each_of_them(tiny, episodes):
    head = tiny.eval().head
    for labels in (torch.arange(3).repeat_interleave(2), torch.arange(6)[:3].repeat(2)):
        together = head.group_logits(*episodes[:2], labels, episodes[2])
        for index, found in enumerate(together):
            alone = head.episode_logits(*(part[index] for part in episodes[:2]), labels, episodes[2][index])
            torch.testing.assert_close(found, alone, **LAYERS)


def test_clip_is_frozen_and_the_side_network_starts_from_it(tiny):
    learned = tiny.tunable()
    assert not any(name.startswith("encoder.clip") for name in learned)
    assert {name.split(".")[1] for name in learned} == {"side", "adapter", "up_ln", "up_linear", "matching"}
    tiny.train()
    assert not tiny.encoder.clip.training and tiny.encoder.side.training


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"model.ts_fsar.side_width": 96}, r"side_width a multiple of 64 up to CLIP's 128, got 96\. Change it"),
        ({"model.ts_fsar.side_width": 192}, "side_width a multiple of 64 up to CLIP's 128, got 192"),
        ({"model.ts_fsar.temporal_blocks": [6]}, r"temporal_blocks out of 0\.\.3, the blocks of this CLIP, got \[6\]"),
    ],
)
def test_what_this_clip_has_no_room_for_is_refused(asked, words):
    with pytest.raises(SettingsError, match=words):
        Experiment.of("tiny", asked, "ts_fsar").build()


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"sampling.num_frames": 4}, r"sampling\.num_frames 8, as model\.ts_fsar\.num_frames, got 4\. Set both"),
        ({"model.ts_fsar.powers": [0, 0, 0]}, "powers are all 0"),
        ({"model.ts_fsar.residual": 3}, r"model\.ts_fsar\.residual"),
    ],
)
def test_settings_that_do_not_go_together(asked, words):
    with pytest.raises(SettingsError, match=words):
        Experiment.of("tiny", asked, "ts_fsar")


def test_other_methods_have_no_side_network():
    with pytest.raises(SettingsError, match=r"model\.ts_fsar\.alpha=0\.5, but otam has no side network"):
        Experiment.of("tiny", {"model.ts_fsar.alpha": 0.5}, "otam").of_methods(["otam"])
    with pytest.raises(SettingsError, match=r"model\.smoothing=0\.1, but ts_fsar has no OTAM"):
        Experiment.of("tiny", {"model.smoothing": 0.1}, "ts_fsar").of_methods(["ts_fsar"])


def test_the_tower_that_takes_no_quickgelu_would_do_too():
    """Nothing of the side network is tied to CLIP's activation."""
    visual = VisionTransformer(32, 8, 128, layers=2, heads=2, mlp_ratio=4.0, output_dim=64)
    assert visual.transformer.resblocks[0].mlp.gelu is not QuickGELU
    parts = TSFSARSettings(side_width=64, temporal_blocks=[1], num_frames=2)
    tokens = TSFSAREncoder(Clip(visual), parts).eval()(torch.randn(1, 2, 3, 32, 32))
    assert tokens.shape == (1, 2, 64 * 65 // 2 + 64 + 2 * 64)
