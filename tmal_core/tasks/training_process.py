"""Training in a process of its own, which who asks for it follows: a notebook.

    notebook ── starts, or finds ──► process that trains ──► metrics.jsonl, checkpoints
        ▲                                                        │
        └─────────────────── looks every while ──────────────────┘

The process outlives the notebook's kernel, and whoever asks for the same training again follows the one that is there.
An interrupt is passed on: training saves where it stands and ends, and goes on from there when it is asked for again.
It ends in the same way with the program that the kernel belongs to (`tmal suite`, `tmal lab`). It is given what the
experiment was made of, so its results are those of training in place, to the bit.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tmal_core.errors import RunError, SettingsError
from tmal_core.experiment import Experiment
from tmal_core.matching.dispatch import modules_of_matcher
from tmal_core.models.few_shot import FewShotModel
from tmal_core.runtime.held_work import Process, held, read_work, wait_for_end
from tmal_core.runtime.program_folder import joined, say_state
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.train import require_trainable, train_method, work_file
from tmal_core.training.checkpoint import load_checkpoint, read_checkpoint_file
from tmal_core.training.loop import BEST, LAST, Progress

LOOK_S = 0.5
"""Between two looks at the run's metrics."""
LONGEST_SILENCE_S = 5.0
"""After which `on_change` is called although nothing has changed: time has passed."""


class _Child(NamedTuple):
    """The process that was started here."""

    popen: subprocess.Popen
    process: Process
    log: Path


def train_apart(
    experiment: Experiment, run: Run, on_change: Callable[[], None] = lambda: None
) -> tuple[FewShotModel, Progress]:
    """As `train_method`, in a process of its own; one that is at it already is followed.

    Args:
        run: takes the metrics; its folder is the experiment's. Beside the validations its lines of kind "progress" say
            how training stands (`Pace`).
        on_change: called when the run's metrics have changed, and every few seconds.

    Returns:
        The model with its best weights, and how training went.

    Raises:
        SettingsError: the method has nothing to train, or it or its matcher is known to this process alone.
        RunError: the process was killed, or interrupted by somebody else.
        KeyboardInterrupt: after training has saved where it stands.
        Exception: what training ended with, as it was raised there.
    """
    require_trainable(experiment)
    modules, file = _modules(experiment), work_file(run.path, experiment.name)
    work = read_work(file)
    child = None if work is not None and work.is_going_on else _start(experiment, run, modules)
    try:
        _follow(experiment.name, file, child, run, on_change)
    finally:
        on_change()
    model = experiment.build()
    load_checkpoint(experiment.checkpoints / BEST, model)
    state = Progress(**read_checkpoint_file(experiment.checkpoints / LAST)["progress"])
    return model.eval(), state


def _modules(experiment: Experiment) -> list[str]:
    """What the process has to import, so that it knows methods and matchers of one's own."""
    places = {
        f"method {experiment.name}": getattr(experiment.method.build, "__module__", "__main__"),
        **{
            f"matcher {name}": module for name, module in modules_of_matcher(experiment.settings.model.matching).items()
        },
    }
    for what, module in places.items():
        if module == "__main__":
            remedy = "Put it into a file beside the notebook and import that, or train in place by train_method."
            raise SettingsError(f"the {what} in a module", "one that is defined in the notebook", remedy)
    return sorted(module for module in places.values() if not module.startswith("tmal_core."))


def _start(experiment: Experiment, run: Run, modules: list[str]) -> _Child:
    """In a session of its own: what interrupts or ends the kernel does not reach it."""
    file = work_file(run.path, experiment.name)
    file.parent.mkdir(exist_ok=True)
    log = file.with_suffix(".log")
    known = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "TQDM_MININTERVAL": "10"}
    command = [sys.executable, "-m", __name__]
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            env=os.environ | known,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert popen.stdin is not None
    with suppress(BrokenPipeError), popen.stdin:  # where it has died already, who follows it is told
        popen.stdin.write(pickle.dumps((file, modules, pickle.dumps(experiment), run.path)))
    return _Child(popen, Process.of(popen.pid), log)


def _follow(name: str, file: Path, child: _Child | None, run: Run, on_change: Callable[[], None]) -> None:
    """Look at the process until it has ended, and raise what it ended with."""
    metrics = run.path / "metrics.jsonl"
    seen, told = 0, 0.0
    try:
        while not _has_ended(file, child):
            size = metrics.stat().st_size if metrics.exists() else 0
            if size != seen or time.monotonic() - told > LONGEST_SILENCE_S:
                seen, told = size, time.monotonic()
                on_change()
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        _pass_on(file, child)
        raise
    work, it = read_work(file), f"the training of {name}"
    if work is None or (child is not None and work.process != child.process):
        if work is not None and work.is_going_on:  # somebody else began in the same moment
            _follow(name, file, None, run, on_change)
            return
        assert child is not None
        raise RunError(f"{it} to begin", _last_line(child.log), f"All of it stands in {child.log}.")
    work.raise_error()
    again = "Run it again: it goes on"
    if work.state == "interrupted":
        raise RunError(f"{it} to end", f"an interrupt of {work.process}", f"{again} where it stood.")
    if work.state == "running":
        code = None if child is None else child.popen.returncode
        how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else "gone without a word"
        why = " (often: out of memory)" if code in (None, -signal.SIGKILL) else ""
        log = file.with_suffix(".log")
        raise RunError(f"{it} to end", f"{work.process}, {how}{why}", f"{again} from its last validation. Log: {log}.")


def _has_ended(file: Path, child: _Child | None) -> bool:
    if child is not None:
        return child.popen.poll() is not None
    work = read_work(file)
    return work is None or not work.is_going_on


def _pass_on(file: Path, child: _Child | None) -> None:
    """Interrupt the process and wait for its end; every further Ctrl-C interrupts it once more."""
    work = read_work(file)
    process = child.process if child is not None else work.process if work is not None else None
    if process is None:
        return
    if not process.is_here:
        raise RunError("training on this machine", str(process), "Interrupt it there: it goes on.")
    while not process.is_gone:
        try:
            process.interrupt()
            wait_for_end(process)
        except KeyboardInterrupt:
            continue
    if child is not None:
        child.popen.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "a process that ended without a word"


def _main() -> None:
    faulthandler.enable()
    # Of a kernel in the background it may have inherited that nobody listens.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    file, modules, content, run_dir = pickle.load(sys.stdin.buffer)
    with joined(), held(file):
        for module in modules:
            importlib.import_module(module)
        experiment, run = pickle.loads(content), Run.open(run_dir)

        def tell(phase: str, episode: int, episodes: int, **values: Any) -> None:
            stands = {"phase": phase, "episode": episode, "episodes": episodes}
            run.log_metrics(kind="progress", method=experiment.name, **stands, **values)
            at = {"done": episode, "total": episodes, "per_s": values.get("episodes_per_s")}
            say_state(what=f"{phase} {experiment.name}", **at)

        train_method(experiment, run, tell=tell)


if __name__ == "__main__":
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(130)
