"""TS-FSAR whole, from frames to the fused score, its losses and gradients, and its checkpoints."""

from __future__ import annotations

import json

import pytest
import torch
from golden_weights import by_rule, normalised, read_golden
from safetensors.torch import load_file
from tolerances import PARITY, assert_parity
from torch.nn.functional import cross_entropy

from tmal_core.errors import WeightsError
from tmal_core.models.blocks import plain_tokens
from tmal_core.models.open_clip_access import QuickGELU, VisionTransformer
from tmal_core.models.references import TSFSAR, TaskMatching, fused_scores, load_ts_fsar, ts_fsar_losses
from tmal_core.models.task_matching import frame_representation

GRADIENT = 2e-4


class Golden:
    """One of the two files with its model, whose weights are made by rule."""

    def __init__(self, assets, folder, shot):
        self.tensors, self.settings = read_golden(assets / f"ts_fsar_{shot}shot.safetensors")
        shapes = json.loads((assets / f"ts_fsar_{shot}shot_state_dict.json").read_text())
        self.state = {name: by_rule(name, shape) for name, shape in shapes.items()}
        self.path = folder / f"{shot}shot.pth"
        torch.save(self.state, self.path)
        s = self.settings
        told = {name: s[name] for name in ("alpha", "residual", "temperature_clip", "temperature_lsn")}
        self.model = load_ts_fsar(self.path, temporal_blocks=s["temporal_blocks"], **told)
        self.frames = [normalised(self[f"{role}_frames"].float()) for role in ("support", "query")]
        self.class_ids = torch.cat([self["support_class_ids"], self["query_class_ids"]]).long()

    def __getitem__(self, name):
        return self.tensors[name]


@pytest.fixture(scope="module", params=[1, 3], ids=["1shot", "3shot"])
def golden(request, assets, tmp_path_factory):
    return Golden(assets, tmp_path_factory.mktemp("ts_fsar"), request.param)


def test_its_state_dict_has_the_reference_s_names_and_loads_strictly(golden):
    state = golden.model.state_dict()
    assert state.keys() == golden.state.keys()
    assert all(torch.equal(value, golden.state[name]) for name, value in state.items())
    visual = VisionTransformer(32, 8, 192, layers=4, heads=3, mlp_ratio=4.0, output_dim=64, act_layer=QuickGELU)
    num_frames = golden.settings["frames"]
    fresh = TSFSAR(visual, 7, num_frames=num_frames, side_width=128, temporal_blocks=(1, 3))
    fresh.load_state_dict(golden.state)
    assert all(torch.equal(value, golden.state[name]) for name, value in fresh.state_dict().items())


def test_the_full_size_has_the_names_and_shapes_of_the_official_checkpoint(assets):
    with torch.device("meta"):
        more = {"output_dim": 512, "act_layer": QuickGELU}
        model = TSFSAR(VisionTransformer(224, 16, 768, layers=12, heads=12, mlp_ratio=4.0, **more), 64)
        names = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert names == json.loads((assets / "ts_fsar_state_dict.json").read_text()) and len(names) == 458
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == pytest.approx(15.36e6, rel=1e-3)


@torch.no_grad()
def test_clip_and_the_side_network_are_the_reference_s(golden):
    model, support = golden.model.eval(), golden.frames[0]
    stages = list(plain_tokens(model.visual, support[0, :2]))
    for number, stage in enumerate(stages):
        assert_parity(stage, golden[f"clip.tokens{number}"], what=f"CLIP's tokens {number}")
        reduced = model.side.side_downsample[number](model.side.side_LN[number](stage))
        assert_parity(reduced, golden[f"lsn.reduced{number}"], what=f"reduced {number}")
    states = []
    for number, block in enumerate(model.side.side_transformer):
        block.register_forward_hook(lambda *io, at=number: states.append((at, io[2])))
    tokens, clip = model.encode(support)
    for number, state in states:
        assert_parity(state[: support.shape[1]], golden[f"lsn.block{number}"], what=f"side block {number}")
    assert len(states) == 4
    assert_parity(tokens[0], golden["lsn.state3"], what="the last state")
    assert_parity(clip, golden["clip.cls.support"], what="CLIP's features")
    assert_parity(model.adapter(clip), golden["clip.adapted.support"], what="adapted features")
    assert_parity(tokens[:, :, 0], golden["lsn.cls.support"], what="class tokens")
    described = frame_representation(tokens[:1, :1], golden.settings["alpha"])
    assert_parity(described[0, 0], golden["representation.first_frame"], what="representation")


def test_a_training_step_is_the_reference_s(golden):
    model, s = golden.model.train(), golden.settings
    assert not model.visual.training and s["dropout"] == 0
    output = model(*golden.frames, golden["support_labels"], golden["text_features_train"])
    for name, value in output._asdict().items():
        assert_parity(value, golden[f"train.{name}"], what=name)
    losses = ts_fsar_losses(
        output,
        golden["query_labels"].long(),
        golden.class_ids,
        weight_matching=s["w_matching"],
        weight_guided=s["w_guided_ce"],
        weight_lsn=s["w_text_lsn"],
        weight_glac=s["w_glac"],
        temperature=s["kd_temperature"],
    )
    theirs = ("matching", "guided_ce", "text_lsn", "text_clip", "distillation")
    for value, name in zip(losses[:5], theirs, strict=True):
        assert_parity(value[None], golden[f"train.loss_{name}"], what=name)
    assert_parity(losses.total[None], golden["train.loss"], what="loss")
    model.zero_grad()
    losses.total.backward()
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not any(p.grad is not None for name, p in model.named_parameters() if name not in learned)
    ours = {
        "model.Adapter.": "adapter.",
        "model.Linear.": "guided.",
        "ts_dcm.": "matching.",
        "model.side_": "side.side_",
    }
    for name, wanted in golden.tensors.items():
        if name.startswith(("train.grad.model", "train.grad.ts_dcm")):
            own = name.removeprefix("train.grad.")
            start = next((start for start in ours if own.startswith(start)), "model.")
            gradient = learned[ours.get(start, "") + own.removeprefix(start)].grad
            shown = gradient[:, : wanted.shape[1]] if wanted.ndim == 2 else gradient
            assert_parity(shown, wanted, GRADIENT, own)
    gates = torch.cat([gate.grad for gate in model.side.side_gate_params])
    assert_parity(gates, golden["train.grad.side_gates"], GRADIENT, "gates")
    squared = sum(p.grad.square().sum() for p in learned.values())
    assert_parity(squared[None], golden["train.grad_norm_squared"], GRADIENT, "norm")


@torch.no_grad()
def test_the_fused_score_is_the_reference_s(golden):
    output = golden.model.eval()(*golden.frames, golden["support_labels"], golden["eval.episode_text"])
    powers = {f"power_{name}": golden.settings[f"power_{name}"] for name in ("matching", "clip", "lsn")}
    fused = fused_scores(output, **powers)
    assert_parity(output.scores, golden["eval.scores"], what="scores")
    assert_parity(fused, golden["eval.fused"], what="fused")
    labels = golden["query_labels"].long()
    accuracy = (fused.argmax(1) == labels).float().mean()
    assert accuracy == golden["eval.accuracy"]
    loss = -(fused.gather(1, labels[:, None]) + 1e-8).log().mean()
    assert_parity(loss[None], golden["eval.loss"], what="loss")


@pytest.mark.parametrize("shot, num_frames, alpha", [(1, 8, 0.4), (3, 4, 0.6)])
def test_matching_is_the_reference_s(assets, shot, num_frames, alpha):
    golden, at = load_file(assets / "ts_fsar_matching.safetensors"), f"dcm_{shot}shot"
    query, support = (golden[f"{at}.tokens.{role}"].clone().requires_grad_() for role in ("query", "support"))
    matching = TaskMatching(query.shape[3], num_frames, alpha)
    matching.load_state_dict({"generator.weight": golden[f"{at}.generator.weight"]})
    scores = matching(support, query, golden[f"{at}.support_labels"])
    loss = cross_entropy(scores, golden[f"{at}.query_labels"].long())
    loss.backward()
    assert_parity(frame_representation(query, alpha), golden[f"{at}.representations.query"])
    matrices = matching.matrices(golden[f"{at}.task_prototypes"])
    assert_parity(matrices, golden[f"{at}.matching_matrices"], what="matrices")
    assert_parity(scores, golden[f"{at}.scores"], PARITY, "scores")
    assert_parity(loss[None], golden[f"{at}.loss"], PARITY, "loss")
    gradients = {"query": query.grad, "support": support.grad, "generator": matching.generator.weight.grad}
    for name, gradient in gradients.items():
        assert_parity(gradient, golden[f"{at}.grad_{name}"], GRADIENT, name)


@pytest.mark.usefixtures("shapes_unchecked")
def test_tokens_of_another_number_of_frames_are_refused():
    matching, tokens = TaskMatching(64, 8), torch.zeros(5, 4, 3, 64)
    with pytest.raises(ValueError, match=r"support tokens \(n, 8, 1 \+ P, 64\) with P >= 1, got \(5, 4, 3, 64\)"):
        matching(tokens, tokens, torch.arange(5))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda state: state.pop("ts_dcm.generator.weight"), "a flat dict of tensors with ts_dcm.generator.weight"),
        (lambda state: state.pop("model.Linear.weight"), "without matrices ts_dcm.generator.weight"),
        (lambda state: state.pop("model.up_ln.bias"), "missing: model.up_ln.bias"),
        (lambda state: state.update({"model.more": torch.zeros(1)}), "unknown: model.more"),
        (lambda state: state.pop("model.layers.0.self_attn.k_proj.bias"), "with q, v alone of"),
        (lambda state: state.update({"ts_dcm.generator.weight": torch.zeros(63, 128)}), "of TS-FSAR on a CLIP ViT"),
    ],
)
def test_what_is_no_checkpoint_of_it_is_refused(golden, tmp_path, change, words):
    state = dict(golden.state)
    change(state)
    torch.save(state, tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match=words):
        load_ts_fsar(tmp_path / "theirs.pth", temporal_blocks=(1, 3))


def test_blocks_that_the_checkpoint_has_not_are_refused(golden):
    with pytest.raises(WeightsError, match=r"blocks out of 0\.\.3, got \[6, 8, 10\]\)\. Correct temporal_blocks"):
        load_ts_fsar(golden.path)


def test_what_older_transformers_wrote_beside_is_dropped(golden, tmp_path):
    torch.save(golden.state | {"model.embeddings.position_ids": torch.arange(17)[None]}, tmp_path / "theirs.pth")
    assert load_ts_fsar(tmp_path / "theirs.pth", temporal_blocks=(1, 3)).state_dict().keys() == golden.state.keys()
