"""Training in a process of its own: the same bits, followed, joined, interrupted, killed, and gone on with."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from tmal_core.errors import DataError, RunError, SettingsError
from tmal_core.experiment import Experiment
from tmal_core.matching import register_matcher
from tmal_core.runtime.held_work import Process, held, read_work
from tmal_core.runtime.program_folder import VARIABLE, program
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks import training_process as apart
from tmal_core.tasks.train import train_method, training_history, training_state, work_file
from tmal_core.training.loop import BEST, LAST

LONG = {"training__episodes": 4000, "training__validate_every": 2000}  # more than any test waits for


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(apart, "LOOK_S", 0.02)


@pytest.fixture
def begin(few_settings, tmp_path):
    """An experiment in a run folder that notebooks share; what is left at its end is ended."""
    begun = []

    def run_of(name="run", method="st_adapter", **changes):
        settings = few_settings.replace({key.replace("__", "."): value for key, value in changes.items()})
        experiment = Experiment(settings, method_name=method, run_dir=tmp_path / name)
        run = Run.join(experiment.run_dir, settings)
        begun.append(work_file(run.path, method))
        return experiment, run

    yield run_of
    for work in map(read_work, begun):
        if work is not None and not work.process.is_gone and work.process != Process.this():
            os.kill(work.process.pid, signal.SIGKILL)


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "st_adapter" / name, weights_only=True)["tunable"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def once_it_trains(run, act):
    """For `on_change`: acts as soon as the process has told of an episode, once."""
    done = []

    def on_change():
        if not done and "episode" in training_state(run, "st_adapter"):
            done.append(True)
            act(read_work(work_file(run.path, "st_adapter")).process)

    return on_change


def interrupt(_):
    raise KeyboardInterrupt  # as an interrupt of the cell does, which may come at any time


@pytest.mark.parametrize("threads", [1, 2])
def test_it_gives_the_bits_of_training_in_place(begin, threads):
    before = torch.get_num_threads()
    here, run_here = begin("here", compute__num_threads=threads)
    there, run_there = begin("there", compute__num_threads=threads)
    changes = []
    model, state = train_method(here, run_here, progress=False)
    torch.set_num_threads(before)
    torch.manual_seed(123)  # what was drawn here decides nothing there
    found, its_state = apart.train_apart(there, run_there, lambda: changes.append(len(run_there.metrics())))
    for name in (BEST, LAST):
        assert same(tensors(run_here.path, name), tensors(run_there.path, name))
    assert same(dict(model.named_parameters()), dict(found.named_parameters())) and not found.training
    assert (its_state.best_pct, its_state.history[-1]["loss"]) == (state.best_pct, state.history[-1]["loss"])
    tables = [training_history(run, ["st_adapter"]).drop(columns="seconds") for run in (run_here, run_there)]
    assert tables[0].equals(tables[1]) and run_there.summary.keys() == run_here.summary.keys()
    assert changes[-1] == len(run_there.metrics()), "the last look is behind the end"
    now = training_state(run_there, "st_adapter")
    assert (now["status"], now["episode"], now["episodes"]) == ("done", 8, 8)
    assert now["val_low_pct"] <= now["val_pct"] <= now["val_high_pct"]
    assert now["best_pct"] == state.best_pct and now["best_episode"] == state.best_episode
    assert not [line for line in run_here.metrics() if line["kind"] == "progress"]


def test_an_interrupt_is_passed_on_and_the_next_run_goes_on(begin):
    few = {"training__episodes": 60, "training__validate_every": 30}
    whole, run_whole = begin("whole", **few)
    halves, run_halves = begin("halves", **few)
    with pytest.raises(KeyboardInterrupt):
        apart.train_apart(halves, run_halves, once_it_trains(run_halves, interrupt))
    work = read_work(work_file(run_halves.path, "st_adapter"))
    assert work.process.is_gone and work.state == "interrupted"
    assert run_halves.status == training_state(run_halves, "st_adapter")["status"] == "interrupted"
    stood = torch.load(run_halves.path / "checkpoints" / "st_adapter" / LAST, weights_only=True)["progress"]["episode"]
    assert 0 < stood < 60
    apart.train_apart(halves, run_halves)
    apart.train_apart(whole, run_whole)
    for name in (BEST, LAST):
        assert same(tensors(run_halves.path, name), tensors(run_whole.path, name))
    tables = [training_history(run, ["st_adapter"]).drop(columns="seconds") for run in (run_halves, run_whole)]
    assert tables[0].equals(tables[1]) and run_halves.status == "done"


def test_a_kill_is_told_and_the_next_run_goes_on(begin):
    """Behind the first validation, so that there is a place to go on from."""
    experiment, run = begin(training__episodes=40, training__validate_every=20)
    done = []

    def kill():
        if not done and len(training_history(run, ["st_adapter"])) == 1 and list(run.path.glob("**/last.pt")):
            done.append(True)
            os.kill(read_work(work_file(run.path, "st_adapter")).process.pid, signal.SIGKILL)

    with pytest.raises(RunError) as caught:
        apart.train_apart(experiment, run, kill)
    assert "the training of st_adapter to end, got process" in str(caught.value)
    assert "killed by SIGKILL (often: out of memory). Run it again: it goes on from its last val" in str(caught.value)
    assert run.status == training_state(run, "st_adapter")["status"] == "interrupted"
    lines = len(run.metrics())
    _, state = apart.train_apart(experiment, run)
    assert state.episode == 40 and run.status == "done"
    again = [line["episode"] for line in run.metrics()[lines:] if line["kind"] == "progress"]
    assert min(again) > 20, "it did not begin anew"


def test_who_asks_again_follows_the_one_that_is_there_and_may_end_it(begin):
    """As a second tab does, or a kernel that was started anew."""
    experiment, run = begin(**LONG)
    code = f"""
import pickle
from tmal_core.tasks import training_process as apart
experiment, run = pickle.loads({pickle.dumps((experiment, run))!r})
apart.train_apart(experiment, run)
"""
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as kernel:
        file = work_file(run.path, "st_adapter")
        while read_work(file) is None:
            time.sleep(0.05)
            assert kernel.poll() is None
        kernel.kill()  # and training outlives it
    process = read_work(file).process
    assert run.status == "running"
    seen = []
    with pytest.raises(KeyboardInterrupt):
        apart.train_apart(experiment, run, once_it_trains(run, lambda p: (seen.append(p), interrupt(p))))
    assert seen == [process] and process.is_gone
    assert (run.path / "checkpoints" / "st_adapter" / LAST).exists() and run.status == "interrupted"


def test_an_interrupt_by_somebody_else_is_told(begin):
    experiment, run = begin(**LONG)
    with pytest.raises(RunError, match=r"to end, got an interrupt of process \d+ on .*it goes on where it stood"):
        apart.train_apart(experiment, run, once_it_trains(run, Process.interrupt))


def test_an_error_of_the_user_comes_back_as_it_was_raised(begin, tmp_path):
    experiment, run = begin(data__root=str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"expected .*, got .*none.*\. ") as caught:
        apart.train_apart(experiment, run)
    assert "Traceback" in str(caught.value.__cause__) and "train_method" in str(caught.value.__cause__)
    assert training_state(run, "st_adapter")["status"] == run.status == "failed"


def test_a_defect_comes_back_with_its_traceback(begin, tmp_path, monkeypatch):
    """Here of a matcher of one's own, which the process knows since it is imported."""
    (tmp_path / "own_of_a_test.py").write_text(
        "from tmal_core.matching import register_matcher\n"
        "def broken(distances):\n    return distances.sum((2, 3)) / {}['missing']\n"
        "register_matcher('broken', broken)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    __import__("own_of_a_test")
    try:
        experiment, run = begin(method="tmal", model__matching="broken")
        with pytest.raises(KeyError, match="missing") as caught:
            apart.train_apart(experiment, run)
        assert "own_of_a_test.py" in str(caught.value.__cause__)
    finally:
        register_matcher("broken", None)


def test_what_this_process_alone_knows_is_refused_before_anything_starts(begin, monkeypatch):
    register_matcher("mine", own := lambda distances: distances.sum((2, 3)))
    own.__module__ = "__main__"
    try:
        experiment, run = begin(method="tmal", model__matching="mine")
        with pytest.raises(SettingsError, match=r"the matcher mine in a module, got one .* train in place by train_me"):
            apart.train_apart(experiment, run)
    finally:
        register_matcher("mine", None)
    assert not (run.path / "processes").exists()
    frozen = Experiment(experiment.settings.replace({"model.matching": "otam"}), method_name="otam")
    with pytest.raises(SettingsError, match="expected a method that is trained"):
        apart.train_apart(frozen, run)


def test_a_process_that_does_not_begin_is_told_by_its_last_line(begin, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    experiment, run = begin()
    with pytest.raises(RunError, match=r"the training of st_adapter to begin, got a process that ended without a word"):
        apart.train_apart(experiment, run)


def test_of_two_that_begin_in_one_moment_the_second_follows_the_first(begin):
    """The child finds the work held, here by this process, which ends it later."""
    experiment, run = begin()
    file = work_file(run.path, "st_adapter")
    over, began = threading.Event(), threading.Event()

    def other():
        with held(file):
            began.set()
            over.wait()

    thread = threading.Thread(target=other)
    child = apart._start(experiment, run, [])
    thread.start()
    began.wait()
    child.popen.wait()
    assert "nobody at work on train-st_adapter" in child.log.read_text()
    apart._follow("st_adapter", file, child, run, lambda: over.set())
    thread.join()
    assert read_work(file).state == "done"


def test_it_ends_with_the_program_above(begin, monkeypatch):
    experiment, run = begin(**LONG)
    with program() as suite:
        monkeypatch.setenv(VARIABLE, suite.environment[VARIABLE])
        child = apart._start(experiment, run, [])
        while "episode" not in training_state(run, "st_adapter"):
            time.sleep(0.05)
            assert child.popen.poll() is None, child.log.read_text()
        assert suite.state["what"] == "training st_adapter" and suite.state["total"] == 4000
        threading.Thread(target=child.popen.wait).start()  # as an init would collect it
    assert child.process.is_gone
    assert (run.path / "checkpoints" / "st_adapter" / LAST).exists()
    assert json.loads(work_file(run.path, "st_adapter").read_text())["state"] == "interrupted"
