"""What the benchmarks work on: models of ViT-B/16's shapes with random weights, clips of noise, and video files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tmal_core.config import Settings, load_settings
from tmal_core.data.sets.catalog import Catalog, save_catalog
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import build
from tmal_core.runtime.files import file_sha256

HEIGHT, WIDTH, NUM_FRAMES = 240, 320, 90


def settings_for(method: str, preset: str = "hmdb51", **changes: object) -> Settings:
    """A preset for one method, with random weights; `section__key` names a setting."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return load_settings(preset, {"model.method": method, "model.pretrained": "random", **dotted})


def model_of(settings: Settings, device: torch.device | str = "cpu") -> FewShotModel:
    """The settings' model, random wherever something learned starts at zero: every part has its say."""
    torch.manual_seed(0)
    model = build(settings.model, device)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return model.eval()


def noise(num_clips: int, channels: int = 3, side: int = 224, frames: int = 8, seed: int = 0) -> Tensor:
    """(num_clips, frames, channels, side, side) float32: as good as pictures where only time and memory count."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_clips, frames, channels, side, side, generator=generator)


def write_clips(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Clips of a texture that pans, with noise: 320x240, 90 frames, MPEG-4 in AVI, as HMDB51 has them."""
    paths = []
    for number in range(seed, seed + count):
        paths.append(folder / f"original{number}.avi")
        write_video(paths[-1], textured_frames(number), "mpeg4", {"b": "900k", "g": "12", "bf": "2"})
    return paths


def write_video(path: Path, frames: Iterable[np.ndarray], codec: str, options: dict[str, str], fps: int = 30) -> None:
    """Encode frames (H, W, 3) uint8."""
    pictures = list(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def textured_frames(seed: int) -> Iterator[np.ndarray]:
    """`NUM_FRAMES` pictures (HEIGHT, WIDTH, 3) uint8 of a texture that pans, with noise."""
    rng = np.random.default_rng(seed)
    texture_noise = rng.normal(0, 1, (HEIGHT + 180, WIDTH + 180, 3)).astype(np.float32)
    texture = sum(cv2.GaussianBlur(texture_noise, (0, 0), sigma) * sigma for sigma in (1.5, 6.0))
    texture = (texture * 40 / texture.std() + 128).clip(0, 255)
    for t in range(NUM_FRAMES):
        view = texture[t : t + HEIGHT, 2 * t : 2 * t + WIDTH] + rng.normal(0, 3, (HEIGHT, WIDTH, 1))
        yield np.ascontiguousarray(view.clip(0, 255).astype(np.uint8))


def link_files(originals: list[Path], folder: Path, count: int) -> list[str]:
    """Many names of a few files, in ten class folders; their paths below the folder."""
    paths = [f"c{i % 10}/{i:05d}.avi" for i in range(count)]
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % len(originals)], folder / path)
    return paths


def catalog_of(folder: Path, paths: list[str]) -> Catalog:
    """A catalogue of test videos `class/name.avi` of that size below the folder; they need not be there."""
    table = pd.DataFrame({"path": paths})
    table["video"] = [path.removesuffix(".avi") for path in paths]
    table["class_name"] = [path.split("/")[0] for path in paths]
    files = [folder / path for path in paths]
    table["sha256"] = [file_sha256(file) if file.is_file() else "0" * 64 for file in files]
    shape = {"num_frames": NUM_FRAMES, "fps": 30.0, "height": HEIGHT, "width": WIDTH}
    return save_catalog(
        folder, table.assign(split="test", family="all", role="both", group="", base=table["video"], **shape)
    )
