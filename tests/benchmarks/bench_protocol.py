"""The whole protocol at ViT-B/16's shapes and HMDB51's size against the per-episode protocol written plainly.

Ours draws 10,000 episodes, encodes each of 1,292 videos once in bfloat16, and matches. The plain one encodes the clips
of every episode in float32 and aligns cell by cell. Whole runs would take hours, so both are put together from measured
parts, and one small split is run whole both ways, from video files on. Decoding is left out of the large figures on
both sides; the plain protocol would decode every clip of every episode.

The limit is the reuse of frames (clips of all episodes over videos) times how much faster a clip is encoded in bfloat16
by ours than in float32 plainly. Growth is measured on small towers, over two decades of episodes and of videos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import plain
import torch
from bench_encode import encoder
from bench_matching import EPISODES, VIDEOS, bank_of, one_by_one, part_of, sampler_of
from matplotlib.figure import Figure
from measure import device, row, seconds_of, taking_turns
from subjects import catalog_of, link_files, model_of, noise, settings_for, write_clips

from tmal_core.config import Settings
from tmal_core.data.clips import ClipReader
from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.evaluation import feature_bank as bank
from tmal_core.evaluation.scoring import Episodes, Outcome, evaluate
from tmal_core.experiment import Experiment
from tmal_core.models.few_shot import FewShotModel
from tmal_core.viz.style import ACCENT, SOFT, styled

WAY, CLIPS_OURS, ASKED = 5, 4, 40
LIMITS = {1: 200.0, 5: 600.0}
SMALL_PER_CLASS, SMALL_EPISODES = 2, 4
GROWING_EPISODES, GROWING_VIDEOS = (100, 1000, 10_000), (13, 130, 1300)
TOLERANCE = 0.05  # of distances, bfloat16 against float32


def rows(folder: Path) -> Iterator[dict]:
    """One row per figure; a picture `growth.png`."""
    settings = settings_for(
        "st_adapter",
        evaluation__precision="bfloat16",
        evaluation__batch_videos=CLIPS_OURS,
        compute__num_workers=0,  # starting workers would weigh more than the ten videos that they read
    )
    model = model_of(settings, device())
    clips = noise(2 * WAY).to(device())

    def plain_clips() -> None:
        with torch.no_grad():
            for part in clips.split(WAY):  # support, then queries
                plain.encode(model.encoder, part)

    calls = {"plain": plain_clips, "ours": encoder(model, clips[:CLIPS_OURS], half=True)}
    found = taking_turns(calls, rounds=2, warm_up=1)
    plain_clip, our_clip = found["plain"] / len(clips), found["ours"] / CLIPS_OURS
    yield row("protocol: a clip, plain in float32 / ours in bfloat16", plain_clip / our_clip, "x")
    filled = bank_of(model)
    for shot, limit in LIMITS.items():
        yield from _against_plain(model, filled, shot, limit, plain_clip, our_clip)
    yield from _whole(settings, model, plain_clip, our_clip)
    yield from _growth(folder)


def _against_plain(
    model: FewShotModel, filled: bank.Bank, shot: int, limit: float, plain_clip: float, our_clip: float
) -> Iterator[dict]:
    drawn: list[Episodes] = []
    drawing = seconds_of(lambda: drawn.append(Episodes.draw(sampler_of(shot), EPISODES)))
    few = part_of(drawn[0], ASKED)
    calls = {"plain": lambda: one_by_one(filled, few), "ours": lambda: evaluate(model, filled, drawn[0])}
    matching = taking_turns(calls, rounds=2)
    in_episode = WAY * (shot + 1)
    plain_seconds = EPISODES * (in_episode * plain_clip + matching["plain"] / ASKED)
    our_seconds = VIDEOS * our_clip + drawing + matching["ours"]
    possible = in_episode * EPISODES / VIDEOS * plain_clip / our_clip
    name = f"protocol: {EPISODES:,} episodes, {VIDEOS:,} videos, {WAY}-way {shot}-shot"
    yield row(f"{name}: plain / ours", plain_seconds / our_seconds, "x", ">=", limit)
    yield row(f"{name}: the limit, frame reuse x speed of encoding", possible, "x")
    yield row(f"{name}: share of the limit", 100 * plain_seconds / our_seconds / possible, "%", ">=", 70.0)
    yield row(f"{name}: ours", our_seconds / 60, "min")
    yield row(f"{name}: plain", plain_seconds / 3600, "h")


def _whole(settings: Settings, model: FewShotModel, plain_clip: float, our_clip: float) -> Iterator[dict]:
    """A small split, from its files to its answers, both ways; and what the parts foretold."""
    with TemporaryDirectory() as name:
        paths = link_files(write_clips(Path(name), WAY), Path(name), 10 * SMALL_PER_CLASS)
        paths = [path for path in paths if int(path[1]) < WAY]
        catalog = catalog_of(Path(name), paths)
        sampler = EpisodeSampler(catalog, episode_types(catalog)[0], WAY, 1, 1, 0)
        reader = Experiment(settings).reader(catalog)
        answers: dict[str, object] = {}

        def ours() -> None:
            drawn = Episodes.draw(sampler, SMALL_EPISODES)
            encoded = bank.encode(model, reader, None, settings.evaluation, settings.compute, progress=False)
            answers["ours"] = evaluate(model, encoded, drawn)

        def plainly() -> None:
            asked = (sampler[i] for i in range(SMALL_EPISODES))
            episodes = (
                plain.Episode(_read(reader, episode.support), _read(reader, episode.query), WAY) for episode in asked
            )
            answers["plain"] = torch.stack(list(plain.answers(model, episodes))).cpu().numpy()

        ratio = seconds_of(plainly) / seconds_of(ours)
    _require_same(answers["ours"], answers["plain"])
    foretold = 2 * WAY * SMALL_EPISODES * plain_clip / (len(paths) * our_clip)
    name = f"protocol: {SMALL_EPISODES} episodes, {len(paths)} videos, run whole both ways"
    yield row(f"{name}: plain / ours", ratio, "x")
    yield row(f"{name}: the same over what the parts foretell", 100 * ratio / foretold, "%", ">=", 80.0)


def _read(reader: ClipReader, rows: np.ndarray) -> torch.Tensor:
    return torch.stack([reader.evaluate(int(number)).frames for number in rows.ravel()]).to(device())


def _require_same(ours: Outcome, plainly: np.ndarray) -> None:
    """The same logits within bfloat16's tolerance, and the same answer where the two best differ by more."""
    np.testing.assert_allclose(ours.logits, plainly, atol=TOLERANCE)
    second, best = np.sort(plainly, axis=2)[..., -2:].transpose(2, 0, 1)
    clear = best - second > 2 * TOLERANCE
    assert np.array_equal(ours.logits.argmax(2)[clear], plainly.argmax(2)[clear])


def _growth(folder: Path) -> Iterator[dict]:
    """How the time grows: drawing and matching with the episodes, encoding with the videos (the tiny tower)."""
    model = model_of(settings_for("st_adapter", "tiny"), device())
    filled, sampler = bank_of(model), sampler_of(1)
    lines = {
        "episodes": _line(GROWING_EPISODES, lambda n: lambda: evaluate(model, filled, Episodes.draw(sampler, n))),
        "videos": _line(GROWING_VIDEOS, lambda n: lambda: _encode(model, n)),
    }
    _draw(lines, folder / "growth.png")
    for what, line in lines.items():
        sizes, seconds = (np.log10(values) for values in zip(*line.items(), strict=True))
        slope = float(np.polyfit(sizes, seconds, 1)[0])
        name = f"protocol: growth with {what}, {min(line):,} to {max(line):,}: exponent (1 is linear)"
        yield row(name, slope, "", "<=", 1.1)


def _line(sizes: tuple[int, ...], call_of: Callable[[int], Callable[[], object]]) -> dict[int, float]:
    """Seconds by size; the smallest of three."""
    calls = {size: call_of(size) for size in sizes}
    calls[sizes[0]]()
    return {size: min(seconds_of(call) for _ in range(3)) for size, call in calls.items()}


def _encode(model: FewShotModel, num_clips: int) -> None:
    batch = noise(min(num_clips, 32), side=model.encoder.clip.visual.image_size[0]).to(device())
    for first in range(0, num_clips, 32):
        encoder(model, batch[: num_clips - first], half=False)()


@styled
def _draw(lines: dict[str, dict[int, float]], path: Path) -> Figure:
    """Seconds against sizes, both by decades, beside a line of slope one."""
    figure = Figure(figsize=(7.5, 3), layout="constrained")
    for axes, (what, line) in zip(figure.subplots(1, 2), lines.items(), strict=True):
        sizes, seconds = list(line), list(line.values())
        axes.loglog(sizes, [seconds[-1] * size / sizes[-1] for size in sizes], "--", color=SOFT, label="linear")
        axes.loglog(sizes, seconds, "o-", color=ACCENT, label="measured")
        axes.set_xlabel(what)
        axes.set_ylabel("seconds")
        axes.legend()
    figure.savefig(path, dpi=160)
    return figure
