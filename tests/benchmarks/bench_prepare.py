"""Preparing a data set: a list of 100,000 entries against a folder, and a whole pass against bare decoding.

The clips are made here: 320x240, 90 frames, MPEG-4 in AVI, as HMDB51 has them; a few are encoded and linked under many
names. Bare decoding opens each file with PyAV and decodes every frame on one thread, and does nothing else. Both sides
take turns, so that other load hits both; with two processes, the start of the processes counts on both sides.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pandas as pd
from subjects import link_files, write_clips

from tmal_core.config import Settings, load_settings
from tmal_core.data.sets.lists import COLUMNS, save_splits
from tmal_core.data.video import decoding as video
from tmal_core.tasks.prepare import prepare_data_set

NUM_ENTRIES, NUM_CLASSES = 100_000, 100
NUM_CLIPS = 4
FILES_ALONE, ROUNDS = 300, 3
FILES_IN_PARALLEL = 6766  # as many as HMDB51 has

BARE = """
import sys, av
for path in sys.stdin.read().split():
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            pass
"""


def settings_for(root: Path, num_workers: int = 0) -> Settings:
    """Any losses allowed; the data set has no published numbers."""
    changes = {"data.name": "bench", "data.root": str(root), "prepare.max_lost": 1.0}
    return load_settings("tiny", {**changes, "compute.num_workers": num_workers})


def table_of(paths: list[str]) -> pd.DataFrame:
    """Splits of listed paths `class/name.avi`, classes dealt out to the three splits."""
    classes = sorted({path.split("/")[0] for path in paths})
    splits = {name: ("train", "val", "test")[min(i * 5 // len(classes), 2)] for i, name in enumerate(classes)}
    ids = {
        name: i - next(k for k, other in enumerate(classes) if splits[other] == splits[name])
        for i, name in enumerate(classes)
    }
    rows = [(path[:-4], path, splits[c], ids[c], c) for path in paths for c in [path.split("/")[0]]]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def check_seconds() -> tuple[float, float]:
    """100,000 listed videos, of which one in a hundred is missing, against a folder; no video is opened.

    Returns:
        Seconds on the clock and of the processor: on a busy machine the first say little.
    """
    with tempfile.TemporaryDirectory() as name:
        videos, root = Path(name) / "videos", Path(name) / "data"
        paths = [f"class {i % NUM_CLASSES:03d}/{i:06d}.avi" for i in range(NUM_ENTRIES)]
        for number in range(NUM_CLASSES):
            (videos / f"class {number:03d}").mkdir(parents=True)
        for number, path in enumerate(paths):
            if number % 101:
                os.close(os.open((videos / path).with_suffix(".webm"), os.O_CREAT))
        save_splits(root, table_of(paths))
        start = time.perf_counter(), time.process_time()
        done = prepare_data_set(settings_for(root), videos, decode=False, progress=False)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    assert done.counts["missing"] == len(range(0, NUM_ENTRIES, 101))
    return seconds


def prepare_seconds(videos: Path, paths: list[str], num_workers: int) -> float:
    """A first pass: nothing is known of the files."""
    with tempfile.TemporaryDirectory() as name:
        save_splits(Path(name), table_of(paths))
        video._surveys.clear()  # this process would remember the last round
        start = time.perf_counter()
        done = prepare_data_set(settings_for(Path(name), num_workers), videos, progress=False)
        seconds = time.perf_counter() - start
    assert done.counts["used"] == len(paths)
    return seconds


def bare_seconds(videos: Path, paths: list[str]) -> float:
    """Decoding alone, in this process."""
    start = time.perf_counter()
    for path in paths:
        with av.open(str(videos / path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for _ in container.decode(stream):
                pass
    return time.perf_counter() - start


def bare_seconds_in_two(videos: Path, paths: list[str]) -> float:
    """Decoding alone, in two processes of their own."""
    start = time.perf_counter()
    processes = []
    for half in (paths[::2], paths[1::2]):
        process = subprocess.Popen([sys.executable, "-c", BARE], stdin=subprocess.PIPE, text=True)
        process.stdin.write("\n".join(str(videos / path) for path in half))
        process.stdin.close()
        processes.append(process)
    assert not any(process.wait() for process in processes)
    return time.perf_counter() - start


def ratios() -> dict[str, float]:
    """Speed of a pass as a part of bare decoding's, with one core and with two, and videos a second."""
    with tempfile.TemporaryDirectory() as name:
        videos = Path(name) / "videos"
        videos.mkdir()
        originals = write_clips(Path(name), NUM_CLIPS)
        paths = link_files(originals, videos, FILES_IN_PARALLEL)
        few = paths[:FILES_ALONE]
        ours, bare, ours_cpu, bare_cpu = [], [], 0.0, 0.0
        for _ in range(ROUNDS):
            start = time.process_time()
            bare.append(bare_seconds(videos, few))
            middle = time.process_time()
            ours.append(prepare_seconds(videos, few, num_workers=0))
            bare_cpu, ours_cpu = bare_cpu + middle - start, ours_cpu + time.process_time() - middle
        ours_two, bare_two = prepare_seconds(videos, paths, num_workers=2), bare_seconds_in_two(videos, paths)
    return {
        "alone": 100 * statistics.median(bare) / statistics.median(ours),
        "processor": 100 * bare_cpu / ours_cpu,
        "two": 100 * bare_two / ours_two,
        "speed": FILES_IN_PARALLEL / ours_two,
    }


def rows() -> Iterator[dict]:
    """One row per figure: name, value, unit, bar (">=" or "<="), limit (None where there is no bar)."""
    name = "prepare: 100,000 list entries against a folder, nothing decoded"
    clock, processor = check_seconds()
    yield {"name": name, "value": clock, "unit": "s", "bar": "<=", "limit": 60.0}
    yield {"name": "prepare: the same, processor time", "value": processor, "unit": "s", "bar": None, "limit": None}
    found = ratios()
    bar = {"unit": "%", "bar": ">=", "limit": 80.0}
    yield {"name": "prepare: a pass / bare decoding, one core", "value": found["alone"], **bar}
    yield {"name": "prepare: a pass with two workers / bare decoding in two processes", "value": found["two"], **bar}
    yield {"name": "prepare: one core, in processor time", "value": found["processor"], **bar}
    name = "prepare: clips of 90 frames at 320x240, two workers"
    yield {"name": name, "value": found["speed"], "unit": "videos/s", "bar": None, "limit": None}
