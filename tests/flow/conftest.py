"""Small real videos with a catalogue."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest


def write_video(path: Path, frames: np.ndarray) -> None:
    """(F, H, W, 3) uint8 as H.264 at high quality, to the same bytes each time (which x264's tree does not give)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "6", "x264-params": "mbtree=0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def table_of(root: Path, num_frames: dict[str, int]) -> pd.DataFrame:
    """Catalogue rows of the named files in a folder."""
    rows = [
        {
            "video": Path(name).stem,
            "path": name,
            "num_frames": count,
            "sha256": hashlib.sha256((root / name).read_bytes()).hexdigest(),
        }
        for name, count in num_frames.items()
    ]
    return pd.DataFrame(rows)


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8, random and smooth."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """Folder and table: panning textures of 12 frames, two short ones, and one of a single frame."""
    root = tmp_path_factory.mktemp("videos")
    counts = {}
    for index, num_frames in enumerate([12] * 8 + [3, 2, 1]):
        name = f"clip{index}.mp4"
        picture = texture(80, 160, index)
        shift = 2 + index % 3
        frames = [picture[8:72, 40 - shift * t % 40 : 136 - shift * t % 40] for t in range(num_frames)]
        write_video(root / name, np.stack(frames))
        counts[name] = num_frames
    return root, table_of(root, counts)


@pytest.fixture(scope="session")
def brightening(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """One video whose frame t is grey 10 * t."""
    root = tmp_path_factory.mktemp("brightening")
    frames = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.full((64, 96, 3), 10, np.uint8)
    write_video(root / "grey.mp4", frames)
    return root, table_of(root, {"grey.mp4": 20})
