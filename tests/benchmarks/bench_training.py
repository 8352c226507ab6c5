"""One training step at ViT-B/16's shapes: time and memory against the plain version, and where its time goes.

The step is that of `st_adapter` (12 x 384 adapters, OTAM), forward, backward and optimiser, on clips in memory.
The plain one runs in float32 and encodes support and queries one after the other; ours is the package's own step, as
`precision: bfloat16` runs it. Memory is what tensors made during a step hold at the highest point: the model, the
optimiser and the clips, equal on both sides, are left out. On a CPU the episode is smaller than a real one, which would
take minutes; both sides grow in proportion to its clips.

A GPU, where there is one, has rows of its own: a whole episode of 5-way 1-shot with 5 queries per class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import memory_count
import plain
import step_profile
import torch
from measure import device, peak_bytes, row, taking_turns
from subjects import model_of, noise, settings_for
from torch import Tensor

from tmal_core.config import Settings
from tmal_core.data.clips import EpisodeClips
from tmal_core.models.few_shot import FewShotModel
from tmal_core.training.loop import _step
from tmal_core.training.optimiser import build_optimiser

WAY, QUERIES, RATE = 5, 1, 1e-9
PLAIN_RECIPE = {
    "training.accumulation": 1,
    "training.warmup": 0,
    "training.schedule": "cosine",
    "training.optimiser": "adamw",
    "training.clip_norm": 1.0,
}
LARGE_EPISODE = 5, 5, 5  # way, shot, queries per class
LOSS_TOLERANCE = {"exact": 1e-3, "ours": 0.05, "low": 0.05}


def episode_of(way: int, shot: int, queries: int, side: int = 224) -> EpisodeClips:
    """Clips of noise."""
    frames = noise(way * (shot + queries), side=side)
    labels = torch.cat([torch.arange(way).repeat_interleave(count) for count in (shot, queries)])
    return EpisodeClips(
        episode_type="all",
        num_support=way * shot,
        frames=frames,
        flow_px=None,
        labels=labels,
        classes=torch.arange(way),
        bases=torch.arange(len(labels)),
        named=torch.ones(len(labels), dtype=torch.bool),
        exchangeable=True,
    )


class Step:
    """The package's step, again and again on one episode; every call is a whole optimiser step.

    Args:
        settings: of the method.
        clips: the episode.
        model: of these settings; a new one unless given.
        text: of the episode's classes, where the model reads it.
    """

    def __init__(
        self,
        settings: Settings,
        clips: EpisodeClips,
        model: FewShotModel | None = None,
        text: Tensor | None = None,
    ) -> None:
        self.recipe, self.seed = settings.replace(PLAIN_RECIPE).training, settings.seed
        self.clips, self.model, self.text = clips, model or model_of(settings, device()), text
        self.optimiser = build_optimiser(self.model.tunable(), self.recipe, RATE)

    def __call__(self) -> float:
        """The loss."""
        self.model.encoder.low_memory = self.recipe.memory == "low"
        learning = self.optimiser, RATE, self.recipe
        return _step(self.model, self.clips, self.text, *learning, self.seed, 0).loss


def plain_step(model: FewShotModel, clips: EpisodeClips) -> Callable[[], float]:
    """The plain version of it."""
    frames = clips.frames.to(device())
    episode = plain.Episode(frames[: clips.num_support], frames[clips.num_support :], len(clips.classes))
    optimiser = torch.optim.AdamW(model.tunable().values(), lr=RATE)
    return lambda: plain.step(model, episode, optimiser, clip_norm=1.0)


def rows(folder: Path) -> Iterator[dict]:
    """One row per figure; a picture `training_step.png` of where the time goes."""
    settings = settings_for("st_adapter")
    clips = episode_of(WAY, 1, QUERIES)
    step = Step(settings, clips)
    steps = {"plain": plain_step(step.model, clips), "ours": step}
    for which, setting in (("exact", {"training.precision": "float32"}), ("low", {"training.memory": "low"})):
        steps[which] = Step(settings.replace(setting), clips, step.model)
    losses: dict[str, float] = {}
    held = {which: peak_bytes(lambda which=which: losses.update({which: steps[which]()})) for which in steps}
    for which, tolerance in LOSS_TOLERANCE.items():
        torch.testing.assert_close(losses[which], losses["plain"], atol=tolerance, rtol=0)
    found = taking_turns(steps, rounds=1, warm_up=0)
    name = f"training step, {len(clips.labels)} clips"
    yield row(f"{name}: plain in float32 / ours in bfloat16", found["plain"] / found["ours"], "x", ">=", 3.0)
    yield row(f"{name}: memory of ours in bfloat16 / plain in float32", held["ours"] / held["plain"], "x", "<=", 0.5)
    yield row(f"{name}: plain in float32 / ours in float32", found["plain"] / found["exact"], "x")
    yield row(f"{name}: memory of ours in float32 / plain in float32", held["exact"] / held["plain"], "x")
    yield row(f"{name}: ours in bfloat16", found["ours"], "s")
    yield row(f"{name}: memory of ours in bfloat16", held["ours"] / 1e9, "GB")
    yield row(f"{name}: time with memory: low / normal", found["low"] / found["ours"], "x")
    yield row(f"{name}: memory with memory: low / normal", held["low"] / held["ours"], "x")
    yield from _counted(settings, {"normal": held["ours"], "low": held["low"]}, len(clips.labels))
    kinds = step_profile.kinds_of(step)
    step_profile.draw(kinds, folder / "training_step.png")
    whole = sum(sum(parts.values()) for parts in kinds.values())
    share = 100 * sum(kinds["matrix products"].values()) / whole
    yield row(f"{name}: matrix products' share of the time (training_step.png has the rest)", share, "%")
    possible = found["plain"] / (share / 100 * found["ours"])
    yield row(f"{name}: the limit, plain in float32 / ours' matrix products alone", possible, "x")
    yield from _on_a_gpu(settings)


def _counted(settings: Settings, measured: dict[str, int], num_clips: int) -> Iterator[dict]:
    """The claim of `training.memory: low`, counted on tensors without content, and the counting held against runs."""
    for memory, held in measured.items():
        counted = memory_count.step_bytes(settings.replace({"training.memory": memory}), num_clips)
        yield row(f"training memory: {memory}, {num_clips} clips: counted / measured", counted / held, "x")
    way, shot, queries = LARGE_EPISODE
    for method in ("st_adapter", "tmal", "clip_fsar"):
        asked = settings_for(method, training__memory="low")
        counted = memory_count.whole_bytes(asked, way * shot, way * queries)
        name = (
            f"training.memory: low, {method}, {way}-way {shot}-shot, {queries} queries per class: counted, all in all"
        )
        yield row(name, counted / 1e9, "GB", "<=", 12.0)


def _on_a_gpu(settings: Settings) -> Iterator[dict]:
    name = "training step on a GPU, 5-way 1-shot, 5 queries per class"
    if not torch.cuda.is_available():
        yield row(f"{name}: none at hand, not measured", None, "")
        return
    step = Step(settings, episode_of(5, 1, 5))
    yield row(name, taking_turns({"ours": step}, rounds=10, warm_up=3)["ours"], "s", "<=", 0.15)
    torch.cuda.reset_peak_memory_stats()
    step()
    yield row(f"{name}: memory, all in all", torch.cuda.max_memory_allocated() / 1e9, "GB", "<=", 9.0)
