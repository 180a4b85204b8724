# SPDX-License-Identifier: Apache-2.0
"""Handles of C in the hands of Python: who owns them, and when they go.

Rules:

- A node's memory stays as long as one of its completion queues is open (mom_close), so
  each NodeHandle keeps one open until it is garbage itself: a call that comes too late
  gets CLOSED, whatever the other threads do.
- A consumer's memory goes with mom_consumer_close: calls on it are counted, and closing
  waits for those under way, which are short.
- Finalizers may run on any thread at any time, even on one of the library that delivers
  a log line. They never wait and, on such a thread, leave the work to another.
- After a fork nothing of the parent is touched; the library itself answers CLOSED.
"""
from __future__ import annotations

import atexit
import ctypes
import os
import select
import threading
import warnings
import weakref
from typing import Any, Callable, List, Mapping, Optional, Tuple

from . import _declare, _helpers, _log
from ._convert import Options
from ._library import library
from ._operations import Blocking, Completed, Operation, Submitted, T
from .errors import CLOSED, EMPTY, FULL, TIMEOUT, Closed, check, error_of

CLOSE_AT_EXIT_MS = 2000
#: Python hears of a signal between two calls of C. One that comes just before a wait
#: begins would be heard after it only: so the main thread waits in slices.
SLICE_MS = 500
COLLECT_MAX = 256

Received = Tuple[Any, int]  #: an array of mom_message *, and how many are in it

generation = 0  # counts forks: what another generation opened is not ours


def _after_fork() -> None:
    global generation
    generation += 1
    _open_nodes.clear()


_open_nodes: "weakref.WeakSet[NodeHandle]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)


def closed_by_fork() -> Closed:
    """What a child gets for what its parent opened."""
    return Closed("it was opened before this process was forked: open one here")


def check_close(error: int, timeout_ms: int) -> None:
    """Raises for the result of closing; who gave no time does not ask how it went."""
    if error != -TIMEOUT or timeout_ms != 0:
        check(error)


class CompletionQueue:
    """A mom_completions; used by one thread at a time."""

    __slots__ = (
        "lib",
        "pointer",
        "fd",
        "_poll",
        "_list",
        "_count",
        "_generation",
        "__weakref__",
    )

    def __init__(self, node: int) -> None:
        self.lib = library()
        self.pointer: Optional[int] = None
        out = ctypes.c_void_p()
        check(self.lib.mom_completions_open(node, ctypes.byref(out)))
        self.pointer = out.value
        self._generation = generation
        self.fd: int = self.lib.mom_completions_fd(self.pointer)
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self._list = (_declare.Completion * COLLECT_MAX)()
        self._count = ctypes.c_size_t()

    def collect(self) -> List[Tuple[int, Completed]]:
        """What is there, by `user`; CLOSED raises, nothing is []."""
        if self.pointer is None:
            raise Closed("closed")
        error = self.lib.mom_completions_wait(
            self.pointer, self._list, COLLECT_MAX, ctypes.byref(self._count), 0
        )
        if error == -CLOSED:
            raise error_of(error)
        if error != 0:
            return []
        return [
            (
                done.user or 0,
                Completed(done.error, done.synced_copies, done.sequence, done.count),
            )
            for done in self._list[: self._count.value]
        ]

    def wait(self, timeout_ms: Optional[int]) -> Optional[Completed]:
        """The next completion; None when the time is up. Ends with Ctrl-C."""
        slice_ms = SLICE_MS if _helpers.is_main() else None
        left = timeout_ms
        while True:
            step = slice_ms if left is None else min(left, slice_ms or left)
            if self._poll.poll(step):
                found = self.collect()
                if found:
                    return found[0][1]
            elif left is not None:
                left -= step or 0
                if left <= 0:
                    return None

    def close(self) -> None:
        """Whatever comes later is dropped."""
        pointer, self.pointer = self.pointer, None
        if pointer is not None and self._generation == generation:
            self.lib.mom_completions_close(pointer)

    def __del__(self) -> None:
        if getattr(self, "pointer", None) is not None:
            _log.outside_callbacks(self.close)


class NodeHandle:
    """A mom_node, shared by the objects of one open node."""

    def __init__(self, options: Options, log: Optional[Callable[..., None]]) -> None:
        self.lib = library()
        self.pointer: Optional[int] = None
        self._generation = generation
        self._lock = threading.Lock()
        self._is_closing = False
        self._free: List[CompletionQueue] = []
        #: What Node.serve runs: how to open a consumer, function, threads.
        self.handlers: List[Tuple[Any, Callable[..., Any], int]] = []
        self._log = _log.attach(self.lib, options, log)
        out = ctypes.c_void_p()
        check(self.lib.mom_open(options, ctypes.byref(out)))
        node = out.value or 0
        try:
            self._anchor = CompletionQueue(node)
        except BaseException:
            self.lib.mom_close(node, 0)
            raise
        self.pointer = node
        _open_nodes.add(self)

    def node(self) -> int:
        """The pointer for a call; raises Closed after a fork."""
        if self._generation != generation:
            raise closed_by_fork()
        assert self.pointer is not None
        return self.pointer

    @property
    def is_closed(self) -> bool:
        """close() was called."""
        return self._is_closing

    def run(self, operation: "Operation[T]") -> "T":
        """Carries it out on this thread. Raises mom.Error; ends with Ctrl-C."""
        if isinstance(operation, Blocking):
            if self._generation != generation:
                raise closed_by_fork()
            return _helpers.run(operation.run)
        return operation.finish(self._wait_for(operation))

    def _wait_for(self, operation: "Submitted[Any]") -> Completed:
        if self._generation != generation:
            raise closed_by_fork()
        try:
            queue = self._free.pop()
        except IndexError:
            queue = CompletionQueue(self.node())
        try:
            error = operation.start(queue.pointer or 0, 0)
            if error == -FULL:
                error = self._wait_for_room(operation, queue)
            if error != 0:
                self._free.append(queue)
                raise error_of(error, operation.what)
            done = queue.wait(None)
        except BaseException:
            if queue not in self._free:
                queue.close()  # its answer may still come: this queue is not used again
            raise
        self._free.append(queue)
        assert done is not None
        if done.error != 0:
            made = error_of(done.error, operation.what, "")
            made.acknowledged = done.acknowledged
            raise made
        return done

    @staticmethod
    def _wait_for_room(operation: "Submitted[Any]", queue: CompletionQueue) -> int:
        """Too much is in flight from this node, by other threads: they make room."""
        pause, spent = threading.Event(), 0.0
        step = 0.001
        error = -FULL
        while error == -FULL and (
            operation.timeout is None or spent < operation.timeout
        ):
            pause.wait(step)
            spent += step
            step = min(2 * step, 0.05)
            error = operation.start(queue.pointer or 0, 0)
        return error

    def close(self, timeout_ms: int) -> None:
        """Closes it on this thread; the second time it does nothing."""
        with self._lock:
            if self._is_closing or self.pointer is None:
                return
            self._is_closing = True
        _open_nodes.discard(self)
        if self._generation != generation:
            return
        check_close(self.lib.mom_close(self.pointer, timeout_ms), timeout_ms)
        self._free.clear()

    def __del__(self) -> None:
        if getattr(self, "pointer", None) is None or self._generation != generation:
            return
        if self._is_closing:
            return
        self._is_closing = True
        warnings.warn(f"unclosed node {self.pointer:#x}", ResourceWarning, source=self)
        lib, pointer, anchor, log = self.lib, self.pointer, self._anchor, self._log

        def close() -> None:
            lib.mom_close(pointer, 0)
            anchor.close()
            del log[:]

        _helpers.submit(close)


class ConsumerHandle:
    """A mom_consumer, shared by the threads that receive from it."""

    def __init__(
        self,
        node: NodeHandle,
        names: Tuple[bytes, ...],
        options: Options,
        timeout_ms: int,
    ) -> None:
        self.lib = library()
        self.node = node
        self.pointer: Optional[int] = None
        self._generation = generation
        self._calls = threading.Condition(threading.Lock())
        self._calls_count = 0
        self._is_closing = False
        out = ctypes.c_void_p()
        call = (
            self.lib.mom_queue_consumer
            if len(names) == 1
            else (self.lib.mom_subscription_consumer)
        )
        check(
            call(node.node(), *names, options, timeout_ms, ctypes.byref(out)),
            f'"{names[0].decode()}"',
        )
        self.pointer = out.value

    def __enter__(self) -> int:
        """Around every call on it. Raises Closed."""
        if self._generation != generation:
            raise closed_by_fork()
        with self._calls:
            if self._is_closing:
                raise Closed("the consumer is closed")
            self._calls_count += 1
        assert self.pointer is not None
        return self.pointer

    def __exit__(self, *_: object) -> None:
        with self._calls:
            self._calls_count -= 1
            if self._is_closing and self._calls_count == 0:
                self._calls.notify_all()

    def take(self, maximum: int) -> Optional[Received]:
        """Up to `maximum` messages that are buffered; None: there are none."""
        messages = (ctypes.c_void_p * maximum)()
        count = ctypes.c_size_t()
        with self as pointer:
            error = self.lib.mom_receive_ready(
                pointer, messages, maximum, ctypes.byref(count)
            )
        if error == -EMPTY:
            return None
        check(error)
        return messages, count.value

    def ask(self, maximum: int) -> Received:
        """The same, and asks the leader when nothing is buffered: waits for its answer.

        Raises mom.Empty when there is nothing there either.
        """
        messages = (ctypes.c_void_p * maximum)()
        count = ctypes.c_size_t()
        with self as pointer:
            check(
                self.lib.mom_receive_many(
                    pointer, messages, maximum, ctypes.byref(count), 0
                )
            )
        return messages, count.value

    def flush(self, timeout: Optional[float], timeout_ms: int) -> "Submitted[None]":
        """Everything settled so far is committed."""

        def start(queue: int, user: int) -> int:
            with self as pointer:
                return int(
                    self.lib.mom_consumer_flush_submit(pointer, timeout_ms, queue, user)
                )

        return Submitted(start, "settling", timeout, lambda _: None)

    @property
    def is_closed(self) -> bool:
        """close() was called."""
        return self._is_closing

    def close(self, timeout_ms: int) -> None:
        """Closes it on this thread; the second time it does nothing."""
        with self._calls:
            if self._is_closing or self.pointer is None:
                return
            self._is_closing = True
            if self._generation != generation:
                return
            while self._calls_count > 0:
                self._calls.wait()
        check_close(self.lib.mom_consumer_close(self.pointer, timeout_ms), timeout_ms)

    def __del__(self) -> None:
        if (
            getattr(self, "pointer", None) is None
            or self._is_closing
            or self._generation != generation
        ):
            return
        self._is_closing = True
        lib, pointer = self.lib, self.pointer
        _log.outside_callbacks(lambda: lib.mom_consumer_close(pointer, 0))


def open_node(
    values: Mapping[str, object], log: Optional[Callable[..., None]]
) -> NodeHandle:
    """Opens a node on this thread; `values` by the names of mom_options."""
    return NodeHandle(Options("options", values), log)


def open_in_helper(
    values: Mapping[str, object], log: Optional[Callable[..., None]]
) -> NodeHandle:
    """The same so that Ctrl-C ends the wait: a node that comes then is closed again."""
    future = _helpers.submit(lambda: open_node(values, log))
    try:
        return future.result()
    except BaseException:
        future.add_done_callback(close_late)
        raise


def close_late(future: "Any") -> None:
    """Nobody waits for this node any more."""
    if not future.cancelled() and future.exception() is None:
        handle: NodeHandle = future.result()
        handle.close(0)


def _close_all() -> None:
    """At the end of the interpreter: threads of the library may not outlive it."""
    for handle in list(_open_nodes):
        try:
            handle.close(CLOSE_AT_EXIT_MS)
        except Exception:  # there is nobody left to tell
            pass


atexit.register(_close_all)
