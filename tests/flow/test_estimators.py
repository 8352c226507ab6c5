"""DIS on known motion, RAFT's sizes and weights, names and errors."""

from __future__ import annotations

import hashlib
import pickle
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tmal_core.errors import DataError, SettingsError, WeightsError
from tmal_core.flow import raft
from tmal_core.flow.checkpoint import require_file
from tmal_core.flow.dis import DIS
from tmal_core.flow.estimator import ESTIMATORS, TorchEstimator, build_estimator, flow_of_pairs
from tmal_core.flow.raft import RAFT, load_raft, raft_file


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


def test_pairs_in_batches_are_the_pairs_one_by_one():
    frames = moving_texture(48, 64, (2, 1), num_frames=5)
    pairs = np.array([[0, 1], [3, 4], [1, 2], [0, 1], [4, 3]])
    flow = flow_of_pairs(DIS(), frames, pairs, batch_pairs=2)
    images = as_batch(frames)
    for index, (first, second) in enumerate(pairs):
        alone = DIS().estimate(images[first : first + 1], images[second : second + 1])
        assert np.array_equal(flow[index], alone[0].numpy())
    assert flow_of_pairs(DIS(), frames, pairs[:0]).shape == (0, 2, 48, 64)


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
    file = raft_file("raft_small")
    assert file.name == "raft_small_C_T_V2-01064c6d.pth" and file.checksum == "01064c6d"
    torch.manual_seed(1)
    weights = RAFT("raft_small").raft.state_dict()
    torch.save(weights, tmp_path / file.name)
    with pytest.raises(WeightsError, match=r"sha256 01064c6d\.\.\.\), got sha256 [0-9a-f]{12}.*Replace it by"):
        build_estimator("raft_small", tmp_path)
    digest = hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest()
    monkeypatch.setattr(raft, "raft_file", lambda name: file._replace(checksum=digest[:8]))
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
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"expected weights of raft_small, got .*other\.pth"):
        load_raft("raft_small", path)
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"other\.pth"):
        load_raft("raft_small", path)


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
    with pytest.raises(SettingsError, match=f"{ESTIMATORS[0]}, raft_small.*got 'farneback'"):
        build_estimator("farneback")
    with pytest.raises(DataError, match="same shape"):
        DIS().estimate(torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 8))
    with pytest.raises(DataError, match=r"\(B, 3, H, W\)"):
        DIS().estimate(torch.zeros(1, 9, 9, 3), torch.zeros(1, 9, 9, 3))


def test_checksum_is_of_the_whole_file(tmp_path):
    (tmp_path / "w").write_bytes(b"x" * (1 << 20) + b"end")
    digest = hashlib.sha256(b"x" * (1 << 20) + b"end").hexdigest()
    assert require_file(tmp_path, "w", "there", digest[:8]) == (tmp_path / "w", digest)
