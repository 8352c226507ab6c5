"""How training goes, in numbers that a clock of one's own makes."""

from __future__ import annotations

from tmal_core.config import TrainingSettings
from tmal_core.training.pace import EVERY_S, WINDOW, Pace

RECIPE = TrainingSettings(episodes=100, validate_every=40)


class Clock:
    def __init__(self):
        self.now = 7.0

    def __call__(self):
        return self.now


def test_time_left_counts_episodes_and_the_validations_to_come():
    clock, told = Clock(), []
    pace = Pace(RECIPE, lambda **line: told.append(line), clock)
    assert pace.facts(0) == {"episode": 0, "episodes": 100}
    for episode in range(1, 41):
        clock.now += 0.5
        pace.stepped(episode, float(episode))
    assert pace.facts(40) == {
        "episode": 40, "episodes": 100, "loss": 20.5, "seconds_left": 30.0, "episodes_per_s": 2.0
    }  # fmt: skip
    pace.validates(40)
    clock.now += 10.0
    pace.validated(40, 62.5, 60.0, 65.0)
    assert told[-2]["phase"] == "validating" and "val_pct" not in told[-2]
    after = {key: told[-1][key] for key in ("phase", "val_pct", "val_low_pct", "val_high_pct", "seconds_left")}
    # 60 episodes of half a second; validations after 80 and after 100, ten seconds each.
    expected = {"phase": "training", "val_pct": 62.5, "val_low_pct": 60.0, "val_high_pct": 65.0, "seconds_left": 50.0}
    assert after == expected
    pace.validated(100, 62.5)
    assert "val_low_pct" not in told[-1] and told[-1]["seconds_left"] == 0.0


def test_it_is_told_after_the_first_episode_and_then_every_few_seconds():
    clock, told = Clock(), []
    pace = Pace(RECIPE, lambda **line: told.append(line["episode"]), clock)
    for episode in range(1, 8):
        clock.now += EVERY_S / 2
        pace.stepped(episode, 1.0)
    assert told == [1, 3, 5, 7]


def test_speed_and_loss_are_of_the_last_episodes():
    clock = Clock()
    pace = Pace(RECIPE, lambda **line: None, clock)
    clock.now += 100.0
    pace.stepped(1, 1000.0)
    for episode in range(WINDOW):
        clock.now += 0.25
        pace.stepped(2 + episode, 1.0)
    assert (pace.facts(51)["episodes_per_s"], pace.facts(51)["loss"]) == (4.0, 1.0)
