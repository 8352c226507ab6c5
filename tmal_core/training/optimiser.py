"""The optimiser of a recipe, and the learning rate of each of its steps.

`adamw_all` on `late_cosine` is TS-FSAR's, as its code runs it (commit 1a91053).
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

SCHEDULES = {"cosine": ("warmup",), "steps": ("warmup_episodes", "warmup_rate", "rate_drops"), "late_cosine": ()}
"""Which settings of a recipe each schedule reads and the others do not."""
RATE_FACTOR = "rate_factor"
"""In a group of parameters: factor on the learning rate."""
_EPS, _EPS_OF_ALL = 1e-8, 1e-6


def _is_matrix(_: str, tensor: Tensor) -> bool:
    return tensor.ndim > 1


def _is_no_norm(name: str, _: Tensor) -> bool:
    return "bn" not in name and "norm" not in name


def _is_any(_: str, __: Tensor) -> bool:
    return True


def build_optimiser(tunable: Mapping[str, Tensor], recipe: TrainingSettings, rate: float) -> torch.optim.Optimizer:
    """The recipe's optimiser of these parameters by name.

    Raises:
        SettingsError: a rate factor is for a parameter that there is not.
    """
    decays = {"adamw": _is_matrix, "adam_l2": _is_no_norm, "adamw_all": _is_any}[recipe.optimiser]
    groups = [
        {**group, RATE_FACTOR: factor}
        for factor, part in _by_factor(tunable, recipe).items()
        for group in decay_groups(part, recipe.weight_decay, decays)
    ]
    if recipe.optimiser == "adam_l2":
        return torch.optim.Adam(groups, lr=rate)
    return torch.optim.AdamW(groups, lr=rate, eps=_EPS_OF_ALL if recipe.optimiser == "adamw_all" else _EPS)


def _by_factor(tunable: Mapping[str, Tensor], recipe: TrainingSettings) -> dict[float, dict[str, Tensor]]:
    """Factor on the learning rate -> parameters by name; 1 first."""
    found: dict[float, dict[str, Tensor]] = {1.0: {}}
    unmet = {part for part, _ in recipe.rate_factors}
    for name, tensor in tunable.items():
        part, factor = next(((part, f) for part, f in recipe.rate_factors if part in name), ("", 1.0))
        found.setdefault(factor, {})[name] = tensor
        unmet.discard(part)
    if unmet:
        got, remedy = f"rate factors of {', '.join(sorted(unmet))}", "Correct training.rate_factors."
        raise SettingsError("parts of the names of what is trained", got, remedy)
    return found


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
    step, steps = episode // recipe.accumulation, math.ceil(recipe.episodes / recipe.accumulation)
    if recipe.schedule == "cosine":
        return base * _warm_cosine(step, recipe.warmup, steps)
    if recipe.schedule == "late_cosine":
        return base * _warm_cosine(max(0, step - 1), 0, steps)
    if episode < recipe.warmup_episodes:
        return episode / recipe.warmup_episodes * (base - recipe.warmup_rate) + recipe.warmup_rate
    return base * [1.0, *(factor for start, factor in recipe.rate_drops if start <= episode)][-1]


def _warm_cosine(step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate: a linear rise, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
