"""Seconds of the three things that cost time, of the package and benchmarks on PYTHONPATH: for `against.py`.

Reading from H.264 as evaluation and training do, encoding at ViT-B/16's shapes and a training step of its adapters.
What is printed last is a JSON object, name to seconds. The argument is a folder of clips.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench_encode import encoder
from bench_training import Step, episode_of
from measure import device, taking_turns
from subjects import catalog_of, model_of, noise, settings_for

from tmal_core.config import SamplingSettings
from tmal_core.data.clips import ClipReader
from tmal_core.data.video import read_frames
from tmal_core.runtime.devices import keep_freed_memory
from tmal_core.runtime.seeding import generator

ENCODED, READ = 2, 20
POSITIONS = [5, 16, 27, 38, 49, 60, 71, 82]


def main(folder: Path) -> None:
    """Measure."""
    keep_freed_memory()
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4"))
    reader = ClipReader(catalog_of(folder, paths), SamplingSettings(), "auto")
    settings = settings_for("st_adapter")
    model = model_of(settings, device())
    calls = {
        "decode clips": lambda: [read_frames(folder / paths[i % len(paths)], POSITIONS) for i in range(READ)],
        "read evaluation clips": lambda: [reader.evaluate(i % len(paths)) for i in range(READ)],
        "read training clips": lambda: [reader.train(i % len(paths), generator(0, i)) for i in range(READ)],
        "encode clips": encoder(model, noise(ENCODED), half=True),
        "training step": Step(settings, episode_of(2, 1, 1), model),
    }
    print(json.dumps({name: taking_turns({name: call}, rounds=1)[name] for name, call in calls.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
