"""Reading clips against the encoder's appetite: clips a second of one worker over those encoded, or trained on.

The files are as HMDB51's: 320x240, 90 frames, MPEG-4 in AVI. A clip is 8 frames, decoded, resized to 256, cropped to
224 and normalised; with flow, the stored one of DIS is read and cropped too. Reading and encoding take turns on the
same machine; at 1 and more, one worker keeps up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bench_encode import encoder
from bench_training import Step, episode_of
from measure import device, row, seconds_of, taking_turns
from subjects import HEIGHT, NUM_FRAMES, WIDTH, catalog_of, link_files, model_of, noise, settings_for, write_clips

from tmal_core.config import Settings
from tmal_core.data.clips import ClipReader, evaluation_loader
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video.sampling import grid_positions
from tmal_core.experiment import Experiment
from tmal_core.flow.store import FlowMeta, flow_store
from tmal_core.runtime.seeding import generator

VIDEOS, READ, ENCODED = 40, 20, 4


def made(folder: Path, settings: Settings) -> Catalog:
    """Videos in a folder, with stored flow: smooth, some pixels long, rounded as DIS's is when it is stored."""
    catalog = catalog_of(folder, link_files(write_clips(folder, 4), folder, VIDEOS))
    store = flow_store(settings.data.folder, settings.flow)
    at = np.unique(grid_positions(NUM_FRAMES, settings.sampling.grid))
    y, x = np.mgrid[: HEIGHT // 2, : WIDTH // 2] / 40
    wave = np.stack([4 * np.sin(x + y), 3 * np.cos(x - y)]).astype(np.float32)
    flow_px = np.stack([wave * np.cos(0.2 * t) for t in range(len(at))])
    for video, digest in zip(catalog.table["video"], catalog.table["sha256"], strict=True):
        store.write(video, flow_px, at, FlowMeta("dis", "none", str(settings.sampling.grid), digest))
    return catalog


def readers(catalog: Catalog, settings: Settings) -> dict[str, Callable[[], None]]:
    """Calls that read some clips in this process, as one worker does."""
    plain, flow = (Experiment(settings).reader(catalog, with_flow=asked) for asked in (False, True))

    def training(reader: ClipReader) -> None:
        for number in range(READ):
            reader.train(number, generator(0, "clip", number))

    return {
        "evaluation": lambda: [plain.evaluate(number) for number in range(READ)],
        "training": lambda: training(plain),
        "training with flow": lambda: training(flow),
    }


def loader_rate(catalog: Catalog, settings: Settings, num_workers: int) -> float:
    """Clips a second out of a loader, once every worker has given two batches: their start is left out."""
    reader = Experiment(settings).reader(catalog, with_flow=False)
    loader = evaluation_loader(reader, np.arange(VIDEOS).repeat(40), 8, num_workers)
    batches = iter(loader)
    for _ in range(2 * num_workers):
        next(batches)
    start = time.perf_counter()
    read = sum(len(batch.frames) for batch in batches)
    return read / (time.perf_counter() - start)


def rows() -> Iterator[dict]:
    """One row per figure."""
    with TemporaryDirectory() as name:
        settings = settings_for("st_adapter", data__root=name)
        catalog = made(Path(name), settings)
        model = model_of(settings, device())
        step = Step(settings, episode_of(ENCODED // 2, 1, 1), model)
        eager = {
            "encoder": encoder(model.eval(), noise(ENCODED).to(device()), half=True),
            "training step": step,
        }
        found = taking_turns(readers(catalog, settings) | eager, rounds=2)
        for reading, eating in (
            ("evaluation", "encoder"),
            ("training", "training step"),
            ("training with flow", "training step"),
        ):
            read, eaten = READ / found[reading], ENCODED / found[eating]
            yield row(
                f"data: {reading}: clips read by one worker / taken by the {eating}", read / eaten, "x", ">=", 1.0
            )
            yield row(f"data: {reading}: clips read by one worker", read, "clips/s")
        two = loader_rate(catalog, settings, 2)
        share = 100 * two / (2 * READ / seconds_of(readers(catalog, settings)["evaluation"]))
        yield row("data: two workers of a loader / twice one process", share, "%")
