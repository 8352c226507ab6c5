"""What each short cut of `models/fast_paths.py` gains of a training step: one that gains less than 5 % of any goes.

A step with one short cut switched off, against the same with all of them. A whole step each of the generated data set's
small CLIP (TMAL, float32) and of ViT-B/16 (TMAL, a small episode, in float32 and in bfloat16), on clips in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FunctionType
from unittest.mock import patch

import torch
from bench_training import Step, episode_of
from measure import device, row, taking_turns
from subjects import model_of, noise, settings_for

from tmal_core.config import Settings
from tmal_core.models import fast_paths

SHORT_CUTS = [
    name
    for name, found in vars(fast_paths).items()
    if isinstance(found, FunctionType) and found.__module__ == fast_paths.__name__
]


def rows() -> Iterator[dict]:
    """For each step a row per short cut: the step without it, as a multiple of the step with all."""
    tiny = settings_for("tmal", "tiny", model__pretrained="folder")
    full = settings_for("tmal", training__precision="float32")
    yield from _gains("tiny, float32", tiny, queries=5, rounds=15)
    yield from _gains("ViT-B/16, float32", full, queries=1, rounds=3)
    yield from _gains("ViT-B/16, bfloat16", full.replace({"training.precision": "bfloat16"}), queries=1, rounds=3)


def _gains(name: str, settings: Settings, queries: int, rounds: int) -> Iterator[dict]:
    side = settings.sampling.crop
    clips = episode_of(5, 1, queries, side)
    clips = replace(clips, flow_px=noise(len(clips.labels), 2, side))
    model = model_of(settings, device())
    text = torch.randn(5, model.encoder.joint_width, device=device())
    step = Step(settings, clips, model, text)
    found = taking_turns({"all": step} | {cut: _without(cut, step) for cut in SHORT_CUTS}, rounds)
    for cut in SHORT_CUTS:
        yield row(f"training step of TMAL, {name}: without {cut} / with all", found[cut] / found["all"], "x")


def _without(cut: str, step: Callable[[], float]) -> Callable[[], float]:
    def call() -> float:
        with patch.object(fast_paths, cut, lambda *_: False):
            return step()

    return call
