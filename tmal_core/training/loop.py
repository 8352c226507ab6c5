"""Episodic training: forward, backward, validate on `val`, keep the best, stop early, go on after a stop.

All randomness comes from (seed, episode index), so training that was stopped and resumed ends with the same weights,
to the bit, as training that was not. Ctrl-C ends it behind the episode that is under way, or in the middle of a
validation, which is then begun again; a kill throws it back to the last validation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tmal_core.config import ComputeSettings, TrainingSettings
from tmal_core.data.clips import EpisodeClips, TrainingEpisodes, training_loader
from tmal_core.errors import RunError, WeightsError
from tmal_core.models.few_shot import FewShotModel
from tmal_core.runtime.processes import interrupts_noted
from tmal_core.runtime.progress_bar import tqdm
from tmal_core.runtime.seeding import seed_everything
from tmal_core.training.checkpoint import Origin, load_checkpoint, save_checkpoint
from tmal_core.training.losses import episode_loss, gradient_norms
from tmal_core.training.optimiser import RATE_FACTOR, base_rate, build_optimiser, learning_rate
from tmal_core.training.pace import Pace
from tmal_core.training.weight_average import WeightAverage


class Validated(NamedTuple):
    """What a validation found, in percent."""

    score_pct: float  # chooses the best checkpoint
    accuracy_pct: dict[str, float]  # by episode type
    low_pct: float = math.nan  # interval of the score; nan where nobody asked for it
    high_pct: float = math.nan


class Step(NamedTuple):
    """What an episode of training gave."""

    loss: float
    train_pct: float  # accuracy
    grad_norm: float  # before clipping; nan where no optimiser step was due
    text_loss: float = math.nan  # the video-text part of the loss, before its weight; nan where there is none
    episode_grad_norm: float = math.nan  # of the episode's part of the loss alone; nan where it was not measured
    text_grad_norm: float = math.nan  # of the video-text part alone, with its weight


Validate = Callable[[FewShotModel], Validated]

LAST, BEST = "last.pt", "best.pt"


@dataclass
class Progress:
    """Where training stands; part of every checkpoint."""

    episode: int = 0
    best_pct: float = -math.inf
    best_episode: int = 0
    stale: int = 0  # validations since the best one
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def train_model(
    model: FewShotModel,
    episodes: TrainingEpisodes,
    validate: Validate,
    recipe: TrainingSettings,
    seed: int,
    folder: Path,
    origin: Origin,
    class_text: Tensor | None = None,
    compute: ComputeSettings = ComputeSettings(),
    log: Callable[..., None] = lambda **_: None,
    tell: Callable[..., None] = lambda **_: None,
    progress: bool = True,
) -> Progress:
    """Train until the episodes are used up or validation has not improved for `patience` times.

    Leaves `best.pt` and `last.pt` in the folder and the best weights in the model: with `recipe.ema` the best of their
    averages, which are then what is validated. With a `last.pt` of the same
    settings in the folder it goes on from there.

    Args:
        seed: of dropout.
        origin: of the weights; part of every checkpoint.
        class_text: (C, d) of the episodes' classes, where the model reads text.
        log: takes the figures of every validation.
        tell: takes what `Pace.facts` says, every few seconds.

    Raises:
        WeightsError: `last.pt` is of other settings or damaged.
        RunError: a gradient is not finite, or the disk is full.
        KeyboardInterrupt: of Ctrl-C, once where it stands is saved; of a second one at once.
    """
    model.encoder.low_memory = recipe.memory == "low"
    rate = base_rate(recipe, model.encoder.tune_backbone)
    optimiser = build_optimiser(model.tunable(), recipe, rate)
    average = WeightAverage(model.tunable(), recipe.ema)
    state, recent = _resumed(folder / LAST, model, optimiser, average, origin)
    name = origin.settings.get("model.method", "")
    title = f"training {name}".strip()
    bar = tqdm(total=recipe.episodes, initial=state.episode, desc=title, unit="ep", disable=not progress)
    loader = iter(training_loader(episodes, compute.num_workers, state.episode, compute.device))
    began = time.perf_counter() - state.seconds
    pace = Pace(recipe, tell)

    def save() -> None:
        state.seconds = time.perf_counter() - began
        save_checkpoint(folder / LAST, model, origin, **_snapshot(model, optimiser, average, state, recent))

    with interrupts_noted() as interrupts:
        while True:
            if recent and _is_validated(state.episode, recipe):
                model.eval()
                pace.validates(state.episode)
                try:
                    with interrupts.at_once(), average.in_place():
                        found = validate(model)
                except KeyboardInterrupt:
                    save()
                    raise
                _note(state, recent, found, began)
                recent = []
                log(**state.history[-1])
                if state.stale == 0:
                    with average.in_place():
                        save_checkpoint(folder / BEST, model, origin, episode=state.episode)
                save()
                pace.validated(state.episode, found.score_pct, found.low_pct, found.high_pct)
                bar.set_postfix(loss=f"{state.history[-1]['loss']:.3f}", val=f"{state.history[-1]['val_pct']:.1f}")
            if state.episode >= recipe.episodes or state.stale >= recipe.patience:
                break
            if interrupts.asked:
                save()
                raise KeyboardInterrupt
            recent.append(_step(model, next(loader), class_text, optimiser, rate, recipe, seed, state.episode))
            state.episode += 1
            if not math.isnan(recent[-1].grad_norm):
                average.follow(math.ceil(state.episode / recipe.accumulation))
            pace.stepped(state.episode, recent[-1].loss)
            bar.update()
    bar.close()
    load_checkpoint(folder / BEST, model)
    model.eval()
    return state


def _is_validated(episode: int, recipe: TrainingSettings) -> bool:
    """Whether the model is asked after so many episodes."""
    return episode % recipe.validate_every == 0 or episode == recipe.episodes


def _step(
    model: FewShotModel,
    clips: EpisodeClips,
    class_text: Tensor | None,
    optimiser: torch.optim.Optimizer,
    rate: float,
    recipe: TrainingSettings,
    seed: int,
    index: int,
) -> Step:
    """Forward and backward of one episode; an optimiser step when enough of them have accumulated."""
    model.train()
    seed_everything(seed, "dropout", index)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        result = episode_loss(model, clips, class_text, recipe.rotate, recipe.text_weight)
    norms = gradient_norms(result.parts, model.tunable()) if _is_measured(index, recipe) else {}
    (result.loss / recipe.accumulation).backward()
    norm = math.nan
    if (index + 1) % recipe.accumulation == 0 or index + 1 == recipe.episodes:
        norm = torch.nn.utils.clip_grad_norm_(model.tunable().values(), recipe.clip_norm or math.inf).item()
        if not math.isfinite(norm):  # one such step, and every weight is nan
            got = f"a norm of {norm} in episode {index + 1}, loss {result.loss.item():g}"
            remedy = "Lower training.learning_rate, or set training.precision to float32."
            raise RunError("gradients that are finite", got, remedy)
        for group in optimiser.param_groups:
            group["lr"] = group.get(RATE_FACTOR, 1.0) * learning_rate(index, recipe, rate)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    lengths = {f"{name}_grad_norm": length for name, length in norms.items()}
    return Step(result.loss.item(), result.accuracy_pct, norm, result.text_loss, **lengths)


def _is_measured(index: int, recipe: TrainingSettings) -> bool:
    """Whether the gradient of each loss is looked at: as many episodes before a validation as an optimiser step has,
    since each part costs a backward pass of its own."""
    to_come = min(-(index + 1) % recipe.validate_every, recipe.episodes - index - 1)
    return to_come < recipe.accumulation


def _snapshot(
    model: FewShotModel,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    state: Progress,
    recent: list[Step],
) -> dict[str, Any]:
    """What training needs to go on from here, beside the weights: it may be stopped between two optimiser steps, and
    between two validations."""
    gradients = {name: p.grad.cpu() for name, p in model.tunable().items() if p.grad is not None}
    since = [tuple(step) for step in recent]
    content = {"optimiser": optimiser.state_dict(), "progress": vars(state), "gradients": gradients, "recent": since}
    return content | ({"average": average.tensors} if average.tensors else {})


def _resumed(
    path: Path, model: FewShotModel, optimiser: torch.optim.Optimizer, average: WeightAverage, origin: Origin
) -> tuple[Progress, list[Step]]:
    """Bring everything to where the file was written, with the steps since the last validation; where there is none
    it is the start."""
    if not path.exists():
        return Progress(), []
    saved = load_checkpoint(path, model, origin)
    best = path.with_name(BEST)
    has_best = best.exists() or saved.get("progress", {}).get("best_episode") == 0
    if not (has_best and saved.keys() >= {"optimiser", "gradients", "progress"}):
        got = f"{path}, with which training cannot go on" if has_best else f"{path} without {BEST}"
        raise WeightsError(f"{LAST} of a training that was stopped, and {BEST}", got, f"Remove {LAST} to begin anew.")
    optimiser.load_state_dict(saved["optimiser"])
    average.go_on_from(saved.get("average", {}))
    tunable = model.tunable()
    for name, gradient in saved["gradients"].items():
        tunable[name].grad = gradient.to(tunable[name].device)
    return Progress(**saved["progress"]), [Step(*step) for step in saved.get("recent", ())]


def _note(state: Progress, recent: list[Step], found: Validated, began: float) -> None:
    """Add a line to the history and say whether this is the best so far."""
    steps = np.array(recent)
    known = ~np.isnan(steps).all(axis=0)  # methods without text have none of its figures
    means = dict(zip(np.array(Step._fields)[known].tolist(), np.nanmean(steps[:, known], 0).tolist(), strict=True))
    norms = {name: length for name, length in means.items() if name.endswith("_grad_norm")}
    whole = sum(norms.values()) or 1.0  # no loss of all has a gradient: no share of nothing
    means |= {name.replace("norm", "pct"): 100 * length / whole for name, length in norms.items()}
    state.seconds = time.perf_counter() - began
    line = {"episode": state.episode, **means, "val_pct": found.score_pct, "seconds": state.seconds}
    state.history.append({**line, **{f"val_{name}_pct": value for name, value in found.accuracy_pct.items()}})
    state.stale += 1
    if found.score_pct > state.best_pct:
        state.best_pct, state.best_episode, state.stale = found.score_pct, state.episode, 0
