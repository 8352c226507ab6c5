"""10,000 episodes of TS-FSAR from a bank of the size of HMDB51's test split, filled with random tokens."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import numpy as np
import torch
from measure import row, seconds_of

from tmal_core.config import TSFSARSettings
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.models.task_matching import frame_representation
from tmal_core.models.text import SplitText
from tmal_core.models.ts_fsar_head import TSFSARHead

CLIPS, FRAMES, PATCHES, JOINT, CLASSES, EPISODES = 1292, 8, 196, 512, 10, 10_000


class _Answers(torch.nn.Module):
    """What evaluation needs of a model beside its bank: its head."""

    reads_text, device = True, torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.head = TSFSARHead(TSFSARSettings())


def rows() -> Iterator[dict]:
    """Seconds for 5-way episodes of 1 and 5 shots, and the most memory that the process ever had."""
    bank = _bank()
    model = _Answers().eval()
    for shot, count in ((1, EPISODES), (5, EPISODES // 5)):
        asked = _episodes(shot, count)
        seconds = seconds_of(lambda asked=asked: evaluate(model, bank, asked))
        bar = ("<=", 60) if shot == 1 else ()
        yield row(f"ts_fsar, {count:,} 5-way {shot}-shot episodes of {CLIPS:,} clips", seconds, "s", *bar)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    yield row("the same, most memory of the process, its bank with it", peak, "GB", "<=", 4)


def _bank() -> Bank:
    parts, draw = TSFSARSettings(), torch.Generator().manual_seed(0)
    width = parts.side_width
    channels = width * (width + 1) // 2
    tokens = torch.empty(CLIPS, FRAMES, channels + width + 2 * JOINT)
    for first in range(0, CLIPS, 4):
        clips = tokens[first : first + 4]
        drawn = torch.randn(len(clips), FRAMES, 1 + PATCHES, width, generator=draw)
        clips[..., :channels] = frame_representation(drawn)
        clips[..., channels : channels + width] = drawn[:, :, 0]
        clips[..., channels + width :].normal_(generator=draw)
    return Bank(tokens, tokens, "", SplitText(torch.randn(CLASSES, JOINT, generator=draw), np.arange(CLIPS) % CLASSES))


def _episodes(shot: int, count: int) -> Episodes:
    rng = np.random.default_rng(0)
    classes = rng.permuted(np.tile(np.arange(CLASSES), (count, 1)), axis=1)[:, :5]
    places = rng.permuted(np.tile(np.arange(CLIPS // CLASSES), (count * 5, 1)), axis=1)[:, : shot + 1]
    clips = places.reshape(count, 5, shot + 1) * CLASSES + classes[..., None]
    return Episodes("all", clips[..., :shot], clips[..., shot:])
