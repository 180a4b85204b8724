# SPDX-License-Identifier: Apache-2.0
"""Receiving, in programs that wait."""
from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Iterator, Optional, Tuple

from . import _convert, _helpers, _operations
from ._convert import Options, Timeout
from ._handles import CompletionQueue, ConsumerHandle, NodeHandle, Received
from .errors import TIMEOUT, Closed, Empty, Invalid, Timeout as TimeoutFailure
from .errors import error_of
from .message import Batch, Delivery, Message, Reject

__all__ = ["Consumer"]

BATCH = 500
CLOSE_TIMEOUT = 5.0
_logger = logging.getLogger("mom")


def check_size(size: int) -> int:
    """How many messages at a time."""
    if not 1 <= size <= 65536:
        raise Invalid(f"a batch of {size}: 1 to 65536 messages")
    return size


class Consumer:
    """Receives from a queue or a subscription; made by their `consumer` method.

    Any number of threads may share one. Iterating takes one message at a time, and ends
    when the consumer is closed or has taken all messages of its limit; `batches` takes
    many at a time.
    """

    def __init__(
        self,
        node: NodeHandle,
        names: Tuple[bytes, ...],
        options: Options,
        timeout: Timeout,
    ) -> None:
        timeout_ms = _convert.milliseconds(timeout)
        self._node = node
        self._handle: ConsumerHandle = node.run(
            _operations.Blocking(
                lambda: ConsumerHandle(node, names, options, timeout_ms)
            )
        )
        self._turn = (
            threading.Lock()
        )  # one thread waits for arrivals, the others for it
        self._arrivals: Optional[CompletionQueue] = None
        self._is_armed = False
        self._handlers = threading.Condition()
        self._handlers_count = 0
        self._is_stopping = False

    # --- one at a time ----------------------------------------------------------------

    def receive(self, timeout: Timeout = None) -> Message:
        """The next message; its lease starts now.

        timeout: seconds; None waits for ever; 0 asks the leader whether there is one.

        Raises mom.Timeout: nothing came; mom.Empty: with timeout 0, there is nothing,
        or
        the limit of the consumer was taken; mom.NotFound, mom.NotSubscribed: the queue
        or
        subscription was deleted; mom.Closed; mom.Unavailable: with timeout 0, there is
        no leader to ask.
        """
        return Message(self._take(1, timeout), 0)

    def messages(self, batch: int = 1, timeout: Timeout = None) -> Iterator[Message]:
        """Messages one by one, taken `batch` at a time: a larger number is faster, and
        starts the leases of as many messages. Ends when nothing comes within `timeout`.
        """
        for several in self.batches(batch, timeout):
            yield from several

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    # --- many at a time ---------------------------------------------------------------

    def receive_many(self, maximum: int = BATCH, timeout: Timeout = None) -> Batch:
        """Waits for the first message, and takes up to `maximum` that are there.

        Raises as receive.
        """
        return Batch(self._take(check_size(maximum), timeout), Message)

    def batches(self, maximum: int = BATCH, timeout: Timeout = None) -> Iterator[Batch]:
        """Batches until the consumer is closed, or nothing comes within `timeout`."""
        check_size(maximum)
        while True:
            try:
                several = self.receive_many(maximum, timeout)
            except (Closed, Empty, TimeoutFailure):
                return
            yield several
            del several  # given back before the next wait, if nobody keeps it

    # --- handlers ---------------------------------------------------------------------

    def run(self, handler: Callable[[Message], object]) -> None:
        """Calls `handler` with each message until the consumer is closed.

        A message is acknowledged when the handler returns, given back when it raises
        (this
        is logged), and dead-lettered when it raises mom.Reject, unless the handler has
        settled it itself.
        """
        for message in self:
            with self._handlers:
                if self._is_stopping:
                    return  # the message goes back
                self._handlers_count += 1
            try:
                with message:
                    handler(message)
            except Closed:
                return
            except Reject:
                pass
            except Exception as error:
                _logger.warning(
                    "a handler failed on %r: %s", message, error, exc_info=True
                )
            finally:
                with self._handlers:
                    self._handlers_count -= 1
                    self._handlers.notify_all()

    def drain(self) -> None:
        """Ends every `run` after its current message, and waits for those. What waits for
        messages goes on waiting until the consumer is closed."""
        with self._handlers:
            self._is_stopping = True
            while self._handlers_count > 0:
                self._handlers.wait()

    # --- settling and closing ---------------------------------------------------------

    def flush(self, timeout: Timeout = None) -> None:
        """Waits until everything settled so far is committed.

        Raises mom.Conflict: some of it was too late, these messages come again.
        """
        self._node.run(self._handle.flush(timeout, _convert.milliseconds(timeout)))

    def close(self, timeout: Timeout = CLOSE_TIMEOUT) -> None:
        """Gives back what is buffered, sends what was settled. Threads that wait on it
        get mom.Closed. Messages stay readable.

        Raises mom.Timeout: it is closed, but not known to be so at the leader.
        """
        timeout_ms = _convert.milliseconds(timeout)
        _helpers.run(lambda: self._handle.close(timeout_ms))

    @property
    def is_closed(self) -> bool:
        """close() was called."""
        return self._handle.is_closed

    def __enter__(self) -> "Consumer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- waiting ----------------------------------------------------------------------

    def _take(self, maximum: int, timeout: Timeout) -> Delivery:
        """At least one message. What is here is taken without waiting for others."""
        received = self._handle.take(maximum) or self._wait_and_take(maximum, timeout)
        return Delivery(self._node, *received)

    def _wait_and_take(self, maximum: int, timeout: Timeout) -> Received:
        _convert.milliseconds(timeout)
        if timeout == 0:
            return _helpers.run(lambda: self._handle.ask(maximum))
        until = None if timeout is None else time.monotonic() + timeout
        if not self._turn.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutFailure("no message came: other threads wait for one, too")
        try:
            while True:
                received = self._handle.take(maximum)
                if received is not None:
                    return received
                self._wait(until)
        finally:
            self._turn.release()

    def _wait(self, until: Optional[float]) -> None:
        """Until messages are buffered. One submitted wait is under way at most: who
        gives up leaves it to the next."""
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutFailure("no message came")
        left_ms = _convert.milliseconds(left)
        if self._arrivals is None:
            self._arrivals = CompletionQueue(self._node.node())
        if not self._is_armed:
            with self._handle as pointer:
                error = self._node.lib.mom_receive_submit(
                    pointer, left_ms or 1, self._arrivals.pointer, 1
                )
            if error != 0:
                raise error_of(error)
            self._is_armed = True
        done = self._arrivals.wait(None if left is None else left_ms)
        if done is None:
            raise TimeoutFailure("no message came")
        self._is_armed = False
        if done.error != 0 and done.error != -TIMEOUT:
            raise error_of(done.error, "", "")
