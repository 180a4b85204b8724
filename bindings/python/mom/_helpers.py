# SPDX-License-Identifier: Apache-2.0
"""A few threads for the calls that have no `_submit` form: opening, closing, asking.

The main thread does not wait inside of C for those, since a signal could not end the
wait; event loops do not either. The threads are daemons and shared by all nodes. What
is handed in is never lost: somebody who gave up waiting leaves it to run to its end.
"""
from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Callable, Tuple, TypeVar

T = TypeVar("T")
THREADS_MAX = 16

_Job = Tuple["Future[Any]", Callable[[], Any]]
_jobs: "SimpleQueue[_Job]" = SimpleQueue()
_lock = threading.Lock()
_threads = 0
_idle = 0


def _work() -> None:
    global _idle
    while True:
        future, function = _jobs.get()
        with _lock:
            _idle -= 1
        try:
            result = function()
        except BaseException as error:  # it belongs to whoever waits for it
            future.set_exception(error)
        else:
            future.set_result(result)
            del result
        del future, function
        with _lock:
            _idle += 1


def submit(function: "Callable[[], T]") -> "Future[T]":
    """Runs it on another thread. The future cannot be cancelled."""
    global _threads, _idle
    future: "Future[T]" = Future()
    future.set_running_or_notify_cancel()
    with _lock:
        is_short = _idle <= _jobs.qsize() and _threads < THREADS_MAX
        if is_short:
            _threads += 1
            _idle += 1
    _jobs.put((future, function))
    if is_short:
        threading.Thread(target=_work, name="mom-helper", daemon=True).start()
    return future


def is_main() -> bool:
    """True on the thread that runs signal handlers."""
    return threading.current_thread() is threading.main_thread()


def run(function: "Callable[[], T]") -> T:
    """Runs it; on the main thread so that Ctrl-C ends the wait, not the call."""
    return submit(function).result() if is_main() else function()


def _after_fork() -> None:
    global _jobs, _lock, _threads, _idle
    _jobs = SimpleQueue()
    _lock = threading.Lock()
    _threads = _idle = 0


os.register_at_fork(after_in_child=_after_fork)
