"""DIS extraction against bare DIS, what storage costs in accuracy and size, and how far DIS itself is from the truth.

Videos are made here: a textured background that pans under a textured disc that moves on its own, 320x240, H.264.
Extraction and bare DIS alternate in one process, so that other load hits both; bare DIS gets grey frames that lie in
memory already.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate

from tmal_core.data.sampling import grid_positions
from tmal_core.data.video import read_frames
from tmal_core.flow.estimator import build_estimator, flow_of_pairs
from tmal_core.flow.extract import extract
from tmal_core.flow.store import FlowMeta, FlowStore

HEIGHT, WIDTH, NUM_FRAMES, GRID = 240, 320, 49, 32
NUM_VIDEOS, ROUNDS = 3, 5


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


def write_video(path: Path, frames: np.ndarray) -> None:
    """H.264 at x264's default quality, as most videos of the data sets are."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def make_table(folder: Path) -> pd.DataFrame:
    """Videos in a folder and their rows of a catalogue."""
    rows = []
    for seed in range(NUM_VIDEOS):
        path = folder / f"scene{seed}.mp4"
        write_video(path, scene(seed)[0])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"video": path.stem, "path": path.name, "num_frames": NUM_FRAMES, "sha256": digest})
    return pd.DataFrame(rows)


def bare_seconds(greys: list[np.ndarray]) -> float:
    """OpenCV's DIS alone on the pairs of the grid."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    positions = grid_positions(NUM_FRAMES, GRID)
    start = time.perf_counter()
    for grey in greys:
        for position in positions:
            dis.calc(grey[position], grey[position + 1], None)
    return time.perf_counter() - start


def extraction_seconds(table: pd.DataFrame, root: Path, scratch: Path) -> float:
    """Decoding, flow and storing of the same videos; copies, so that nothing is known of them beforehand."""
    copies = scratch / "copies"
    shutil.copytree(root, copies)
    start = time.perf_counter()
    extract(table, copies, FlowStore(scratch / "flow"), "dis", GRID, progress=False)
    seconds = time.perf_counter() - start
    shutil.rmtree(scratch)
    return seconds


def speeds() -> tuple[float, float]:
    """Pairs a second of extraction and of bare DIS, medians of alternating rounds, one process and one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "videos"
        root.mkdir()
        table = make_table(root)
        videos = [read_frames(root / path, np.arange(NUM_FRAMES)) for path in table["path"]]
        greys = [np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]) for frames in videos]
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(bare_seconds(greys))
            ours.append(extraction_seconds(table, root, Path(name) / "scratch"))
    cv2.setNumThreads(threads)
    pairs = NUM_VIDEOS * GRID
    return pairs / statistics.median(ours), pairs / statistics.median(bare)


def storage() -> dict[str, float]:
    """End-point errors in pixels and sizes in bytes, over the scenes."""
    positions = np.arange(0, NUM_FRAMES - 1, 6)
    pairs = np.stack([positions, positions + 1], axis=1)
    figures: dict[str, list[float]] = {"stored": [], "dis": [], "plain": [], "compact": []}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(NUM_VIDEOS):
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
    ours, bare = speeds()
    free = {"bar": None, "limit": None}
    yield {
        "name": "flow: DIS extraction / bare DIS",
        "value": 100 * ours / bare,
        "unit": "%",
        "bar": ">=",
        "limit": 60.0,
    }
    yield {"name": "flow: DIS extraction at 320x240, one core", "value": ours, "unit": "pairs/s", **free}
    yield {"name": "flow: bare DIS at 320x240, one core", "value": bare, "unit": "pairs/s", **free}
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
