"""Matching alone: 10,000 episodes from a filled bank, as many videos as HMDB51's test split has, ViT-B/16's features.

The episodes are drawn before the clock starts; how long drawing takes has a row of its own. The comparison is one
episode at a time with OTAM cell by cell, a part of the episodes standing for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import plain
import torch
from measure import device, row, seconds_of, taking_turns
from subjects import catalog_of, model_of, settings_for

from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.text import SplitText

VIDEOS, CLASSES, WIDTH, FRAMES = 1292, 10, 512, 8
EPISODES, ASKED = 10_000, 40
TOLERANCE = 5e-4


def sampler_of(shot: int, way: int = 5, videos: int = VIDEOS) -> EpisodeSampler:
    """Episodes with one query per class over a split of so many videos in ten classes, of which there are no files."""
    with TemporaryDirectory() as folder:
        catalog = catalog_of(Path(folder), [f"c{i % CLASSES}/{i}.avi" for i in range(videos)])
    return EpisodeSampler(catalog, episode_types(catalog)[0], way, shot, 1, 0)


def bank_of(model: FewShotModel, videos: int = VIDEOS) -> Bank:
    """Random clip tokens, about as near to each other as CLIP's: cosine similarities around 0.5."""
    generator = torch.Generator().manual_seed(0)
    width = model.encoder.joint_width
    drawn = torch.randn(videos, FRAMES + model.reads_motion, width, generator=generator)
    tokens = drawn + torch.randn(width, generator=generator)
    text = SplitText(torch.randn(CLASSES, width, generator=generator), np.arange(videos) % CLASSES)
    return Bank(tokens, tokens, "", text)


def one_by_one(bank: Bank, episodes: Episodes) -> np.ndarray:
    """Logits (E, q, N) of the plain version."""
    tokens, place = bank.query.to(device()), device()
    pairs = zip(episodes.query, episodes.support, strict=True)
    picked = ([tokens[torch.from_numpy(rows.ravel()).to(place)] for rows in pair] for pair in pairs)
    return torch.stack([plain.logits(*clips, episodes.way) for clips in picked]).cpu().numpy()


def part_of(episodes: Episodes, count: int) -> Episodes:
    """The first episodes of them."""
    return Episodes(episodes.name, episodes.support[:count], episodes.query[:count], episodes.seed)


def rows() -> Iterator[dict]:
    """One row per figure."""
    model = model_of(settings_for("otam"), device())
    bank = bank_of(model)
    for shot in (1, 5):
        sampler = sampler_of(shot)
        episodes = Episodes.draw(sampler, EPISODES)
        drawing = seconds_of(lambda sampler=sampler: Episodes.draw(sampler, EPISODES))
        few = part_of(episodes, ASKED)
        np.testing.assert_allclose(evaluate(model, bank, few).logits, one_by_one(bank, few), atol=TOLERANCE)
        calls = {
            "plain": lambda few=few: one_by_one(bank, few),
            "ours": lambda episodes=episodes: evaluate(model, bank, episodes),
        }
        found = taking_turns(calls, rounds=5)
        name = f"matching: {EPISODES:,} episodes, 5-way {shot}-shot"
        bar = ("<=", 0.5) if shot == 1 else (None, None)
        yield row(f"{name}, from a filled bank", found["ours"], "s", *bar)
        plain_seconds = found["plain"] * EPISODES / ASKED
        yield row(f"{name}: one by one and cell by cell / ours", plain_seconds / found["ours"], "x")
        yield row(f"{name}: drawing them, which is not part of it", drawing, "s", "<=", 0.1)
    # Here 5 x 1,000 prototypes pass the temporal transformer first, and nearly all the time goes there.
    model = model_of(settings_for("tmal"), device())
    fewer, bank = part_of(episodes, EPISODES // 10), bank_of(model)
    taken = seconds_of(lambda: evaluate(model, bank, fewer))
    yield row(f"matching: {EPISODES // 10:,} episodes, 5-way 5-shot, from a filled bank, TMAL's prototypes", taken, "s")
