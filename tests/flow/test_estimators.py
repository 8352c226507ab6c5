"""DIS on known motion, RAFT's sizes and weights, names and errors."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tmal_core.errors import DataError, RunError, SettingsError, WeightsError
from tmal_core.flow.dis import DIS, PRESETS
from tmal_core.flow.estimator import DIS_NAMES, ESTIMATORS, TorchEstimator, build_estimator, flow_batches, flow_of_pairs
from tmal_core.flow.raft import RAFT, load_raft
from tmal_core.runtime.weights_files import WEIGHTS


def moving_texture(height, width, velocity, num_frames=2, seed=0):
    """(N, H, W, 3) uint8: a smooth random texture that moves by `velocity` (dx, dy) whole pixels a frame."""
    generator = np.random.default_rng(seed)
    big = cv2.GaussianBlur(generator.uniform(0, 255, (height + 80, width + 80, 3)).astype(np.float32), (0, 0), 2.5)
    big = ((big - big.min()) / (big.max() - big.min()) * 255).astype(np.uint8)
    dx, dy = velocity
    return np.stack(
        [big[40 - t * dy : 40 - t * dy + height, 40 - t * dx : 40 - t * dx + width] for t in range(num_frames)]
    )


def as_batch(frames):
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


@pytest.mark.parametrize("velocity", [(3, -2), (-4, 0)])
@pytest.mark.parametrize("size", [(96, 128), (65, 71), (8, 40)])
def test_dis_finds_known_motion(velocity, size):
    frames = as_batch(moving_texture(*size, velocity))
    flow = DIS().estimate(frames[:1], frames[1:])
    assert flow.shape == (1, 2, *size) and flow.dtype == torch.float32
    if min(size) >= 16:
        error = (flow[0] - torch.tensor(velocity, dtype=torch.float32).view(2, 1, 1)).norm(dim=0)
        assert error[8:-8, 8:-8].mean() < 0.3


def test_dis_does_not_depend_on_dtype_history_or_pickling():
    frames = as_batch(moving_texture(120, 160, (3, 1), num_frames=4))
    fresh = DIS().estimate(frames[2:3], frames[3:])
    used = DIS()
    used.estimate(frames[:2], frames[1:3])
    assert torch.equal(used.estimate(frames[2:3], frames[3:]), fresh)
    assert torch.equal(DIS().estimate(frames[2:3].float(), frames[3:].float()), fresh)
    assert torch.equal(pickle.loads(pickle.dumps(used)).estimate(frames[2:3], frames[3:]), fresh)


@pytest.mark.parametrize("name", DIS_NAMES)
def test_dis_does_not_remember_small_frames(name):
    """Below some size OpenCV changes the scale it works at, and would stay there: flow would depend on its order."""
    large, small = as_batch(moving_texture(120, 160, (3, 1))), as_batch(moving_texture(40, 44, (1, 1), num_frames=3))
    fresh = [DIS(name).estimate(frames[:1], frames[1:2]) for frames in (large, small)]
    second = DIS(name).estimate(small[1:2], small[2:])
    used = DIS(name)
    batch = used.estimate(small[:2], small[1:])
    assert torch.equal(batch[:1], fresh[1]) and torch.equal(batch[1:], second)
    assert torch.equal(used.estimate(large[:1], large[1:]), fresh[0])


def test_dis_does_not_depend_on_threads():
    """Else flow made with other numbers of workers would differ. Unrelated pictures: the search goes everywhere."""
    first, second = (as_batch(moving_texture(150, 160, (1, 0), seed=seed)[:1]) for seed in (1, 2))
    threads = cv2.getNumThreads()
    try:
        flows = []
        for number in (1, 2, 3):
            cv2.setNumThreads(number)
            flows.append(DIS().estimate(first, second))
    finally:
        cv2.setNumThreads(threads)
    assert torch.equal(flows[0], flows[1]) and torch.equal(flows[0], flows[2])


def test_dis_presets_are_what_their_names_say():
    """Each has its own patches and search; through workers each stays what it is."""
    frames = as_batch(moving_texture(96, 128, (3, -2)))
    flows = {}
    for name in DIS_NAMES:
        estimator = build_estimator(name)
        assert estimator.name == name and estimator.weights_hash == "none" and estimator.runs_in_workers
        flows[name] = estimator.estimate(frames[:1], frames[1:])
        error = (flows[name][0] - torch.tensor([3.0, -2.0]).view(2, 1, 1)).norm(dim=0)
        assert error[8:-8, 8:-8].mean() < 0.5
        copy = pickle.loads(pickle.dumps(estimator))
        assert copy.name == name and torch.equal(copy.estimate(frames[:1], frames[1:]), flows[name])
    assert not torch.equal(flows["dis"], flows["dis_fast"])
    assert not torch.equal(flows["dis_fast"], flows["dis_ultrafast"])
    assert tuple(PRESETS) == DIS_NAMES


def test_pairs_in_batches_are_the_pairs_one_by_one():
    frames = moving_texture(48, 64, (2, 1), num_frames=5)
    pairs = np.array([[0, 1], [3, 4], [1, 2], [0, 1], [4, 3]])
    flow = flow_of_pairs(DIS(), frames, pairs, batch_pairs=2)
    images = as_batch(frames)
    for index, (first, second) in enumerate(pairs):
        alone = DIS().estimate(images[first : first + 1], images[second : second + 1])
        assert np.array_equal(flow[index], alone[0].numpy())
    assert flow_of_pairs(DIS(), frames, pairs[:0]).shape == (0, 2, 48, 64)
    assert [len(batch) for batch in flow_batches(DIS(), frames, pairs, batch_pairs=2)] == [2, 2, 1]


class SmallGPU(DIS):
    """Runs out of memory above some number of pairs."""

    def __init__(self, most):
        super().__init__()
        self.most, self.asked = most, []

    def estimate(self, first, second):
        self.asked.append(len(first))
        if len(first) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().estimate(first, second)


def test_batches_that_a_gpu_does_not_take_are_halved():
    frames = moving_texture(48, 64, (2, 1), num_frames=6)
    pairs = np.stack([np.arange(5), np.arange(1, 6)], axis=1)
    estimator = SmallGPU(most=2)
    assert np.array_equal(flow_of_pairs(estimator, frames, pairs), flow_of_pairs(DIS(), frames, pairs))
    assert estimator.asked == [5, 5, 5, 4, 2, 2, 1]
    with pytest.raises(
        RunError, match=r"GPU memory for one pair of frames, got too little for 64x48\. Choose a smaller"
    ):
        flow_of_pairs(SmallGPU(most=0), frames, pairs)


@pytest.mark.parametrize("size", [(128, 136), (67, 130)])
def test_raft_takes_any_size(size):
    torch.manual_seed(0)
    model = RAFT("raft_small", num_updates=2).eval()
    frames = as_batch(moving_texture(*size, (2, 0)))
    flow = TorchEstimator("raft_small", model, "none", "cpu").estimate(frames[:1], frames[1:])
    assert flow.shape == (1, 2, *size) and flow.dtype == torch.float32
    assert not flow.requires_grad
    if size == (128, 136):
        with torch.inference_mode():
            scaled = frames.float() / 255 * 2 - 1
            assert torch.allclose(flow, model.raft(scaled[:1], scaled[1:], num_flow_updates=2)[-1], atol=1e-5)


class Coordinates(torch.nn.Module):
    """Stands in for the network: returns the coordinates of its padded input as flow."""

    def forward(self, first, second, num_flow_updates):
        assert first.shape[-2:] == (128, 136) and first.abs().max() <= 1
        y, x = torch.meshgrid(torch.arange(128.0), torch.arange(136.0), indexing="ij")
        return [torch.stack([x, y])[None]]


def test_raft_crops_back_where_it_padded():
    model = RAFT("raft_small")
    model.raft = Coordinates()
    flow = model(torch.full((1, 3, 101, 133), 255.0), torch.zeros(1, 3, 101, 133))
    assert flow.shape == (1, 2, 101, 133)
    assert flow[0, 0, 0, 0] == 1 and flow[0, 1, 0, 0] == 13


def test_raft_weights_are_checked_and_loaded(tmp_path, monkeypatch):
    entry = WEIGHTS["raft_small"]
    torch.manual_seed(1)
    weights = RAFT("raft_small").raft.state_dict()
    torch.save(weights, tmp_path / entry.file)
    with pytest.raises(WeightsError, match=r"sha256 01064c6d\.\.\.\), got sha256 [0-9a-f]{12}.*Replace it by"):
        build_estimator("raft_small", tmp_path)
    digest = hashlib.sha256((tmp_path / entry.file).read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "raft_small", dataclasses.replace(entry, sha256=digest[:8]))
    estimator = build_estimator("raft_small", tmp_path)
    assert estimator.name == "raft_small" and estimator.weights_hash == digest and not estimator.runs_in_workers
    assert all(torch.equal(weights[key], value) for key, value in estimator.module.raft.state_dict().items())


def test_missing_weights_say_what_goes_where(tmp_path):
    with pytest.raises(WeightsError) as caught:
        build_estimator("raft_large", tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "raft_large_C_T_SKHT_V2-ff5fadd5.pth") in message
    assert "sha256 ff5fadd5" in message and "no such file" in message and f"put it into {tmp_path}" in message


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    foreign = {
        r"of another network \(Missing key\(s\) in state_dict": {"conv.weight": torch.zeros(1)},
        r"of another network \(Unexpected key\(s\)": {**RAFT("raft_small").raft.state_dict(), "more": torch.zeros(1)},
        r"an archive of state_dict, epoch": {"state_dict": {}, "epoch": 1},
        r"an archive of list": [torch.zeros(1)],
        r"an archive of 0": {0: torch.zeros(1)},
    }
    for words, content in foreign.items():
        torch.save(content, path)
        with pytest.raises(WeightsError, match=f"expected weights of raft_small, got .*other.pth .*{words}.* Replace"):
            load_raft("raft_small", path)
    with pytest.raises(WeightsError, match=r"absent\.pth \(no such file\)"):
        load_raft("raft_small", tmp_path / "absent.pth")


@pytest.fixture(scope="module")
def raft_bytes(tmp_path_factory) -> dict[str, bytes]:
    """A whole weights file in torch's two containers: a zip archive, and one pickle after the other."""
    folder = tmp_path_factory.mktemp("raft")
    for zipped in (True, False):
        torch.save(RAFT("raft_small").raft.state_dict(), folder / str(zipped), _use_new_zipfile_serialization=zipped)
    return {"zip": (folder / "True").read_bytes(), "pickle": (folder / "False").read_bytes()}


@pytest.mark.parametrize("container", ["zip", "pickle"])
def test_truncated_weights_are_refused(raft_bytes, tmp_path, container):
    path, whole = tmp_path / "weights.pth", raft_bytes[container]
    path.write_bytes(whole)
    load_raft("raft_small", path)
    for length in [0, 1, 2, 7, 40, 500, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"weights\.pth \(.+\)\. Replace it by raft_small_C_T_V2"):
            load_raft("raft_small", path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04"]), rest=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path_factory, start, rest):
    """Bytes after the header of a pickle are read as instructions, and fail in whatever way they ask for."""
    path = tmp_path_factory.getbasetemp() / "random.pth"
    path.write_bytes(start + rest)
    with pytest.raises(WeightsError, match=r"random\.pth"):
        load_raft("raft_small", path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x02e.", "IndexError: pop from empty list"),
        (b"\x80\x02h\x07.", "KeyError: 7"),  # fetches what was never put
        (b"\x80\x02X\xff\xff\xff\x7fabc", "EOFError"),  # a string of 2 GB that is not there
        (b"no weights", "UnpicklingError: Unsupported operand 110"),
        (b"PK\x03\x04", "RuntimeError: PytorchStreamReader failed reading zip archive: not a ZIP archive"),
    ],
)
def test_damaged_weights_are_refused_whatever_their_bytes_raise(tmp_path, content, reason):
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_raft("raft_small", path)
    assert caught.value.got == f"{path} ({reason})"


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_weights_is_not_run(tmp_path, zipped):
    touched, path = tmp_path / "touched", tmp_path / "evil.pth"
    torch.save({"feature_encoder.weight": Payload(touched)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth \(UnpicklingError: it asks to run ") as caught:
        load_raft("raft_small", path)
    assert "weights_only" not in str(caught.value), "torch advises to run the code"
    path.write_bytes(pickle.dumps(Payload(touched), protocol=2))
    with pytest.raises(WeightsError, match=r"evil\.pth"):
        load_raft("raft_small", path)
    assert not touched.exists()
    pickle.loads(path.read_bytes())
    assert touched.exists(), "the payload itself does nothing: the test would show nothing"


def test_flownet2_names_reach_their_variant(tmp_path, monkeypatch):
    asked = []

    def load_flownet2(path, variant):
        asked.append((path.name, variant))
        return torch.nn.Identity()

    monkeypatch.setitem(sys.modules, "tmal_core.flow.flownet2", SimpleNamespace(load_flownet2=load_flownet2))
    with pytest.raises(WeightsError, match=r"FlowNet2-CSS_checkpoint\.pth\.tar .*states no checksum"):
        build_estimator("flownet2css", tmp_path)
    (tmp_path / "FlowNet2-CSS_checkpoint.pth.tar").write_bytes(b"weights")
    estimator = build_estimator("flownet2css", tmp_path)
    assert asked == [("FlowNet2-CSS_checkpoint.pth.tar", "CSS")]
    assert estimator.weights_hash == hashlib.sha256(b"weights").hexdigest()


def test_unknown_names_and_shapes_are_refused():
    with pytest.raises(SettingsError, match=f"{ESTIMATORS[0]}, dis_fast.*raft_small.*got 'farneback'"):
        build_estimator("farneback")
    with pytest.raises(DataError, match="same shape"):
        DIS().estimate(torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 8))
    with pytest.raises(DataError, match=r"\(B, 3, H, W\)"):
        DIS().estimate(torch.zeros(1, 9, 9, 3), torch.zeros(1, 9, 9, 3))
