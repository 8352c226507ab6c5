"""Training in a notebook: a line and curves in place, and at the end the same ones each time."""

from __future__ import annotations

import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure

from tmal_core.viz import live, live_training
from tmal_core.viz.live_training import LiveTraining, training_line

RUNNING = {"status": "running", "phase": "training", "episode": 3, "episodes": 8, "loss": 1.5}
RUNNING |= {"episodes_per_s": 2.0, "seconds_left": 100.0}


class Shown(list):
    """What is displayed, in order; a handle's update replaces."""

    def __call__(self, what, display_id):
        assert display_id
        place = len(self)
        self.append(what)

        class Handle:
            def update(_, new):
                self[place] = new
                self.updates += 1

        return Handle()

    updates = 0


@pytest.fixture
def shown(monkeypatch):
    found = Shown()
    monkeypatch.setattr(live, "display", found)
    monkeypatch.setattr(live_training, "display", found)
    return found


def test_the_line_is_renewed_and_the_curves_when_a_validation_has_come(shown):
    state, drawn = dict(RUNNING), []
    view = LiveTraining(lambda: {"TMAL": state, "Adapters": {"status": "waiting"}}, lambda: drawn.append(1) or Figure())
    view.update()
    assert isinstance(shown[0], Markdown) and len(shown) == 1 and view.figure is None, "there is nothing to draw"
    assert shown[0].data.splitlines()[1] == "- **Adapters**: waiting"
    view.update()
    assert shown.updates == 0, "nothing has changed"
    state["episode"] = 4
    view.update()
    assert "episode 4 of 8" in shown[0].data and (shown.updates, len(drawn)) == (1, 0)
    state["validations"] = 1
    view.update()
    picture = shown[1]
    view.update()
    assert len(drawn) == 1 and shown[1] is picture
    state |= {"status": "done", "episode": 8, "validations": 2}
    view.update()
    assert shown[0].data.startswith("- **TMAL**: done, 8 episodes") and len(drawn) == 2 and shown[1] is not picture
    assert len(shown) == 2 and isinstance(view.figure, Figure)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "episode 3 of 8, 2.0 per second, about 2 min left; loss 1.500"),
        ({"episodes_per_s": 0.25}, "episode 3 of 8, 4.0 s each, about 2 min left; loss 1.500"),
        ({"seconds_left": 8000.0}, "episode 3 of 8, 2.0 per second, about 2.2 h left; loss 1.500"),
        ({"seconds_left": 42.0}, "episode 3 of 8, 2.0 per second, about 42 s left; loss 1.500"),
        ({"phase": "validating"}, "episode 3 of 8, 2.0 per second, about 2 min left, validating; loss 1.500"),
        ({"status": "done", "val_pct": 50.0, "best_pct": 60.0, "best_episode": 2},
         "done, 3 episodes; val 50.0 %; best 60.0 % after 2"),
        ({"status": "interrupted", "val_pct": 50.0, "val_low_pct": 40.0, "val_high_pct": 60.0},
         "interrupted, 3 episodes; val 50.0 % [40.0, 60.0]"),
    ],
)  # fmt: skip
def test_how_it_stands_in_words(change, line):
    assert training_line({**RUNNING, **change}) == line


def test_before_the_first_episode_and_at_the_end_there_is_no_time():
    assert training_line({"status": "running"}) == "getting ready"
    assert training_line({"status": "failed"}) == "failed"
    ends = [
        training_line({**RUNNING, "status": "done", "episodes_per_s": speed, "seconds_left": speed}) for speed in (1, 9)
    ]
    assert ends[0] == ends[1]
