"""FlowNet2: the reference's flow for all six variants, frames of any size, and what the loader takes and refuses."""

from __future__ import annotations

import copy
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tolerances import NETWORK, assert_parity
from torch import Tensor
from torch.nn import functional as F

from tmal_core.errors import DataError, SettingsError, WeightsError
from tmal_core.flow.flownet2 import VARIANTS, FlowNet2, load_flownet2


def golden_name(variant: str) -> str:
    return "flownet2" + ("" if variant == "2" else variant.lower())


@pytest.fixture(scope="module")
def goldens(assets: Path) -> dict[str, Tensor]:
    return load_file(assets / "flownet2.safetensors")


@pytest.fixture(scope="module")
def shapes(assets: Path) -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the official checkpoints, by variant."""
    return {each: json.loads((assets / f"{golden_name(each)}_state_dict.json").read_text()) for each in VARIANTS}


@pytest.fixture(scope="module")
def build(shapes) -> Callable[[str], FlowNet2]:
    """Models with the goldens' weights, made by rule from the parameters' names and so shared among the variants."""
    made: dict[tuple, Tensor] = {}

    def parameter(name: str, shape: tuple[int, ...]) -> Tensor:
        if (name, shape) not in made:
            generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + 20261122) % 2**31)
            scale = math.sqrt(1.6 / math.prod(shape[1:])) if len(shape) > 1 else 0.05
            made[name, shape] = torch.randn(shape, generator=generator).mul_(scale)
        return made[name, shape]

    def build_variant(variant: str) -> FlowNet2:
        with torch.device("meta"):
            model = FlowNet2(variant)
        state = {name: parameter(name, tuple(shape)) for name, shape in shapes[variant].items()}
        model.load_state_dict(state, assign=True)
        return model.eval().requires_grad_(False)

    return build_variant


@pytest.fixture(scope="module")
def pair(goldens) -> tuple[Tensor, Tensor]:
    return goldens["pair_uint8_range"].unbind(dim=2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_have_the_official_names_and_shapes(variant, shapes):
    with torch.device("meta"):
        model = FlowNet2(variant)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == shapes[variant]
    assert {name for name, _ in model.named_parameters()} == set(shapes[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_reference(variant, build, pair, goldens):
    got = build(variant)(*pair)
    wanted = goldens[f"{golden_name(variant)}.flow"]
    assert got.dtype == torch.float32
    assert_parity(got, wanted, what=variant)


@pytest.mark.parametrize(("height", "width"), [(50, 70), (64, 90), (1, 3)])
def test_other_sizes_are_padded_by_their_border_and_cropped_back(height, width, build, pair):
    model = build("C")
    first, second = (frames[:, :, :height, :width] for frames in pair)
    got = model(first, second)
    # By hand: the mean is that of the frames as given, the border repeated on both sides.
    mean = torch.cat((first, second), dim=3).mean(dim=(2, 3), keepdim=True)
    top, left = -height % 64 // 2, -width % 64 // 2
    sides = (left, -width % 64 - left, top, -height % 64 - top)
    network = model._network
    quarter = network(*(F.pad((frames - mean) / 255, sides, mode="replicate") for frames in (first, second)))
    full = F.interpolate(20 * quarter, scale_factor=4, mode="bilinear", align_corners=False)
    assert got.shape == (1, 2, height, width)
    torch.testing.assert_close(got, full[:, :, top : top + height, left : left + width], **NETWORK)


def test_pairs_of_a_batch_do_not_meet(build, pair):
    model = build("CS")
    first, second = (frames[:, :, :64, :64] for frames in pair)
    batch = model(torch.cat((first, second * 0.5)), torch.cat((second, first)))
    torch.testing.assert_close(batch[:1], model(first, second), **NETWORK)
    torch.testing.assert_close(batch[1:], model(second * 0.5, first), **NETWORK)


def test_uint8_and_float_frames_give_the_same(build, pair):
    model = build("S")
    whole = [frames[:, :, :64, :64].round() for frames in pair]
    assert torch.equal(model(*whole), model(*(frames.to(torch.uint8) for frames in whole)))


def test_autocast_hands_on_float32(build, pair):
    model = build("CS")
    first, second = (frames[:, :, :64, :64] for frames in pair)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(first, second)
    assert low.dtype == torch.float32
    assert_parity(low, model(first, second), 0.05)


def test_a_copy_of_a_single_network_is_independent(build, pair):
    model = build("S")
    first, second = (frames[:, :, :64, :64] for frames in pair)
    before = model(first, second)
    other = copy.deepcopy(model)
    other.predict_flow2.bias.data += 1.0
    torch.testing.assert_close(other(first, second), before + 20.0, rtol=1e-4, atol=1e-3)
    assert torch.equal(model(first, second), before)


@pytest.mark.parametrize("scaled", [lambda x: x / 255, lambda x: (x / 255 - 0.45) / 0.27, lambda x: x / 127.5 - 1])
def test_scaled_frames_are_refused(scaled, pair):
    model = FlowNet2.__new__(FlowNet2)
    with pytest.raises(DataError, match=r"RGB frames in 0\.\.255, got values in .*Pass the decoded frames"):
        FlowNet2.forward(model, *(scaled(frames) for frames in pair))
    with pytest.raises(DataError, match="RGB frames in"):
        FlowNet2.forward(model, pair[0], scaled(pair[1]))


@pytest.mark.parametrize("value", [0.0, 1.0, 3.0])
def test_black_frames_are_not_taken_for_scaled_ones(value, build):
    frames = torch.full((1, 3, 64, 64), value)
    assert build("S")(frames, frames).isfinite().all()


def test_frames_of_two_sizes_are_refused(build):
    with pytest.raises(DataError, match=r"two batches of frames of the same shape \(B, 3, H, W\)"):
        build("S")(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 65))


def archive(path: Path, shapes: dict[str, list[int]], **changed: object) -> Path:
    """A checkpoint as the official ones are packed; one number per tensor, so that 160 M parameters take a few KB."""
    state = {name: torch.full((1,), number / 1000).expand(shape) for number, (name, shape) in enumerate(shapes.items())}
    content = {"arch": "FlowNet2", "epoch": 5, "state_dict": state, "best_EPE": 1.5} | changed
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("variant", ["S", "CS"])
def test_official_archives_load(variant, shapes, tmp_path):
    model = load_flownet2(archive(tmp_path / "weights.pth.tar", shapes[variant]), variant)
    assert model.variant == variant
    assert not model.training
    for number, name in enumerate(shapes[variant]):
        parameter = model.get_parameter(name)
        assert parameter.dtype == torch.float32
        assert (parameter == number / 1000).all(), name


@pytest.mark.parametrize(("held", "wanted"), [("CS", "CSS"), ("CSS", "CS"), ("2", "C"), ("C", "S"), ("S", "SD")])
def test_another_variant_is_refused_with_both_names(held, wanted, shapes, tmp_path):
    path = archive(tmp_path / "weights.pth.tar", shapes[held])
    with pytest.raises(WeightsError, match=rf"FlowNet2 variant {wanted}, got .* of variant {held}\."):
        load_flownet2(path, wanted)


def test_another_network_is_refused_with_a_parameter_that_differs(shapes, tmp_path):
    lacking = {name: shape for name, shape in shapes["S"].items() if name != "conv4.0.bias"}
    with pytest.raises(WeightsError, match=r"1 parameters differ \(conv4\.0\.bias: none instead of \(512,\)\)"):
        load_flownet2(archive(tmp_path / "a", lacking), "S")
    with pytest.raises(WeightsError, match=r"1 parameters differ \(more: \(3,\) instead of none\)"):
        load_flownet2(archive(tmp_path / "b", shapes["S"] | {"more": [3]}), "S")


def test_a_missing_file_says_which_one_belongs_there(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pth \(no such file\)\. Put the official FlowNet2-CSS_checkpoint"):
        load_flownet2(tmp_path / "absent.pth", "CSS")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x80\x02}q"])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "weights.pth.tar"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.pth\.tar \(.+\)\. Put the official FlowNet2_checkpoint"):
        load_flownet2(path, "2")


def test_a_cut_file_is_refused(shapes, tmp_path):
    path = archive(tmp_path / "weights.pth.tar", shapes["S"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="checkpoint"):
        load_flownet2(path, "S")


def test_an_archive_without_state_dict_is_refused(tmp_path):
    torch.save({"model": {}, "epoch": 1}, tmp_path / "a")
    with pytest.raises(WeightsError, match=r"an archive of model, epoch"):
        load_flownet2(tmp_path / "a", "S")
    torch.save([1, 2], tmp_path / "b")
    with pytest.raises(WeightsError, match=r"an archive of list"):
        load_flownet2(tmp_path / "b", "S")


def test_code_in_an_archive_is_not_run(shapes, tmp_path):
    path = archive(tmp_path / "weights.pth.tar", {}, args=Evil(tmp_path / "touched"))
    with pytest.raises(WeightsError, match="checkpoint"):
        load_flownet2(path, "S")
    assert not (tmp_path / "touched").exists()


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_an_unknown_variant_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="a FlowNet2 variant among 2, C, S, SD, CS, CSS, got 'CSSS'"):
        FlowNet2("CSSS")
    with pytest.raises(SettingsError, match="got 'c'"):
        load_flownet2(tmp_path / "weights.pth.tar", "c")
