"""The optimiser of a recipe, and the learning rate of each of its steps.

`adam_l2` on `steps` is CLIP-FSAR's, as its code runs it (models/utils/optimizer.py and lr_policy.py, commit 30cf0a8):
Adam whose decay is added to the gradient, g + decay * theta, for every tensor but those with "bn" or "norm" in their
name. Its other two groups stay empty. Rates are equal to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tmal_core.config import TrainingSettings
from tmal_core.errors import SettingsError

SCHEDULES = {"cosine": ("warmup",), "steps": ("warmup_episodes", "warmup_rate", "rate_drops")}
"""Which settings of a recipe each schedule reads and the other does not."""


def _is_matrix(_: str, tensor: Tensor) -> bool:
    return tensor.ndim > 1


def _is_no_norm(name: str, _: Tensor) -> bool:
    return "bn" not in name and "norm" not in name


def build_optimiser(tunable: Mapping[str, Tensor], recipe: TrainingSettings, rate: float) -> torch.optim.Optimizer:
    """The recipe's optimiser of these parameters by name."""
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(decay_groups(tunable, recipe.weight_decay), lr=rate)
    return torch.optim.Adam(decay_groups(tunable, recipe.weight_decay, _is_no_norm), lr=rate)


def decay_groups(
    tunable: Mapping[str, Tensor], weight_decay: float, decays: Callable[[str, Tensor], bool] = _is_matrix
) -> list[dict[str, Any]]:
    """Groups of parameters: with decay and without. By default matrices decay; biases, norms and scales do not."""
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": decay} for decay in (weight_decay, 0.0)]
    for name, tensor in tunable.items():
        groups[not decays(name, tensor)]["params"].append(tensor)
    return groups


def base_rate(recipe: TrainingSettings, tunes_backbone: bool) -> float:
    """The learning rate that the schedule starts from or rises to.

    Raises:
        SettingsError: the rise would be a fall.
    """
    name = "backbone_learning_rate" if tunes_backbone else "learning_rate"
    rate = getattr(recipe, name)
    if recipe.schedule == "steps" and recipe.warmup_rate > rate:
        got, remedy = f"{recipe.warmup_rate:g}", "Lower training.warmup_rate."
        raise SettingsError(f"a training.warmup_rate up to training.{name} {rate:g}", got, remedy)
    return rate


def learning_rate(episode: int, recipe: TrainingSettings, base: float) -> float:
    """The rate of an optimiser step that ends with this episode, counted from 0.

    >>> steps = {"schedule": "steps", "warmup_episodes": 10, "warmup_rate": 0.1, "rate_drops": [[20, 0.5]]}
    >>> [learning_rate(episode, TrainingSettings(**steps), 0.2) for episode in (0, 5, 10, 20)]
    [0.1, 0.15000000000000002, 0.2, 0.1]
    """
    if recipe.schedule == "cosine":
        steps = math.ceil(recipe.episodes / recipe.accumulation)
        return base * _warm_cosine(episode // recipe.accumulation, recipe.warmup, steps)
    if episode < recipe.warmup_episodes:
        return episode / recipe.warmup_episodes * (base - recipe.warmup_rate) + recipe.warmup_rate
    return base * [1.0, *(factor for start, factor in recipe.rate_drops if start <= episode)][-1]


def _warm_cosine(step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate: a linear rise, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
