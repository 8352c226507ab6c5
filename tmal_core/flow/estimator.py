"""Optical flow estimators behind one interface, by name.

`dis` (OpenCV) needs no weights and is the default; `dis_fast` and `dis_ultrafast` are coarser and faster. `raft_small`
and `raft_large` (torchvision) and the six variants of FlowNet2 need a weights file, which is looked for in one folder
(`tmal_core.runtime.weights_files`) and never downloaded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tmal_core.config import in_project
from tmal_core.errors import RunError, SettingsError
from tmal_core.flow.frame_pairs import check_pair
from tmal_core.runtime.weights_files import entry_of, require

DIS_NAMES = ("dis", "dis_fast", "dis_ultrafast")
RAFT_NAMES = ("raft_small", "raft_large")
FLOWNET2_VARIANTS = {"flownet2": "2"} | {f"flownet2{name.lower()}": name for name in ("C", "S", "SD", "CS", "CSS")}
ESTIMATORS = (*DIS_NAMES, *RAFT_NAMES, *FLOWNET2_VARIANTS)


class FlowEstimator(Protocol):
    """What every estimator offers."""

    name: str  # one of ESTIMATORS
    weights_hash: str  # sha256 of the weights file; "none" where there are no weights
    runs_in_workers: bool  # cheap and picklable: extraction runs it in the workers that decode, not on a device

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow from the first frames to the second.

        Args:
            first, second: (B, 3, H, W) RGB in 0..255, uint8 or floating, any H and W.

        Returns:
            (B, 2, H, W) float32 on the CPU, (dx, dy) in pixels: second(x + dx, y + dy) shows what first(x, y) shows.
        """


class TorchEstimator:
    """An estimator that is a torch module: moves batches to its device and back.

    Args:
        module: `module(first, second)`: (B, 3, H, W) RGB float32 in 0..255 twice to (B, 2, H, W) in pixels.
    """

    runs_in_workers = False

    def __init__(self, name: str, module: torch.nn.Module, weights_hash: str, device: str | torch.device) -> None:
        self.name, self.weights_hash, self.device = name, weights_hash, torch.device(device)
        self.module = module.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowEstimator."""
        check_pair(first, second)
        return self.module(first.to(self.device).float(), second.to(self.device).float()).float().cpu()


def build_estimator(
    name: str, weights_dir: Path | str | None = None, device: str | torch.device = "cpu"
) -> FlowEstimator:
    """The estimator of that name (one of ESTIMATORS), ready to use.

    Args:
        weights_dir: folder of weights files, in place of `weights_folder()`; DIS needs none.
        device: of the networks; DIS always runs on the CPU.

    Raises:
        SettingsError: no estimator has that name.
        WeightsError: the weights file is missing or is not the official one.
    """
    if name in DIS_NAMES:
        from tmal_core.flow.dis import DIS

        return DIS(name)
    if name not in ESTIMATORS:
        raise SettingsError(f"a flow estimator among {', '.join(ESTIMATORS)}", repr(name), "Change flow.estimator.")
    path, digest = require(entry_of(name), None if weights_dir is None else in_project(weights_dir))
    if name in RAFT_NAMES:
        from tmal_core.flow.raft import load_raft

        return TorchEstimator(name, load_raft(name, path), digest, device)
    from tmal_core.flow.flownet2 import load_flownet2

    return TorchEstimator(name, load_flownet2(path, FLOWNET2_VARIANTS[name]), digest, device)


def flow_of_pairs(estimator: FlowEstimator, frames: np.ndarray, pairs: np.ndarray, batch_pairs: int = 32) -> np.ndarray:
    """Flow for pairs of decoded frames.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        pairs: (M, 2) indices of the first and second frame of each pair; M may be 0.

    Returns:
        (M, 2, H, W) float32, pixels.

    >>> frames = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    >>> flow = flow_of_pairs(build_estimator("dis"), frames, np.array([[0, 1], [0, 0]]))
    >>> flow.shape, float(np.abs(flow[1]).max())  # a frame does not move against itself
    ((2, 2, 24, 32), 0.0)
    """
    flow = np.empty((len(pairs), 2, *frames.shape[1:3]), dtype=np.float32)
    rows = chain.from_iterable(flow_batches(estimator, frames, pairs, batch_pairs))
    for target, row in zip(flow, rows, strict=True):
        target[...] = row
    return flow


def flow_batches(
    estimator: FlowEstimator, frames: np.ndarray, pairs: np.ndarray, batch_pairs: int = 32
) -> Iterator[np.ndarray]:
    """The flow of `flow_of_pairs` in batches of at most `batch_pairs`, each estimated when it is asked for.

    Batches that a GPU's memory does not take are halved.

    Raises:
        RunError: not even a single pair fits.
    """
    start = 0
    while start < len(pairs):
        # Views: channels stay last in memory, as DIS wants them.
        both = (torch.from_numpy(frames[rows]).permute(0, 3, 1, 2) for rows in pairs[start : start + batch_pairs].T)
        first, second = both
        try:
            flow = estimator.estimate(first, second)
        except torch.OutOfMemoryError as error:
            if batch_pairs == 1:
                got = f"too little for {frames.shape[2]}x{frames.shape[1]}"
                remedy = f"Choose a smaller estimator than {estimator.name}, or the CPU."
                raise RunError("GPU memory for one pair of frames", got, remedy) from error
            batch_pairs //= 2
            continue
        yield flow.numpy()
        start += len(first)
