"""How training goes, told every few seconds to who waits for it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tmal_core.config import TrainingSettings

EVERY_S = 3.0
WINDOW = 50
"""Episodes that speed and loss are means over."""


class Pace:
    """Speed and time left, from what this process has seen of training.

    Args:
        tell: takes `facts`: after the first episode, then every `EVERY_S` seconds, and around every validation.
        now: a clock in seconds.
    """

    def __init__(
        self, recipe: TrainingSettings, tell: Callable[..., None], now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._recipe, self._tell, self._now = recipe, tell, now
        self._last = now()
        self._told = -math.inf
        self._steps_s: deque[float] = deque(maxlen=WINDOW)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._validation_s = 0.0

    def stepped(self, episode: int, loss: float) -> None:
        """An episode is done, this many in all."""
        self._steps_s.append(self._since())
        self._losses.append(loss)
        if self._last - self._told >= EVERY_S:
            self._say("training", episode)

    def validates(self, episode: int) -> None:
        """A validation begins."""
        self._since()
        self._say("validating", episode)

    def validated(self, episode: int, val_pct: float, low_pct: float = math.nan, high_pct: float = math.nan) -> None:
        """A validation has ended, with this accuracy and its interval."""
        self._validation_s = self._since()
        val = {"val_pct": val_pct, "val_low_pct": low_pct, "val_high_pct": high_pct}
        self._say("training", episode, **{key: value for key, value in val.items() if not math.isnan(value)})

    def facts(self, episode: int) -> dict[str, Any]:
        """Episodes done and in all; where known the mean loss, episodes per second and seconds that are left, if no
        early stop comes."""
        recipe = self._recipe
        found: dict[str, Any] = {"episode": episode, "episodes": recipe.episodes}
        if self._steps_s:
            step_s = sum(self._steps_s) / len(self._steps_s)
            validations = math.ceil(recipe.episodes / recipe.validate_every) - episode // recipe.validate_every
            left_s = (recipe.episodes - episode) * step_s + validations * self._validation_s
            found |= {"loss": sum(self._losses) / len(self._losses), "seconds_left": left_s}
            found |= {"episodes_per_s": 1 / step_s} if step_s else {}
        return found

    def _say(self, phase: str, episode: int, **more: Any) -> None:
        self._told = self._last
        self._tell(phase=phase, **self.facts(episode), **more)

    def _since(self) -> float:
        before, self._last = self._last, self._now()
        return self._last - before
