"""What the suite says: lines that stay, and one that renews itself, or in a log comes every half minute."""

from __future__ import annotations

import io
import threading

import pytest

from tmal_core.runtime.program_folder import VARIABLE, program, say_state
from tmal_core.suite.terminal_lines import LOG_EVERY_S, TerminalLines, duration, state_in_words, state_renewed


class Screen(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_in_a_terminal_one_line_renews_itself(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    lines = TerminalLines(screen)
    lines.say("03: running ...")
    lines.renew("03: 1 s")
    lines.renew("03: 2 s, training tmal: 1 of 8")
    lines.say("03: 9 s")
    lines.clear()
    clear = "\r\x1b[K"
    expected = f"03: running ...\n03: 1 s{clear}03: 2 s, training …{clear}03: 9 s\n"
    assert screen.getvalue() == expected
    lines.renew("04: 1 s")
    lines.clear()
    lines.clear()
    assert screen.getvalue() == f"{expected}04: 1 s{clear}"


def test_in_a_log_a_line_comes_when_nothing_was_said_for_long():
    log, clock = io.StringIO(), Clock()
    lines = TerminalLines(log, clock)
    lines.say("03: running ...")
    for second in range(int(2 * LOG_EVERY_S) + 5):
        clock.now = float(second)
        lines.renew(f"03: {second} s")
        if second == 40:
            lines.say("another")
    lines.clear()
    assert log.getvalue() == "03: running ...\n03: 30 s\nanother\n"
    clock.now = 40 + LOG_EVERY_S
    lines.renew("03: 70 s")
    assert log.getvalue().endswith("another\n03: 70 s\n")


def test_stdout_is_the_one_of_the_moment(capsys):
    TerminalLines().say("now")
    assert capsys.readouterr().out == "now\n"


@pytest.mark.parametrize(
    ("change", "age_s", "words"),
    [
        ({}, 1, "encoding: 3 of 12, about 4 s left"),
        ({"per_s": None}, 1, "encoding: 3 of 12"),
        ({"total": None}, 1, "encoding: 3"),
        ({"done": 12}, 1, "encoding: 12 of 12"),
        ({"done": 12}, 11, ""),
        ({}, 11, "encoding: 3 of 12, about 4 s left"),
    ],
)
def test_a_state_in_words(change, age_s, words):
    state = {"what": "encoding", "done": 3, "total": 12, "per_s": 2.0, "time": 100.0}
    assert state_in_words({**state, **change}, 100.0 + age_s) == words
    assert state_in_words(None, 0.0) == "" and duration(7500) == "2 h 5 min"


def test_what_is_beneath_is_looked_at_as_long_as_a_notebook_runs(monkeypatch):
    seen, begun, both = [], threading.Event(), threading.Event()

    def renew(line):
        seen.append(line)
        begun.set()
        if "training tmal: 1 of 8" in line:
            both.set()

    with program() as suite:
        monkeypatch.setenv(VARIABLE, str(suite.folder))
        say_state(what="of the notebook before", done=1, total=2, per_s=None)
        with state_renewed("03_adapter_training", suite, renew, every_s=0.01):
            begun.wait()
            say_state(what="training tmal", done=1, total=8, per_s=None)
            both.wait()
        number = len(seen)
    assert seen[0].startswith("03_adapter_training: ") and "," not in seen[0]
    assert not [line for line in seen if "before" in line]
    assert "training tmal: 1 of 8" in seen[-1] and len(seen) == number
