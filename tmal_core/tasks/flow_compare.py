"""Flow estimators side by side: which can be used here, how far they are from the truth, how long they take.

Letters: M pairs of frames, H, W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from tmal_core.config import in_project
from tmal_core.data.diagnostic.known_flow import KnownClip, known_clips
from tmal_core.errors import WeightsError
from tmal_core.flow.estimator import DIS_NAMES, ESTIMATORS, FlowEstimator, build_estimator, flow_of_pairs
from tmal_core.runtime.devices import machine_name
from tmal_core.runtime.weights_files import entry_of, weights_path

SIZES = ((72, 72), (256, 340))
"""Height and width of frames: those of the diagnostic videos, and 4:3 video as it is stored."""


def estimators_here(
    weights_dir: str | Path | None = None, device: str | torch.device = "cpu"
) -> tuple[dict[str, FlowEstimator], pd.DataFrame]:
    """The estimators that can be used on this machine, and a row for every one that there is.

    Args:
        weights_dir: folder of weights files, in place of the usual one.
        device: of the networks.

    Returns:
        Name -> estimator; and a table with estimator, usable (bool) and weights (in words: "needs none", the checksum
        of what is there, what to put where, or what is wrong with it).
    """
    folder = None if weights_dir is None else in_project(weights_dir)
    usable: dict[str, FlowEstimator] = {}
    rows = []
    for name in ESTIMATORS:
        if name not in DIS_NAMES and not (path := weights_path(entry_of(name), folder)).is_file():
            root, place = in_project("."), path.parent
            shown = f"{place.relative_to(root)}/" if place.is_relative_to(root) else str(place)
            weights = f"no weights here: put {path.name} at {shown}"
        else:
            try:
                usable[name] = build_estimator(name, folder, device)
                weights = "needs none" if name in DIS_NAMES else f"sha256 {usable[name].weights_hash[:12]}..."
            except WeightsError as error:
                # Shown, not raised: a damaged file of one estimator is no reason to compare none.
                weights = f"unusable: {error}"
        rows.append({"estimator": name, "usable": name in usable, "weights": weights})
    return usable, pd.DataFrame(rows)


def estimate_all(
    estimators: Mapping[str, FlowEstimator], clips: Sequence[KnownClip]
) -> dict[str, dict[str, np.ndarray]]:
    """Flow of all pairs of neighbouring frames: clip -> estimator -> (F - 1, 2, H, W), pixels."""
    flows: dict[str, dict[str, np.ndarray]] = {}
    for clip in clips:
        first = np.arange(len(clip.frames) - 1)
        pairs = np.stack([first, first + 1], axis=1)
        flows[clip.name] = {name: flow_of_pairs(each, clip.frames, pairs) for name, each in estimators.items()}
    return flows


def error_table(clips: Sequence[KnownClip], flows: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """How far flow of `estimate_all` is from the truth.

    Returns:
        One row per clip and estimator: clip, motion, estimator, epe_px (mean end-point error over what stays in
        sight), epe_hidden_px (over what goes out of sight, where flow can only be guessed), over_1px_pct (share of
        pixels in sight that are off by more than a pixel).
    """
    rows = []
    for clip in clips:
        for name, flow in flows[clip.name].items():
            error = np.hypot(*(flow - clip.flow_px).swapaxes(0, 1))
            seen, hidden = error[clip.visible], error[~clip.visible]
            figures = {"epe_px": seen.mean(), "epe_hidden_px": hidden.mean(), "over_1px_pct": 100 * (seen > 1).mean()}
            rows.append({"clip": clip.name, "motion": clip.motion, "estimator": name, **figures})
    return pd.DataFrame(rows).astype({"epe_px": float, "epe_hidden_px": float, "over_1px_pct": float})


def speed_table(
    estimators: Mapping[str, FlowEstimator],
    sizes: Sequence[tuple[int, int]] = SIZES,
    num_pairs: int = 4,
    rounds: int = 7,
    budget_s: float = 4.0,
) -> pd.DataFrame:
    """Milliseconds a pair, measured now on this machine: medians over rounds in which all estimators take turns.

    DIS gets as many threads as torch has.

    Args:
        sizes: (height, width) of the frames.
        num_pairs: pairs of one call.
        rounds: calls of each estimator at each size.
        budget_s: an estimator that took longer at a size does no further round there.

    Returns:
        One row per estimator: estimator, a column `ms_<height>x<width>` per size, and machine (in words).
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(torch.get_num_threads())
    columns = {f"ms_{h}x{w}": _milliseconds(estimators, (h, w), num_pairs, rounds, budget_s) for h, w in sizes}
    cv2.setNumThreads(threads)
    devices = {str(getattr(estimator, "device", "cpu")) for estimator in estimators.values()}
    return pd.DataFrame({"estimator": list(estimators), **columns, "machine": machine_name(*sorted(devices))})


def _milliseconds(
    estimators: Mapping[str, FlowEstimator], size: tuple[int, int], num_pairs: int, rounds: int, budget_s: float
) -> list[float]:
    frames = known_clips(scenes=("waves",))[0].frames
    frames = np.stack([cv2.resize(frames[t % len(frames)], size[::-1]) for t in range(num_pairs + 1)])
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    seconds: dict[str, list[float]] = {name: [] for name in estimators}
    for estimator in estimators.values():
        if torch.device(getattr(estimator, "device", "cpu")).type == "cuda":
            estimator.estimate(images[:-1], images[1:])  # compiles kernels, which takes longer than the budget
    for _ in range(rounds):
        for name, estimator in estimators.items():
            if sum(seconds[name]) < budget_s:
                start = time.perf_counter()
                estimator.estimate(images[:-1], images[1:])
                seconds[name].append(time.perf_counter() - start)
    return [1e3 * float(np.median(taken)) / num_pairs for taken in seconds.values()]
