# SPDX-License-Identifier: Apache-2.0
"""Receiving, in an event loop."""
from __future__ import annotations

import asyncio
import logging
from typing import AsyncIterator, Awaitable, Callable, Optional, Set, Tuple

from .. import _convert, _operations as operations
from .._convert import Options, Timeout
from .._handles import ConsumerHandle, Received
from .._operations import Completed
from ..consumer import BATCH, CLOSE_TIMEOUT, check_size
from ..message import Reject
from ..errors import TIMEOUT, Closed, Empty, Error, Timeout as TimeoutFailure, error_of
from ._loop import LoopNode
from .message import Batch, LoopDelivery, Message

__all__ = ["Consumer"]

_logger = logging.getLogger("mom")


class Consumer:
    """Receives from a queue or a subscription; made by `await queue.consumer()`.

    Any number of tasks may share one. Iterating takes one message at a time, and ends
    when the consumer is closed or has taken all messages of its limit; `batches` takes
    many at a time.
    """

    def __init__(self, node: LoopNode, handle: ConsumerHandle) -> None:
        self._node = node
        self._handle = handle
        self._waiters: "Set[asyncio.Future[None]]" = set()
        self._is_armed = False
        self._handlers_count = 0
        self._is_stopping = False
        self._drained: Optional[asyncio.Event] = None

    @classmethod
    async def _open(
        cls,
        node: LoopNode,
        names: Tuple[bytes, ...],
        options: Options,
        timeout: Timeout,
    ) -> "Consumer":
        timeout_ms = _convert.milliseconds(timeout)
        return cls(
            node,
            await node.run(
                operations.Blocking(
                    lambda: ConsumerHandle(node.handle, names, options, timeout_ms)
                )
            ),
        )

    # --- one at a time ----------------------------------------------------------------

    async def receive(self, timeout: Timeout = None) -> Message:
        """The next message; its lease starts now.

        timeout: seconds; None waits for ever; 0 asks the leader whether there is one.

        Raises mom.Timeout: nothing came; mom.Empty: with timeout 0, there is nothing,
        or
        the limit of the consumer was taken; mom.NotFound, mom.NotSubscribed: the queue
        or
        subscription was deleted; mom.Closed; mom.Unavailable: with timeout 0, there is
        no leader to ask.
        """
        return Message(await self._take(1, timeout), 0)

    async def messages(
        self, batch: int = 1, timeout: Timeout = None
    ) -> AsyncIterator[Message]:
        """Messages one by one, taken `batch` at a time: a larger number is faster, and
        starts the leases of as many messages. Ends when nothing comes within `timeout`.
        """
        async for several in self.batches(batch, timeout):
            for message in several:
                yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()

    # --- many at a time ---------------------------------------------------------------

    async def receive_many(
        self, maximum: int = BATCH, timeout: Timeout = None
    ) -> Batch:
        """Waits for the first message, and takes up to `maximum` that are there.

        Raises as receive.
        """
        return Batch(await self._take(check_size(maximum), timeout), Message)

    async def batches(
        self, maximum: int = BATCH, timeout: Timeout = None
    ) -> AsyncIterator[Batch]:
        """Batches until the consumer is closed, or nothing comes within `timeout`."""
        check_size(maximum)
        while True:
            try:
                several = await self.receive_many(maximum, timeout)
            except (Closed, Empty, TimeoutFailure):
                return
            yield several
            del several

    # --- handlers ---------------------------------------------------------------------

    async def run(
        self, handler: Callable[[Message], Awaitable[object]], concurrency: int = 1
    ) -> None:
        """Awaits `handler` with each message until the consumer is closed, up to
        `concurrency` of them at a time.

        A message is acknowledged when the handler returns, given back when it raises
        (this
        is logged), and dead-lettered when it raises mom.Reject, unless the handler has
        settled it itself.
        """

        async def one() -> None:
            async for message in self:
                if self._is_stopping:
                    return  # the message goes back
                self._handlers_count += 1
                try:
                    async with message:
                        await handler(message)
                except Closed:
                    return
                except Reject:
                    pass
                except Exception as error:
                    _logger.warning(
                        "a handler failed on %r: %s", message, error, exc_info=True
                    )
                finally:
                    self._handlers_count -= 1
                    if self._handlers_count == 0 and self._drained is not None:
                        self._drained.set()

        tasks = [asyncio.ensure_future(one()) for _ in range(concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Ends every `run` after its current message, and waits for those. What waits for
        messages goes on waiting until the consumer is closed."""
        self._is_stopping = True
        if self._handlers_count > 0:
            self._drained = asyncio.Event()
            await self._drained.wait()

    # --- settling and closing ---------------------------------------------------------

    async def flush(self, timeout: Timeout = None) -> None:
        """Waits until everything settled so far is committed.

        Raises mom.Conflict: some of it was too late, these messages come again.
        """
        await self._node.run(
            self._handle.flush(timeout, _convert.milliseconds(timeout))
        )

    async def close(self, timeout: Timeout = CLOSE_TIMEOUT) -> None:
        """Gives back what is buffered, sends what was settled. Tasks that wait on it
        get mom.Closed. Messages stay readable.

        Raises mom.Timeout: it is closed, but not known to be so at the leader.
        """
        timeout_ms = _convert.milliseconds(timeout)
        await self._node.run(
            operations.Blocking(lambda: self._handle.close(timeout_ms))
        )

    @property
    def is_closed(self) -> bool:
        """close() was called."""
        return self._handle.is_closed

    async def __aenter__(self) -> "Consumer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- waiting ----------------------------------------------------------------------

    async def _take(self, maximum: int, timeout: Timeout) -> LoopDelivery:
        self._node.check_loop()
        received = self._handle.take(maximum)
        if received is None:
            received = await self._wait_and_take(maximum, timeout)
        return LoopDelivery(self._node, *received)

    async def _wait_and_take(self, maximum: int, timeout: Timeout) -> Received:
        _convert.milliseconds(timeout)
        if timeout == 0:
            return await self._node.run(
                operations.Blocking(lambda: self._handle.ask(maximum))
            )
        loop = self._node.loop
        until = None if timeout is None else loop.time() + timeout
        while True:
            left = None if until is None else until - loop.time()
            if left is not None and left <= 0:
                raise TimeoutFailure("no message came")
            self._arm(left)
            waiter: "asyncio.Future[None]" = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait({waiter}, timeout=left)
            finally:
                self._waiters.discard(waiter)
                waiter.cancel()
            if waiter.done() and not waiter.cancelled():
                waiter.result()
            received = self._handle.take(maximum)
            if received is not None:
                return received

    def _arm(self, left: Optional[float]) -> None:
        """One submitted wait is under way at most, for all tasks that wait."""
        if self._is_armed:
            return
        left_ms = _convert.milliseconds(left) or 1
        user = self._node.next_user()
        with self._handle as pointer:
            error = self._node.start(
                lambda queue, number: int(
                    self._handle.lib.mom_receive_submit(pointer, left_ms, queue, number)
                ),
                user,
            )
        if error != 0:
            raise error_of(error)
        self._is_armed = True
        self._node.when_done(user, self._arrived)

    def _arrived(self, done: Completed) -> None:
        """Messages are there, or there will be none. Whoever gets nothing waits
        again."""
        self._is_armed = False
        failure: Optional[Error] = None
        if done.error != 0 and done.error != -TIMEOUT:
            failure = error_of(done.error, "", "")
        for waiter in self._waiters:
            if waiter.done():
                continue
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(type(failure)(*failure.args))
