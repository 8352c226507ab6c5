"""Ctrl-C in a terminal reaches a whole command: one process answers it, and the others are ended without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from tmal_core.runtime.processes import Pool, interrupts_held, interrupts_noted

# One of the two works until the command was interrupted, the other waits for work.
POOL = """
import pathlib, time
from tmal_core.runtime.processes import Pool

INTERRUPTED = pathlib.Path(__file__).with_name("interrupted")

def work():
    while not INTERRUPTED.exists():
        time.sleep(0.01)

if __name__ == "__main__":
    with Pool(2) as pool:
        list(pool.map(time.sleep, [0.1, 0.1]))
        waiting = pool.submit(work)
        try:
            print("ready", flush=True)
            waiting.result()
        except KeyboardInterrupt:
            INTERRUPTED.touch()
            raise
"""
KILLED = """
import time
from tmal_core.runtime.processes import Pool

if __name__ == "__main__":
    with Pool(1) as pool:
        pool.submit(time.sleep, 0).result()
        pool.submit(time.{work})
        print("ready", flush=True)
        time.sleep(1000)
"""
# Workers that are up keep silent by themselves, so this one is met on its way: where it is given its dataset.
LOADER = """
import time
from tmal_core.runtime.devices import Loader

class SlowToArrive:
    def __len__(self):
        return 1000

    def __reduce__(self):
        return arrive, ()

def arrive():
    print("ready", flush=True)
    time.sleep(200)

if __name__ == "__main__":
    next(iter(Loader(SlowToArrive(), 1, batch_size=None)))
"""


def start(folder: Path, code: str) -> subprocess.Popen:
    """A command of its own, as a terminal starts it: with Ctrl-C heard, whatever the tests' own process does."""
    (folder / "script.py").write_text(code)
    heard = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
    heard += f"runpy.run_path({str(folder / 'script.py')!r}, run_name='__main__')"
    command = [sys.executable, "-c", heard]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("code", [POOL, LOADER], ids=["pool", "loader"])
def test_only_the_first_process_hears_an_interrupt(tmp_path, code):
    process = start(tmp_path, code)
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=150)[1]  # to the end: until nobody is left who could write
    assert process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1 and errors.count("Traceback") == 1, errors


@pytest.mark.parametrize("work", ["sleep, 1000", "sleep, 0"], ids=["at work", "waiting for work"])
def test_workers_end_with_a_command_that_is_killed(tmp_path, work):
    process = start(tmp_path, KILLED.format(work=work))
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    process.kill()
    process.communicate(timeout=150)  # to the end: until nobody is left who could write


def test_an_interrupt_while_processes_start_is_not_lost():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_after_an_error_what_waits_is_not_begun():
    with pytest.raises(ZeroDivisionError), Pool(1) as pool:
        waiting = [pool.submit(time.sleep, 0.2) for _ in range(1000)]
        waiting[0].result()
        raise ZeroDivisionError
    assert waiting[-1].cancelled()


def test_what_is_abandoned_is_ended_in_the_middle():
    with pytest.raises(BrokenProcessPool), Pool(1) as pool:
        pool.submit(time.sleep, 0).result()
        waiting = pool.submit(time.sleep, 1000)  # beyond the time that a test has
        pool.abandon()
        waiting.result()


@pytest.fixture
def heard():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupt_is_noted_and_the_second_interrupts(heard):
    with pytest.raises(KeyboardInterrupt), interrupts_noted() as noted:
        assert not noted.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert noted.asked
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("before", [True, False])
def test_where_it_may_be_one_interrupts_at_once(heard, before):
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_noted() as noted:
        if before:
            os.kill(os.getpid(), signal.SIGINT)
        with noted.at_once():
            reached.append("inside")
            os.kill(os.getpid(), signal.SIGINT)
    assert reached == ([] if before else ["inside"])


def test_in_another_thread_nothing_is_noted(heard):
    found = []

    def work():
        with interrupts_noted() as noted:
            found.append((noted.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.default_int_handler)]
