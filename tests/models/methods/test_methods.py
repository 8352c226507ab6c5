"""What a method fixes, reads and has no use for is true of the model that it builds."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from tmal_core.config import ModelSettings, TSFSARSettings, load_settings
from tmal_core.errors import SettingsError
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.methods import (
    METHODS,
    Method,
    build,
    inputs,
    method,
    needs_names,
    register,
    resolved,
    text_at_test,
    unread,
)
from tmal_core.models.methods.registry import NAMES

SIDE = {"model.ts_fsar.side_width": 64, "model.ts_fsar.temporal_blocks": [1, 3]}
TINY = load_settings("tiny", {"model.method": "tmal", "model.bottleneck": 8, "model.fusion_width": 8, **SIDE}).model
# Other values of every switch; what is read changes the model by one of them.
OTHERS = {
    "adapters": ("attention", "none"),
    "bottleneck": (12,),
    "flow_encoder": ("clip", "difference", "stem"),
    "text": (False, True),
    "fusion": ("prototype", "none"),
    "fusion_levels": ("last",),
    "text_levels": ("last",),
    "fusion_width": (12,),
    "mlp_width": (64,),
    "tune_backbone": (True,),
    "matching": ("bimhm", "otam", "otam+diagonal"),
    "temporal_attention": (2,),
    "task_conditioned": (True,),
    "side_width": (64, 128),
    "text_score": (0.5,),
    "logit_scale": (2.0,),
    "text_scale": (1.0,),
    "smoothing": (0.1,),
    "smoothing_unit": ("std",),
    "centre": ("clip", "both", "gate"),
    "gate_sharpness": (2.0,),
    "ts_fsar": (TSFSARSettings(side_width=128, temporal_blocks=[1, 3]),),
    "tuples": ((3, 2), (2,)),
    "tuple_width": (64,),
}
ABLATIONS = [
    {"adapters": "none"},
    {"flow_encoder": "none"},
    {"flow_encoder": "difference"},
    {"flow_encoder": "difference", "fusion": "prototype"},
    {"flow_encoder": "clip", "fusion": "prototype"},
    {"flow_encoder": "clip", "fusion_levels": "none", "text": False},
    {"text": False},
    {"fusion": "token"},
    {"fusion": "prototype"},
    {"fusion": "none"},
    {"flow_encoder": "none", "text": False},
    {"matching": "mean"},
    {"matching": "bimhm"},
    {"matching": "bimhm+otam"},
    {"matching": "diagonal+tuples"},
    {"centre": "gate"},
    {"centre": "clip"},
    {"temporal_attention": 1, "adapters": "none"},
    {"side_width": 64, "adapters": "none"},
    {"centre": "gate", "matching": "mean"},
]
CHOICES = (
    [{"method": name} for name in METHODS]
    + [{"method": "otam", "centre": "gate"}, {"method": "trx", "text_score": 0.2}]
    + [{"method": "tmal", **parts} for parts in ABLATIONS]
)


@functools.cache
def _clip() -> torch.nn.Module:
    return load_backbone(located(TINY.backbone), TINY.pretrained)


def _facts(parts: ModelSettings) -> list[object]:
    """All that a model of these settings is: its tensors, what of them is learned, and what its modules keep."""
    clip = _clip()  # before the seed: reading it for the first time draws random numbers
    torch.manual_seed(0)
    model = method(parts.method).build(clip, resolved(parts))
    learned = {  # as bytes: the last bits of a sum depend on where in memory it stands
        name: (p.requires_grad, b"" if "clip" in name else p.detach().numpy().tobytes())
        for name, p in model.named_parameters()
    }
    plain = (bool, int, float, str, tuple, dict)
    kept = {
        (name, key): value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and isinstance(value, plain)
    }
    return [learned, {name: tensor.shape for name, tensor in model.state_dict().items()}, kept]


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: " ".join(map(str, chosen.values())))
def test_a_switch_is_fixed_or_read_or_named_as_unread(chosen):
    parts = resolved(TINY.model_copy(update=chosen))
    named, before = unread(parts), _facts(parts)
    assert all(words.startswith(f"{parts.method} has no ") for words in named.values())
    for switch, others in OTHERS.items():
        if switch in METHODS[parts.method].fixed:
            assert switch not in named
            continue
        changes = any(_facts(parts.model_copy(update={switch: other})) != before for other in others)
        assert changes == (switch not in named), switch
    assert set(OTHERS) | NAMES | {"method", "backbone", "pretrained"} == set(ModelSettings.model_fields)
    assert NAMES & set(named) == (set() if "class names" in inputs(parts) else NAMES)
    assert text_at_test(parts) == "none" or "class names" in inputs(parts)


def test_what_is_read_of_names_has_one_source():
    several = {"prompts": ("a {}", "the {}")}
    described = {"descriptions": Path("texts.json")}
    both = {"prompt", "prompts"}
    for update, idle in (({}, set()), (several, {"prompt"}), (described, both), (several | described, both)):
        found = {key: why for key, why in unread(TINY.model_copy(update=update)).items() if key in NAMES}
        assert set(found) == idle
    assert found["prompts"] == "tmal has no use for model.prompts beside model.descriptions with these settings"
    assert unread(TINY.model_copy(update=several))["prompt"] == (
        "tmal has no use for model.prompt beside model.prompts with these settings"
    )


def test_where_class_text_is_read_at_test():
    def of(**update):
        return text_at_test(TINY.model_copy(update=update))

    assert of(method="zero_shot") == of(method="otam", text_score=0.1) == "score"
    assert of(method="otam") == of(method="st_adapter") == of(text=False) == of(fusion="none") == "none"
    assert of() == of(method="clip_fsar") == "features"
    assert of(text_score=0.5) == of(method="clip_fsar", text_score=0.9) == "both"
    assert of(method="ts_fsar") == "score"
    silent = TINY.ts_fsar.model_copy(update={"powers": (1.0, 0.0, 0.0)})
    assert of(method="ts_fsar", ts_fsar=silent) == "none"
    assert needs_names(TINY.model_copy(update={"method": "ts_fsar", "ts_fsar": silent})), "to learn by"


def test_methods_fix_their_parts_and_tmal_none():
    for name in METHODS:
        parts = resolved(TINY.model_copy(update={"method": name}))
        assert all(getattr(parts, key) == value for key, value in METHODS[name].fixed.items())
        assert not METHODS[name].reads & set(METHODS[name].fixed)
    assert resolved(TINY) == TINY


def test_what_methods_are_given_is_known_without_their_weights():
    given = {name: inputs(TINY.model_copy(update={"method": name})) for name in METHODS}
    assert given["zero_shot"] == given["clip_fsar"] == ("frames", "class names")
    assert given["otam"] == given["st_adapter"] == ("frames",)
    assert given["tmal"] == ("frames", "flow", "class names")
    neighbours = TINY.model_copy(update={"flow_encoder": "difference"})
    assert inputs(neighbours) == ("frames", "differences of frames", "class names")
    assert inputs(TINY.model_copy(update={"fusion": "none"})) == ("frames",)
    assert inputs(TINY.model_copy(update={"method": "otam", "text_score": 0.5})) == ("frames", "class names")


def test_a_method_is_registered_once_and_of_switches_that_there_are():
    with pytest.raises(SettingsError, match=r"a name that no method has \(zero_shot, .*got 'otam'\. Choose another"):
        register(METHODS["otam"])
    with pytest.raises(SettingsError, match="switches of ModelSettings in mine, got colour"):
        register(Method("mine", "mine", trained=False, build=METHODS["otam"].build, reads=frozenset({"colour"})))
    with pytest.raises(SettingsError, match=r"a method among zero_shot, .*tmal, got 'mine'"):
        build(TINY.model_copy(update={"method": "mine"}))
