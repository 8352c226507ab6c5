"""DIS extraction against bare DIS, what storage costs in accuracy and size, and how far DIS itself is from the truth.

Videos are made here: a textured background that pans under a textured disc that moves on its own, 320x240, H.264.
Extraction and bare DIS take turns in the same worker processes, video by video, so that other load hits both and the
numbers of workers are equal; bare DIS gets grey frames that lie in memory already. The start of a worker is left out:
it takes seconds and happens once, however long the extraction.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from subjects import write_video
from torch.nn.functional import interpolate

from tmal_core.data.video import read_frames
from tmal_core.data.video.sampling import grid_positions
from tmal_core.flow.estimator import build_estimator, flow_of_pairs
from tmal_core.flow.extraction import extract
from tmal_core.flow.store import FlowMeta, FlowStore

HEIGHT, WIDTH, NUM_FRAMES, GRID = 240, 320, 49, 32
NUM_SCENES, COPIES = 3, 6


def texture(seed: int, height: int = HEIGHT + 160, width: int = WIDTH + 320) -> np.ndarray:
    """(height, width, 3) uint8: random, smooth on two scales."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    picture = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 6.0))
    return (picture * 60 / picture.std() / 1.5 + 128).clip(0, 255).astype(np.uint8)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (F, H, W, 3) uint8 and their true flow (F - 1, 2, H, W), whole pixels."""
    generator = np.random.default_rng(seed)
    back, disc = texture(2 * seed), texture(2 * seed + 1)
    pan = generator.integers(1, 4, 2) * generator.choice([-1, 1], 2)
    own = generator.integers(1, 3, 2) * generator.choice([-1, 1], 2)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centre = np.array([WIDTH // 2, HEIGHT // 2]) - own * (NUM_FRAMES // 2)
    frames, flows = [], []
    for t in range(NUM_FRAMES):
        # Offsets run back and forth inside the textures; every tenth step is a turn.
        shift, moved = np.array([160, 80]) - pan * _zigzag(t), np.array([160, 80]) - own * (t - NUM_FRAMES // 2)
        picture = back[shift[1] : shift[1] + HEIGHT, shift[0] : shift[0] + WIDTH].copy()
        top = disc[moved[1] : moved[1] + HEIGHT, moved[0] : moved[0] + WIDTH]
        inside = np.hypot(*(np.stack([x, y]) - (centre + own * t)[:, None, None])) < 50
        picture[inside] = top[inside]
        frames.append(picture)
        background = pan * (_zigzag(t + 1) - _zigzag(t))
        flows.append(np.where(inside, own[:, None, None], background[:, None, None]))
    return np.stack(frames), np.stack(flows[:-1]).astype(np.float32)


def _zigzag(t: int) -> int:
    return abs((t + 10) % 20 - 10)


def make_table(folder: Path) -> pd.DataFrame:
    """Videos in a folder and their rows of a catalogue."""
    rows = []
    for seed in range(NUM_SCENES):
        path = folder / f"scene{seed}.mp4"
        write_video(path, scene(seed)[0], "libx264", {"crf": "23"}, fps=24)  # x264's default, as most videos are
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for copy in range(COPIES):
            row = {"video": f"{path.stem}-{copy}", "path": f"{path.stem}-{copy}.mp4", "sha256": digest}
            rows.append({**row, "num_frames": NUM_FRAMES, "height": HEIGHT, "width": WIDTH})
            shutil.copy(path, folder / row["path"])
    return pd.DataFrame(rows)


class TimedStore(FlowStore):
    """A store that lets bare DIS work on a video's frames after each write, and keeps the seconds of both.

    What extraction takes for a video is what passes in its worker from the end of one bare run to the end of the next
    write: fetching the task, checking the store, hashing, decoding, flow, writing. The first video of a worker is left
    out.

    Args:
        greys: folder of `<scene>.npy`, (F, H, W) uint8.
    """

    def __init__(self, root: Path, greys: Path) -> None:
        super().__init__(root)
        self.greys, self.since = greys, None

    def write(self, video_id: str, *flow) -> Path:
        """See FlowStore."""
        path = super().write(video_id, *flow)
        written = time.perf_counter()
        seconds = bare_seconds(np.load(self.greys / f"{video_id.partition('-')[0]}.npy"))
        if self.since is not None:
            with (self.root / f"seconds.{os.getpid()}").open("a") as file:
                file.write(f"{written - self.since} {seconds}\n")
        self.since = time.perf_counter()
        return path


def bare_seconds(grey: np.ndarray) -> float:
    """OpenCV's DIS alone on the pairs of the grid of one video, (F, H, W) uint8."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    positions = grid_positions(NUM_FRAMES, GRID)
    start = time.perf_counter()
    for position in positions:
        dis.calc(grey[position], grey[position + 1], None)
    return time.perf_counter() - start


def speeds(num_workers: int) -> tuple[float, float, float]:
    """Speed of extraction over that of bare DIS, per cent, and both in pairs a second; medians over videos."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "videos"
        root.mkdir()
        table = make_table(root)
        for path in table["path"][::COPIES]:
            frames = read_frames(root / path, np.arange(NUM_FRAMES))
            grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
            np.save(root / path.partition("-")[0], grey)
        store = TimedStore(Path(name) / "flow", root)
        extract(table, root, store, "dis", GRID, num_workers=num_workers, progress=False)
        seconds = np.concatenate([np.loadtxt(file) for file in store.root.glob("seconds.*")])
    ours, bare = GRID * num_workers / np.median(seconds, axis=0)
    return 100 * float(np.median(seconds[:, 1] / seconds[:, 0])), float(ours), float(bare)


def storage() -> dict[str, float]:
    """End-point errors in pixels and sizes in bytes, over the scenes."""
    positions = np.arange(0, NUM_FRAMES - 1, 6)
    pairs = np.stack([positions, positions + 1], axis=1)
    figures: dict[str, list[float]] = {"stored": [], "dis": [], "plain": [], "compact": []}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(NUM_SCENES):
            frames, truth = scene(seed)
            flow = torch.from_numpy(flow_of_pairs(build_estimator("dis"), frames, pairs))
            meta = FlowMeta("dis", "none", str(GRID), "0" * 64)
            for kind in ("plain", "compact"):
                store = FlowStore(Path(name) / kind, compact=kind == "compact")
                size = store.write("scene", flow, positions, meta).stat().st_size
                figures[kind].append(size * GRID / len(positions))
            restored = interpolate(torch.from_numpy(store.read("scene").flow_px), size=(HEIGHT, WIDTH), mode="bilinear")
            figures["stored"].append((restored - flow).norm(dim=1).mean().item())
            figures["dis"].append((flow - torch.from_numpy(truth[positions])).norm(dim=1).mean().item())
    return {key: statistics.mean(values) for key, values in figures.items()}


def rows() -> Iterator[dict]:
    """One row per figure: name, value, unit, bar (">=" or "<="), limit (None where there is no bar)."""
    free = {"bar": None, "limit": None}
    for num_workers, words in ((1, "one worker"), (2, "two workers")):
        ratio, ours, bare = speeds(num_workers)
        yield {
            "name": f"flow: DIS extraction / bare DIS, {words}",
            "value": ratio,
            "unit": "%",
            "bar": ">=",
            "limit": 60.0,
        }
        yield {"name": f"flow: DIS extraction at 320x240, {words}", "value": ours, "unit": "pairs/s", **free}
        yield {"name": f"flow: bare DIS at 320x240, {words}", "value": bare, "unit": "pairs/s", **free}
    figures = storage()
    yield {
        "name": "flow: storage error on DIS flow",
        "value": figures["stored"],
        "unit": "px",
        "bar": "<=",
        "limit": 0.1,
    }
    yield {"name": "flow: end-point error of DIS itself", "value": figures["dis"], "unit": "px", **free}
    yield {"name": "flow: file of 32 fields at 320x240", "value": figures["plain"] / 1e6, "unit": "MB", **free}
    yield {"name": "flow: the same, compact", "value": figures["compact"] / 1e6, "unit": "MB", **free}
