"""Short clips in several containers, made once, to stand in for the videos of real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from tmal_core.data.sets.catalog import Catalog, save_catalog
from tmal_core.experiment import Experiment
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.train import origin_with_classes
from tmal_core.training.checkpoint import save_checkpoint
from tmal_core.training.loop import BEST

CODECS = {".mp4": "libx264", ".mkv": "libx264", ".avi": "mpeg4", ".webm": "libvpx"}


def write_clip(path: Path, seed: int, num_frames: int = 10) -> Path:
    """A few small frames of coloured blocks that move, in the container of the suffix."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    same_each_time = {"libx264": {"x264-params": "mbtree=0"}, "libvpx": {"deadline": "realtime", "cpu-used": "-8"}}
    codec = CODECS[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream(codec, rate=12, options=same_each_time.get(codec, {}))
        stream.height, stream.width, stream.pix_fmt = 72, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        for t in range(num_frames):
            picture = np.ascontiguousarray(np.roll(blocks, 2 * t, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def make_clip():
    return write_clip


@pytest.fixture(scope="session")
def copy_clip(tmp_path_factory):
    """Puts a clip at a path, as a hard link: a few are encoded per container, however many are asked for."""
    folder = tmp_path_factory.mktemp("originals")

    def copy(path: Path, seed: int) -> Path:
        original = folder / f"{seed}{path.suffix}"
        if not original.exists():
            write_clip(original, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(original, path)
        return path

    return copy


@pytest.fixture(scope="session")
def shrunk() -> dict[str, object]:
    """What brings a preset of real data to the size of small clips, the tiny CLIP and a test's patience."""
    return {
        "model.backbone": "data/tiny_clip",
        "model.pretrained": "folder",
        "model.bottleneck": 16,
        "model.mlp_width": 64,
        "sampling.resize": 72,
        "sampling.crop": 64,
        "episodes.queries_train": 1,
        "training.val_episodes": 5,
        "evaluation.episodes": 10,
        "evaluation.bootstrap": 20,
        "compute.num_workers": 0,
        "compute.num_threads": 1,
    }


def renamed(catalog: Catalog, names: dict[str, list[str]], root: Path) -> None:
    """The appearance clips of a data set, their classes called otherwise."""
    table = catalog.table[catalog.table["family"] == "appearance"].copy()
    for split, new in names.items():
        old = sorted(table.loc[table["split"] == split, "class_name"].unique())
        table = table[(table["split"] != split) | table["class_name"].isin(old[: len(new)])]
        table["class_name"] = table["class_name"].replace(dict(zip(old, new, strict=False)))
    save_catalog(root, table, catalog.root)


@pytest.fixture(scope="session")
def two_data_sets(small_settings, small_data, tmp_path_factory) -> tuple[Path, Path]:
    """The run of a method that was trained on one data set (its weights are as drawn), and the preset of another."""
    root = tmp_path_factory.mktemp("two")
    trained = {"train": ["Archery", "Biking", "Punch", "Typing"], "val": ["Kiss", "wave", "yawn"], "test": ["a", "b"]}
    tested = {"train": ["sing", "sew"], "val": ["chew", "clap", "kiss", "punch", "ride_bike", "shoot_bow"]}
    tested["test"] = ["hop", "nod", "skip", "spin", "unnamed test 0", "unnamed test 1"]
    renamed(small_data, trained, root / "trained")
    renamed(small_data, tested, root / "tested")
    settings = small_settings.replace({"data.root": str(root / "trained"), "model.method": "st_adapter"})
    experiment = Experiment(settings, run_dir=root / "run")
    with Run.create(experiment.folder, experiment.settings, "train"):
        save_checkpoint(experiment.checkpoints / BEST, experiment.build(), origin_with_classes(experiment))
    other = small_settings.replace({"data.root": str(root / "tested"), "data.name": "other"})
    (root / "other.yaml").write_text(yaml.safe_dump(other.model_dump(mode="json", exclude={"preset"})))
    return experiment.folder, root / "other.yaml"
