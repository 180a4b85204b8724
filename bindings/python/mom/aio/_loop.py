# SPDX-License-Identifier: Apache-2.0
"""A node in an event loop: what is submitted, and who awaits it.

Everything here runs on the loop's thread.
"""
from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional, Tuple

from .. import _helpers
from .._handles import CompletionQueue, NodeHandle
from .._operations import Blocking, Completed, Operation, Submitted, T
from ..errors import CLOSED, FULL, Closed, error_of

ROOM_PAUSE = 0.005


class LoopNode:
    """A NodeHandle whose completions an event loop collects."""

    def __init__(self, handle: NodeHandle, loop: asyncio.AbstractEventLoop) -> None:
        self.handle = handle
        self.loop = loop
        self.queue = CompletionQueue(handle.node())
        self._waiting: Dict[int, "asyncio.Future[Completed]"] = {}
        self._called: Dict[int, Callable[[Completed], None]] = {}
        self._next = 0
        self._is_watched = True
        #: What Node.serve runs: how to open a consumer, function, how many at a time.
        self.handlers: List[Tuple[Any, Callable[..., Any], int]] = []
        loop.add_reader(self.queue.fd, self._collect)

    async def run(self, operation: "Operation[T]") -> "T":
        """Carries it out. Raises mom.Error, asyncio.CancelledError."""
        self.check_loop()
        if isinstance(operation, Blocking):
            return await asyncio.wrap_future(_helpers.submit(operation.run))
        done = await self._wait_for(operation)
        if done.error != 0:
            made = error_of(done.error, operation.what, "")
            made.acknowledged = done.acknowledged
            raise made
        return operation.finish(done)

    def check_loop(self) -> None:
        """Raises RuntimeError in another event loop than its own."""
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("this node was opened in another event loop")

    async def _wait_for(self, operation: "Submitted[Any]") -> Completed:
        until = None
        if operation.timeout is not None:
            until = self.loop.time() + operation.timeout
        while True:
            user = self.next_user()
            error = self.start(operation.start, user)
            if error != -FULL or (until is not None and self.loop.time() >= until):
                break
            await asyncio.sleep(ROOM_PAUSE)  # too much is in flight from this node
        if error != 0:
            raise error_of(error, operation.what)
        future: "asyncio.Future[Completed]" = self.loop.create_future()
        self._waiting[user] = future
        try:
            return await future
        finally:
            self._waiting.pop(user, None)

    def next_user(self) -> int:
        """A number for a submission."""
        self._next += 1
        return self._next

    def start(self, begin: Callable[[int, int], int], user: int) -> int:
        """Submits; the result class."""
        self.handle.node()
        if self.queue.pointer is None:
            raise Closed("the node is closed")
        return begin(self.queue.pointer, user)

    def when_done(self, user: int, function: Callable[[Completed], None]) -> None:
        """Has the completion of a submission call a function."""
        self._called[user] = function

    def _collect(self) -> None:
        while True:
            try:
                found = self.queue.collect()
            except Closed:
                self._end()
                return
            if not found:
                return
            for user, done in found:
                future = self._waiting.get(user)
                function = self._called.pop(user, None)
                if future is not None and not future.done():
                    future.set_result(done)
                elif function is not None:
                    function(done)

    def _end(self) -> None:
        """The node is closed, and everything was collected."""
        if not self._is_watched:
            return
        self._is_watched = False
        if not self.loop.is_closed():
            self.loop.remove_reader(self.queue.fd)
        closed = Completed(-CLOSED, 0, 0, 0)
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_result(closed)
        for function in list(self._called.values()):
            function(closed)
        self._called.clear()
        self.queue.close()

    async def close(self, timeout_ms: int) -> None:
        """Closes the node; what waits gets mom.Closed."""
        self.check_loop()
        failure: Optional[BaseException] = None
        try:
            await asyncio.wrap_future(
                _helpers.submit(lambda: self.handle.close(timeout_ms))
            )
        except Exception as error:
            failure = error
        self._collect_rest()
        if failure is not None:
            raise failure

    def _collect_rest(self) -> None:
        if self.queue.pointer is not None:
            self._collect()

    def __del__(self) -> None:
        # A loop that is closed watches nothing any more.
        if getattr(self, "_is_watched", False) and not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(self.loop.remove_reader, self.queue.fd)
            except RuntimeError:  # it was closed meanwhile
                pass
