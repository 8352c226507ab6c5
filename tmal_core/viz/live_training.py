"""Training in a notebook: a line for each method that says how it stands, and the curves below, renewed in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from IPython.display import DisplayHandle, Markdown, display
from matplotlib.figure import Figure

from tmal_core.viz.live import LiveFigure


class LiveTraining:
    """Shown at the first `update`, replaced by every further one; an executed notebook holds the last state alone.

    Args:
        states: how the training of each method stands, by its title (`training_state`).
        draw: makes the curves as they are now. Called when a validation has come: nothing else changes them.
    """

    def __init__(self, states: Callable[[], Mapping[str, Mapping[str, Any]]], draw: Callable[[], Figure]) -> None:
        self._states, self._curves = states, LiveFigure(draw)
        self._handle: DisplayHandle | None = None
        self._text = ""
        self._drawn: list[int] = []

    @property
    def figure(self) -> Figure | None:
        """The curves as drawn last; None before the first validation."""
        return self._curves.figure

    def update(self) -> None:
        """Look again."""
        states = self._states()
        text = "\n".join(f"- **{title}**: {training_line(state)}" for title, state in states.items())
        if self._handle is None:
            self._handle = display(Markdown(text), display_id=True)
        elif text != self._text:
            self._handle.update(Markdown(text))
        self._text = text
        validations = [state.get("validations", 0) for state in states.values()]
        if any(validations) and validations != self._drawn:
            self._drawn = validations
            self._curves.update()


def training_line(state: Mapping[str, Any]) -> str:
    """How training stands, in words; at its end without any time, so that each run ends with the same line.

    >>> training_line({"status": "waiting"})
    'waiting'
    >>> training_line({"status": "running", "episode": 512, "episodes": 1080, "episodes_per_s": 2.11,
    ...                "seconds_left": 269.0, "loss": 1.2034, "phase": "training"})
    'episode 512 of 1,080, 2.1 per second, about 4 min left; loss 1.203'
    >>> training_line({"status": "done", "episode": 1080, "val_pct": 87.42, "val_low_pct": 84.0, "val_high_pct": 90.1,
    ...                "best_pct": 88.0, "best_episode": 810})
    'done, 1,080 episodes; val 87.4 % [84.0, 90.1]; best 88.0 % after 810'
    """
    status = state["status"]
    if status == "waiting" or "episode" not in state:
        return "getting ready" if status == "running" else status
    parts = []
    if status == "running":
        head = f"episode {state['episode']:,} of {state['episodes']:,}"
        if "episodes_per_s" in state:
            head += f", {_speed(state['episodes_per_s'])}, about {_duration(state['seconds_left'])} left"
        parts.append(head + (", validating" if state["phase"] == "validating" else ""))
        if "loss" in state:
            parts.append(f"loss {state['loss']:.3f}")
    else:
        parts.append(f"{status}, {state['episode']:,} episodes")
    if "val_pct" in state:
        known = f" [{state['val_low_pct']:.1f}, {state['val_high_pct']:.1f}]" if "val_low_pct" in state else ""
        parts.append(f"val {state['val_pct']:.1f} %{known}")
    if "best_pct" in state:
        parts.append(f"best {state['best_pct']:.1f} % after {state['best_episode']:,}")
    return "; ".join(parts)


def _speed(episodes_per_s: float) -> str:
    if episodes_per_s >= 1:
        return f"{episodes_per_s:.1f} per second"
    return f"{1 / episodes_per_s:.1f} s each"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
