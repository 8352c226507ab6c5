"""Writing the diagnostic data set: mp4 files and their catalogue, in parallel, once, resumable.

Each frame is compressed alone at a constant quantiser (H.264, all-intra), so reversing the frames of a clip reverses
its decoded frames to the bit. The catalogue comes last: killed and started again, generation goes on where it stopped
and ends with the same files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd

from tmal_core.config import FAMILIES
from tmal_core.data.diagnostic.families import FPS, SIDE, files, render
from tmal_core.data.diagnostic.vocabulary import ActionClass, all_classes
from tmal_core.data.sets.catalog import FILE_NAME, LEDGER, ROLES, SPLITS, Catalog, load_catalog, save_catalog
from tmal_core.errors import DataError
from tmal_core.runtime.files import atomic_path, file_sha256
from tmal_core.runtime.processes import Pool
from tmal_core.runtime.progress_bar import tqdm
from tmal_core.runtime.seeding import generator

VERSION = 3  # raise it whenever the frames of any clip change
MANIFEST = "diagnostic.json"
"""Beside the catalogue: what the data set was drawn with."""


def generate(
    root: Path,
    seed: int,
    clips: dict[str, int],
    num_workers: int = 2,
    progress: bool = True,
    families: Sequence[str] = FAMILIES,
) -> Catalog:
    """Make the data set below `root`, or return it when it is there.

    Args:
        seed: the same seed gives the same decoded frames.
        clips: clips per class for "train", "val" and "test".
        num_workers: processes.
        families: names of the families that it is made of.

    Raises:
        DataError: the folder holds a data set made with other numbers.
    """
    manifest = {"version": VERSION, "seed": seed, "clips": {split: clips[split] for split in SPLITS}}
    if set(families) != set(FAMILIES):
        manifest["families"] = sorted(families)
    _claim(root, manifest)
    if (root / FILE_NAME).exists():
        return load_catalog(root)
    jobs = [(root, seed, action, twin, clip) for action, twin in units(families) for clip in range(clips[action.split])]
    with _mapper(num_workers) as make:
        bar = tqdm(make(_make_clip, jobs), total=len(jobs), desc="diagnostic videos", unit="clip", disable=not progress)
        rows = [row for made in bar for row in made]
    return save_catalog(root, pd.DataFrame(rows).sort_values(["family", "split", "class_name", "video"]))


def planned(root: Path, clips: dict[str, int], families: Sequence[str] = FAMILIES) -> Catalog:
    """The catalogue that `generate` will leave, without checksums, whether or not there is a file."""
    bases = (rows_of(action, twin, clip) for action, twin in units(families) for clip in range(clips[action.split]))
    return Catalog(root, pd.DataFrame([row for rows in bases for row in rows.values()]))


def write_clip(path: Path, frames: np.ndarray, fps: int = FPS) -> None:
    """Encode frames (F, H, W, 3) uint8 as all-intra H.264 at a constant quantiser, atomically."""
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"qp": "14", "g": "1", "preset": "ultrafast"}
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def _mapper(num_workers: int) -> Iterator[Callable[..., Iterable]]:
    """`map` over processes, or the plain one for a single worker."""
    if num_workers <= 1:
        yield map
        return
    with Pool(num_workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield partial(pool.map, chunksize=8)


def _claim(root: Path, manifest: dict[str, object]) -> None:
    """Note what the folder is being filled with, or check that it agrees."""
    file = root / MANIFEST
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != manifest:
            remedy = f"Delete what is in {root}, all but {LEDGER}, or choose another data.root."
            raise DataError(f"a data set of {manifest} in {root}", f"one of {found}", remedy)
        return
    if root.is_dir() and any(path.name != LEDGER for path in root.iterdir()):
        remedy = "Choose another data.root."
        raise DataError("an empty folder for the diagnostic data set", f"{root} with files", remedy)
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(manifest), encoding="utf-8")


def random_stream(seed: int, action: ActionClass, clip: int) -> np.random.Generator:
    """What a base of a class (the first of its pair) is drawn from."""
    return generator(seed, action.family, action.name, clip)


def units(families: Sequence[str] = FAMILIES) -> Iterator[tuple[ActionClass, ActionClass | None]]:
    """A class, or a class and its reversal, which share their bases."""
    classes = all_classes(families)
    for i, action in enumerate(classes):
        direction = action.parts.get("direction")
        if direction == "forward":
            yield action, classes[i + 1]
        elif direction is None:
            yield action, None


def _make_clip(job: tuple[Path, int, ActionClass, ActionClass | None, int]) -> list[dict[str, object]]:
    """Write the files of one base and return their rows of the catalogue."""
    root, seed, action, twin, clip = job
    rows = rows_of(action, twin, clip)
    if not all((root / row["path"]).exists() for row in rows.values()):
        for role, frames in render(action, random_stream(seed, action, clip)).items():
            write_clip(root / rows[role]["path"], frames)
    return [row | {"sha256": file_sha256(root / row["path"])} for row in rows.values()]


def rows_of(action: ActionClass, twin: ActionClass | None, clip: int) -> dict[str, dict[str, Any]]:
    """Rows of the catalogue for the files of one base, by role; without their checksums."""
    base = f"{action.family}/{_slug(action.group or action.name)}/{_slug(action.name)}/{clip:03d}"
    rows = {}
    for role, num_frames in files(action).items():
        owner = twin if twin is not None and role == "backward" else action
        suffix = f"_{role}" if role in ("support", "query") else ""
        path = Path(owner.family, owner.split, _slug(owner.name), f"{clip:03d}{suffix}.mp4")
        rows[role] = {
            "video": path.with_suffix("").as_posix(),
            "path": path.as_posix(),
            "split": owner.split,
            "class_name": owner.name,
            "family": owner.family,
            "role": role if role in ROLES else "both",
            "group": owner.group,
            "base": base,
            "num_frames": num_frames,
            "fps": float(FPS),
            "height": SIDE,
            "width": SIDE,
        }
    return rows


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
