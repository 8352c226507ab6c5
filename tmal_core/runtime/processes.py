"""Processes that work beside this one, and Ctrl-C.

A terminal sends Ctrl-C to every process of a command. Those that are started here do not hear it: the one that started
them does, says its one line, and ends them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from typing import Any


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes that start inside inherit the mask of signals and never hear SIGINT.

    This one hears it, at the latest afterwards: the mask is this thread's alone.
    """
    # Python starts this helper with the first semaphore, and then lets SIGINT through again whatever was held.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupts:
    """Ctrl-C, noted until there is a good moment; the second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, Ctrl-C interrupts as always, and so does one that was noted before."""
        self._at_once = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def hear(self, *_: Any) -> None:
        """Takes the signal."""
        before, self.asked = self.asked, True
        if before or self._at_once:
            raise KeyboardInterrupt


@contextmanager
def interrupts_noted() -> Iterator[Interrupts]:
    """Inside, Ctrl-C waits to be asked for. Only the main thread hears it: in others nothing is ever noted."""
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = signal.signal(signal.SIGINT, found.hear)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)


class Pool(ProcessPoolExecutor):
    """A pool of spawned processes: not forked, since the caller may hold threads. They end with the caller.

    Its arguments are those of ProcessPoolExecutor.
    """

    def __init__(self, num_workers: int, initializer: Callable[..., None] | None = None, **options: Any) -> None:
        begin = partial(_begin, initializer)
        super().__init__(num_workers, mp_context=get_context("spawn"), initializer=begin, **options)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        """See ProcessPoolExecutor; the first call starts the processes."""
        with interrupts_held():
            return super().submit(function, *arguments, **named)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Wait for what runs; after an error what waits is not begun."""
        self.shutdown(wait=True, cancel_futures=kind is not None)

    def abandon(self) -> None:
        """End the processes in the middle of what they do."""
        for process in list((self._processes or {}).values()):
            process.terminate()


def _begin(initializer: Callable[..., None] | None, *arguments: Any) -> None:
    """What every process of a pool begins with."""
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with(parent: Any) -> None:
    """A pool's process waits for work at a pipe that it holds open itself: after a kill it would wait for ever."""
    parent.join()
    os._exit(1)
