"""ST-Adapter's classifier against the reference's tensors and names."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tolerances import TOLERANCE, assert_parity

from tmal_core.errors import WeightsError
from tmal_core.models.references import STAdapterClassifier, load_st_adapter

SMALL = {"image_size": 16, "patch_size": 8, "width": 64, "layers": 3, "bottleneck": 8}


@pytest.fixture(scope="module")
def golden(assets):
    tensors = load_file(assets / "st_adapter.safetensors")
    return {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}


@pytest.fixture(scope="module")
def weights(golden):
    return {name: value for name, value in golden.items() if name not in ("input_BCTHW", "logits")}


def test_logits_are_the_reference_s(golden, weights):
    model = STAdapterClassifier(
        7, image_size=32, patch_size=8, width=64, layers=3, bottleneck=24, adapter_blocks=[1, 2]
    )
    model.load_state_dict(weights)
    logits, expected = model.eval()(golden["input_BCTHW"]), golden["logits"]
    assert_parity(logits, expected)


def test_sizes_are_read_from_the_weights(golden, weights):
    model = STAdapterClassifier.from_state_dict(weights).eval()
    expected = golden["logits"]
    assert_parity(model(golden["input_BCTHW"]), expected)


def test_the_full_checkpoint_loads_by_name(assets):
    shapes = json.loads((assets / "st_adapter_vitb16_24x384_state_dict.json").read_text())
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
        model = STAdapterClassifier(num_classes=174)
        model.load_state_dict(state, strict=True)
        read = STAdapterClassifier.from_state_dict(state)
    for one in (model, read):
        assert {name: list(value.shape) for name, value in one.state_dict().items()} == shapes
    adapters = sum(value.numel() for name, value in model.named_parameters() if "adapter" in name)
    assert round(adapters / 1e6, 1) == 14.2


@pytest.mark.parametrize("places", [(True, False), (False, True), (True, True)])
def test_untrained_adapters_change_nothing(places):
    before_attention, before_mlp = places
    torch.manual_seed(0)
    model = STAdapterClassifier(5, **SMALL, before_attention=before_attention, before_mlp=before_mlp).eval()
    plain = STAdapterClassifier(5, **SMALL, adapter_blocks=[]).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "adapter" not in name})
    clips = torch.randn(2, 3, 4, 16, 16)
    assert torch.equal(model(clips), plain(clips))
    rebuilt = STAdapterClassifier.from_state_dict(model.state_dict())
    assert rebuilt.state_dict().keys() == model.state_dict().keys()


def test_a_clip_s_logits_do_not_depend_on_the_batch(golden, weights):
    model = STAdapterClassifier.from_state_dict(weights).eval()
    clips = golden["input_BCTHW"]
    torch.testing.assert_close(model(clips[1:]), model(clips)[1:], **TOLERANCE[torch.float32])


def test_the_order_of_frames_counts(golden, weights):
    model = STAdapterClassifier.from_state_dict(weights).eval()
    clips = golden["input_BCTHW"]
    assert not torch.allclose(model(clips), model(clips.flip(2)), atol=1e-3)


def test_the_last_adapter_has_nothing_to_learn_from(golden, weights):
    """It changes patch tokens, and the class token alone is read behind it."""
    model = STAdapterClassifier.from_state_dict(weights).eval()
    model(golden["input_BCTHW"]).square().sum().backward()
    without = {name for name, parameter in model.named_parameters() if not parameter.grad.any()}
    assert without == {name for name in weights if name.startswith("transformer.resblocks.2.adapter_pre_mlp.")}


def test_another_checkpoint_is_refused(weights):
    def without(part: str) -> dict:
        return {name: value for name, value in weights.items() if part not in name}

    for state, message in (
        (without("adapter"), "ST-Adapter classifier, got x.pth without adapter_pre_attn"),
        (without("fc.bias"), "fc.bias"),
        (without("conv1"), "weights of a CLIP ViT"),
        (without("ln_post"), "missing: ln_post.weight, ln_post.bias"),
        (weights | {"proj": torch.zeros(2)}, "unknown: proj"),
    ):
        with pytest.raises(WeightsError, match=message):
            STAdapterClassifier.from_state_dict(state, "x.pth")


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(2, 4, 3, 16, 16), (2, 3, 4, 16, 24), (3, 4, 16, 16)])
def test_wrong_clips_are_named(shape):
    with pytest.raises(ValueError, match=r"clips \(B, 3, T, 16, 16\), got"):
        STAdapterClassifier(5, **SMALL)(torch.zeros(shape))


class _Tower(torch.nn.Module):
    """Stands in for open_clip's image tower: the same names, and `proj`, which the classifier does not have."""

    def __init__(self, weights):
        super().__init__()
        self.state = {name: value for name, value in weights.items() if not trained(name)} | {
            "proj": torch.zeros(64, 8)
        }

    def state_dict(self):
        return self.state


def trained(name: str) -> bool:
    return "adapter" in name or name.startswith("fc.")


def test_a_checkpoint_of_trained_weights_alone_is_filled_up(golden, weights, tmp_path):
    """As the reference's training writes it."""
    path = tmp_path / "checkpoint-49.pth"
    model = {name: value for name, value in weights.items() if trained(name)}
    torch.save({"model": model, "optimizer": {"state": {}, "param_groups": []}, "next_epoch": 50}, path)
    with pytest.raises(
        WeightsError, match=r"got .*checkpoint-49\.pth, which holds the trained ones alone\. Pass the image"
    ):
        load_st_adapter(path)
    read = load_st_adapter(path, _Tower(weights))
    assert not read.training
    assert_parity(read(golden["input_BCTHW"]), golden["logits"])


def test_a_whole_checkpoint_by_its_place_in_the_folder_of_weights(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path))
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "st_adapter_ssv2_vitb16_24x384.pth")
    read = load_st_adapter("st_adapter_ssv2").state_dict()
    assert all(torch.equal(read[name], value.half().float()) for name, value in weights.items())


def test_a_file_that_is_no_checkpoint_of_it(weights, tmp_path):
    path = tmp_path / "checkpoint.pth"
    with pytest.raises(WeightsError, match=r"checkpoint\.pth, which is not there"):
        load_st_adapter(path)
    torch.save({"model": 1}, path)
    with pytest.raises(WeightsError, match=r"expected a checkpoint of ST-Adapter .*\(an archive of model\)"):
        load_st_adapter(path)
    torch.save({"model": {"fc.bias": torch.zeros(3)}}, path)
    with pytest.raises(WeightsError, match="expected the weights of an ST-Adapter classifier"):
        load_st_adapter(path, _Tower(weights))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="tensors and plain values"):
        load_st_adapter(path)
