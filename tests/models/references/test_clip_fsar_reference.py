"""CLIP-FSAR's head and checkpoint against the reference's tensors, and its invariants."""

from __future__ import annotations

import json
import pickle
import re

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from safetensors.torch import load_file
from tolerances import TOLERANCE, assert_parity
from torch.nn.functional import cross_entropy

from tmal_core.errors import WeightsError
from tmal_core.models.prototypes import class_means
from tmal_core.models.references import CLIPFSARHead, load_clip_fsar
from tmal_core.models.state_dicts import vit_shape

EVAL = {
    "plain": {},
    "merge_before": {"merge_before": True},
    "single_direct": {"bidirectional": False},
    "eval_text": {"mode": "text"},
    "combine": {"mode": "combine"},
    "combine_merge_before": {"mode": "combine", "merge_before": True, "text_power": 0.7},
}


def part(golden: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


@pytest.fixture(scope="module", params=[1, 3], ids=["1shot", "3shot"])
def golden(request, assets):
    return load_file(assets / f"clipfsar_{request.param}shot.safetensors")


@pytest.fixture
def head(golden):
    head = CLIPFSARHead(64)
    head.load_state_dict({k: v for k, v in golden.items() if k.startswith("context2.") or k == "scale"})
    return head.eval()


@pytest.fixture
def visual(golden):
    tower = VisionTransformer(32, 8, 64, layers=3, heads=1, mlp_ratio=4.0, output_dim=64, act_layer=QuickGELU)
    tower.load_state_dict(part(golden, "visual."))
    return tower.eval()


@pytest.fixture
def episode(golden):
    text = golden["text_features_test"][golden["support_class_ids"].long()]
    return golden["frame_features.support"], golden["frame_features.query"], golden["support_labels"], text


@pytest.mark.parametrize("entry", EVAL)
def test_scores_are_the_reference_s(golden, head, episode, entry):
    logits, class_logits = head(*episode, **EVAL[entry])
    assert class_logits is None
    assert_parity(logits, golden[f"{entry}.eval.logits"], what=entry)


def test_frame_features_are_the_reference_s(golden, visual):
    for role in ("support", "query"):
        features = visual(golden[f"{role}_images"]).unflatten(0, (-1, 8))
        assert_parity(features, golden[f"frame_features.{role}"], what=role)


@pytest.mark.parametrize("entry", ["plain", "merge_before"])
def test_a_training_step_is_the_reference_s(golden, head, visual, entry):
    head.train()
    for module in head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # as in the golden step
    support, query = (visual(golden[f"{role}_images"]).unflatten(0, (-1, 8)) for role in ("support", "query"))
    labels, class_ids = golden["support_labels"], golden["support_class_ids"].long()
    text = golden["text_features_train"]
    logits, class_logits = head(support, query, labels, text[class_ids], class_text=text, **EVAL[entry])

    query_labels = golden["query_labels"].long()
    class_of = {int(label): class_id for label, class_id in zip(labels, class_ids, strict=True)}
    query_ids = torch.stack([class_of[int(label)] for label in query_labels])
    loss = cross_entropy(logits, query_labels) + 1.5 * cross_entropy(class_logits, torch.cat([class_ids, query_ids]))
    loss.backward()
    got = {
        "logits": logits,
        "class_logits": class_logits,
        "loss_classification1.5": loss[None],
        "grad_to_q": head.context2.layers[0][0].fn.to_q.weight.grad,
        "grad_conv1": visual.conv1.weight.grad,
    }
    for name, value in got.items():
        assert_parity(value, golden[f"{entry}.train.{name}"], what=f"{entry} {name}")


def test_names_are_the_reference_s(golden):
    names = {name for name in golden if name.startswith("context2.")} | {"scale"}
    assert set(CLIPFSARHead(64).state_dict()) == names
    assert torch.equal(CLIPFSARHead(64).scale, torch.ones(1))


def test_dropout_is_on_in_training_only(head, episode):
    still = head(*episode)[0]
    assert torch.equal(still, head(*episode)[0])
    assert [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)] == [0.2, 0.05, 0.05]
    assert not torch.allclose(head.train()(*episode)[0], still)


@pytest.mark.parametrize("entry", EVAL)
def test_relabelling_permutes_the_columns_and_the_support_s_order_does_not_matter(head, episode, entry):
    support, query, labels, text = episode
    logits, _ = head(*episode, **EVAL[entry])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    shuffled, _ = head(support[order], query, labels[order], text[order], **EVAL[entry])
    torch.testing.assert_close(shuffled, logits, **TOLERANCE[torch.float32])
    permuted = torch.tensor([2.0, 0.0, 3.0, 1.0])  # new label of each class
    relabelled, _ = head(support, query, 10 * permuted[labels.long()], text, **EVAL[entry])
    torch.testing.assert_close(relabelled[:, permuted.long()], logits, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("entry", EVAL)
def test_a_query_s_score_does_not_depend_on_the_others(head, episode, entry):
    support, query, labels, text = episode
    logits, _ = head(*episode, **EVAL[entry])
    alone, _ = head(support, query[1:2], labels, text, **EVAL[entry])
    torch.testing.assert_close(alone, logits[1:2], **TOLERANCE[torch.float32])


def test_class_means_by_ascending_label():
    means = class_means(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([7.0, -1.0, 7.0]))
    assert torch.equal(means, torch.tensor([[2.0], [2.5]]))


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support": torch.zeros(4, 8, 5)}, r"support clips \(n, T, 6\), n, T >= 1, got \(4, 8, 5\)"),
        ({"query": torch.zeros(0, 8, 6)}, r"query clips .* got \(0, 8, 6\)"),
        ({"support_labels": torch.zeros(3)}, r"labels \(4,\), got \(3,\)"),
        ({"support_text": torch.zeros(3, 6)}, r"text \(4, 6\), got \(3, 6\)"),
        ({"class_text": torch.zeros(9, 5)}, r"class text \(9, 6\), got \(9, 5\)"),
        ({"mode": "both"}, "a mode out of visual, text, combine, got 'both'"),
        ({"mode": "combine", "text_power": 1.5}, r"text_power in 0\.\.1, got 1\.5"),
    ],
)
def test_wrong_input_is_named(change, message):
    good = {
        "support": torch.zeros(4, 8, 6),
        "query": torch.zeros(2, 8, 6),
        "support_labels": torch.arange(4),
        "support_text": torch.zeros(4, 6),
    }
    head = CLIPFSARHead(6, num_heads=2, mlp_width=4)
    assert head(**good)[0].shape == (2, 4)
    with pytest.raises(ValueError, match=message):
        head(**(good | change))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="divisible by 8 heads, got 12"):
        CLIPFSARHead(12)


@pytest.fixture
def model_state(golden):
    backbone = {f"head.backbone.{name}": value for name, value in part(golden, "visual.").items()}
    rest = {f"head.{k}": v for k, v in golden.items() if k.startswith("context2.") or k == "scale"}
    return backbone | rest


def test_a_checkpoint_gives_backbone_and_head(golden, episode, model_state, tmp_path):
    torch.save({"epoch": 3, "model_state": model_state, "cfg": "TRAIN: true"}, tmp_path / "checkpoint.pyth")
    backbone, head = load_clip_fsar(tmp_path / "checkpoint.pyth")
    assert not backbone.training and not head.training
    query = backbone(golden["query_images"]).unflatten(0, (-1, 8))
    support, _, labels, text = episode
    assert_parity(head(support, query, labels, text)[0], golden["plain.eval.logits"], what="logits")


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


CONTEXT = "head.context2.layers.0.0.fn.to_q.weight"
DAMAGES = {
    "a key is missing": (lambda s: without(s, "head.scale"), "missing: scale"),
    "one of another shape": (lambda s: s | {CONTEXT: torch.zeros(8, 64)}, r"to_q\.weight \(8, 64\) for \(64, 64\)"),
    "an unknown key": (lambda s: s | {"head.mid_layer.weight": torch.zeros(2)}, r"unknown: mid_layer\.weight"),
    "a missing block": (
        lambda s: without(s, "head.backbone.transformer.resblocks.1.ln_1.bias"),
        r"missing: .*1\.ln_1\.bias",
    ),
    "a residual network": (lambda s: without(s, "head.backbone.proj"), r"CLIP-FSAR on a ViT, got .*backbone\.proj"),
    "no positions": (lambda s: without(s, "head.backbone.positional_embedding"), "weights of a CLIP ViT"),
    "no context": (lambda s: {k: v for k, v in s.items() if "context2" not in k}, r"context2\.layers\.0\.1\.net\.0"),
    "not tensors": (lambda s: s | {"head.scale": 1.0}, "`model_state`, a dict of tensors"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_of_another_model_is_refused(model_state, tmp_path, damage):
    change, message = DAMAGES[damage]
    torch.save({"model_state": change(model_state)}, tmp_path / "checkpoint.pyth")
    with pytest.raises(WeightsError, match=message):
        load_clip_fsar(tmp_path / "checkpoint.pyth")


def test_heads_that_do_not_divide_the_width_are_refused(model_state, tmp_path):
    torch.save({"model_state": model_state}, tmp_path / "checkpoint.pyth")
    with pytest.raises(WeightsError, match="divisible by 7 heads"):
        load_clip_fsar(tmp_path / "checkpoint.pyth", num_heads=7)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pyth"
    with pytest.raises(WeightsError, match=rf"{re.escape(str(path))}, which is not there"):
        load_clip_fsar(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="tensors and plain values"):
        load_clip_fsar(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="tensors and plain values"):
        load_clip_fsar(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(WeightsError, match="`model_state`"):
        load_clip_fsar(path)


class _RunsCode:
    def __reduce__(self):
        return pickle.loads, (b"N.",)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    torch.save({"model_state": _RunsCode()}, tmp_path / "checkpoint.pyth")
    with pytest.raises(WeightsError, match="tensors and plain values"):
        load_clip_fsar(tmp_path / "checkpoint.pyth")


def test_names_and_shapes_are_those_of_the_full_size_checkpoint(assets):
    wanted = json.loads((assets / "clip_fsar_state_dict.json").read_text())["ViT-B/16"]["model_state"]
    wanted = {name: tuple(shape) for name, (shape, _) in wanted.items()}
    state = {name.removeprefix("head.backbone."): torch.empty(shape, device="meta") for name, shape in wanted.items()}
    shape = vit_shape(state, "the list")
    with torch.device("meta"):
        tower, head = VisionTransformer(**shape._asdict(), mlp_ratio=4.0, output_dim=512), CLIPFSARHead(512)
    mine = {f"head.backbone.{name}": tuple(value.shape) for name, value in tower.state_dict().items()}
    assert mine | {f"head.{name}": tuple(value.shape) for name, value in head.state_dict().items()} == wanted
