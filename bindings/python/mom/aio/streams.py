# SPDX-License-Identifier: Apache-2.0
"""Queues, topics and subscriptions for asyncio. Making such an object does nothing in
the mesh; its methods do."""
from __future__ import annotations

from dataclasses import replace
from typing import (
    Any,
    Awaitable,
    Callable,
    Iterable,
    List,
    Optional,
    Sequence,
    TypeVar,
    Union,
)

from .. import _convert, _operations as operations
from .._convert import DEFAULT_TIMEOUT, Body, Headers, Timeout, name_bytes
from .._operations import Receipt
from ..errors import Error
from ..info import StreamInfo
from ..streams import consumer_options, stream_options, subscription_options
from ._loop import LoopNode
from .consumer import Consumer
from .message import Message

__all__ = ["Queue", "Subscription", "Topic"]

Handler = TypeVar("Handler", bound=Callable[[Message], Awaitable[object]])


async def send_all(
    run: Callable[[Any], Awaitable[Receipt]],
    bodies: Iterable[Body],
    begin: Callable[[List[bytes], int], Any],
) -> Receipt:
    """Sends groups one after the other; what an error says counts those before it."""
    first: Optional[Receipt] = None
    count = 0
    for group in operations.split_many(bodies):
        try:
            receipt = await run(begin(group, count))
        except Error as error:
            error.acknowledged += count
            raise
        first = first or receipt
        count += receipt.count
    return replace(first, count=count) if first else Receipt(0, 0, 0)


class _Stream:
    kind = ""

    def __init__(self, node: LoopNode, name: str) -> None:
        name_bytes(name)
        self._node = node
        self.name = name

    async def delete(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Deletes it with all its messages. Raises mom.NotFound."""
        await self._node.run(
            operations.simple(
                "delete", self.kind, self._node.handle.node(), self.name, timeout
            )
        )

    async def info(self, timeout: Timeout = DEFAULT_TIMEOUT) -> StreamInfo:
        """Describes it. Raises mom.NotFound, mom.Unavailable."""
        return await self._node.run(
            operations.stream_info(
                self.kind, self._node.handle.node(), [self.name], timeout
            )
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Queue(_Stream):
    """A queue: each message goes to one consumer, and leaves when it is
    acknowledged."""

    kind = "queue"

    async def create(
        self,
        *,
        if_missing: bool = False,
        lease: Optional[float] = None,
        deliveries_max: Optional[int] = None,
        messages_max: Optional[int] = None,
        bytes_max: Optional[int] = None,
        dead_letter: bool = True,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> "Queue":
        """Creates it on its copies, and returns itself.

        if_missing: an existing one with the same options is fine.
        lease: seconds that a consumer may keep a message unsettled (30).
        deliveries_max: then a message is dead-lettered (20), if `dead_letter`.
        messages_max, bytes_max: of waiting messages, then sending raises mom.Full.

        Raises mom.Exists, mom.Conflict (it exists with other options), mom.Full.
        """
        options = stream_options(
            if_missing, lease, deliveries_max, messages_max, bytes_max, dead_letter
        )
        await self._node.run(
            operations.create(
                "queue", self._node.handle.node(), self.name, options, timeout
            )
        )
        return self

    async def purge(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Drops the waiting messages; those that consumers hold stay."""
        await self._node.run(
            operations.simple(
                "purge", "queue", self._node.handle.node(), self.name, timeout
            )
        )

    async def send(
        self,
        body: Body,
        *,
        key: Optional[str] = None,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Sends a message: returns when a majority of the copies has it synced.

        create: makes the queue if it is missing, with default options.

        Raises mom.NotFound, mom.TooBig, mom.Full, mom.Timeout (not sent),
        mom.UnknownOutcome (it may have been sent).
        """
        options = _convert.send_options(key, headers, create)
        return await self._node.run(
            operations.send(self._node.handle.node(), self.name, body, options, timeout)
        )

    async def send_many(
        self,
        bodies: Iterable[Body],
        *,
        key: Optional[str] = None,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Sends messages in this order, much faster than one by one.

        `timeout` is for each 65,536 messages or 16 MiB. `acknowledged` of an error
        tells how many are acknowledged all the same. Raises as send.
        """
        options = _convert.send_options(key, headers, create)
        return await send_all(
            self._node.run,
            bodies,
            lambda group, at: operations.send_many(
                self._node.handle.node(), self.name, group, options, timeout
            ),
        )

    async def consumer(
        self,
        *,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
        limit: Optional[int] = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Consumer:
        """Opens a consumer.

        prefetch: messages held ready in this process (256).
        lease: seconds, instead of the queue's.
        limit: messages that it takes in all.

        Raises mom.NotFound, mom.Full.
        """
        return await Consumer._open(
            self._node,
            (name_bytes(self.name),),
            consumer_options(prefetch, lease, limit),
            timeout,
        )

    def handler(
        self,
        *,
        concurrency: int = 1,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
    ) -> Callable[[Handler], Handler]:
        """A decorator: `Node.serve` awaits the function with each message of the
        queue, up
        to `concurrency` at a time. What becomes of a message is told at Consumer.run.
        """

        def register(function: Handler) -> Handler:
            self._node.handlers.append(
                (
                    lambda: self.consumer(prefetch=prefetch, lease=lease),
                    function,
                    concurrency,
                )
            )
            return function

        return register


class Topic(_Stream):
    """A topic: every matching subscription gets each message once."""

    kind = "topic"

    async def create(
        self,
        *,
        if_missing: bool = False,
        retention: Optional[float] = None,
        retention_bytes: Optional[int] = None,
        retention_count: Optional[int] = None,
        lease: Optional[float] = None,
        deliveries_max: Optional[int] = None,
        messages_max: Optional[int] = None,
        bytes_max: Optional[int] = None,
        dead_letter: bool = True,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> "Topic":
        """Creates it on its copies, and returns itself. As Queue.create; and

        retention, retention_bytes, retention_count: how much history is kept for
        subscriptions that start in the past: seconds, bytes (64 MiB), messages.
        """
        options = stream_options(
            if_missing,
            lease,
            deliveries_max,
            messages_max,
            bytes_max,
            dead_letter,
            retention,
            retention_bytes,
            retention_count,
        )
        await self._node.run(
            operations.create(
                "topic", self._node.handle.node(), self.name, options, timeout
            )
        )
        return self

    async def publish(
        self,
        body: Body,
        key: Optional[str] = None,
        *,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Publishes a message with a routing key, which filters look at. As
        Queue.send."""
        options = _convert.send_options(None, headers, create)
        return await self._node.run(
            operations.publish(
                self._node.handle.node(), self.name, body, key, options, timeout
            )
        )

    async def publish_many(
        self,
        bodies: Iterable[Body],
        *,
        keys: Optional[Sequence[str]] = None,
        key: Optional[str] = None,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Publishes messages in this order; `keys` holds one for each, `key` is for
        all. As Queue.send_many."""
        options = _convert.send_options(key, headers, create)
        return await send_all(
            self._node.run,
            bodies,
            lambda group, at: operations.publish_many(
                self._node.handle.node(),
                self.name,
                group,
                None if keys is None else keys[at : at + len(group)],
                options,
                timeout,
            ),
        )

    def subscription(self, name: str) -> "Subscription":
        """The subscription of this name; `create` makes it."""
        return Subscription(self._node, self.name, name)

    async def subscriptions(self, timeout: Timeout = DEFAULT_TIMEOUT) -> List[str]:
        """The names of its subscriptions, sorted."""
        return await self._node.run(
            operations.names(
                "subscription", self._node.handle.node(), [self.name], False, timeout
            )
        )


class Subscription:
    """A durable reader of a topic, with its own position and filters. Several consumers
    of one subscription compete."""

    def __init__(self, node: LoopNode, topic: str, name: str) -> None:
        name_bytes(name)
        self._node = node
        self.topic = topic
        self.name = name

    async def create(
        self,
        *,
        filters: Union[str, Sequence[str]] = (),
        start: Union[str, int] = "new",
        since: Optional[float] = None,
        if_missing: bool = False,
        temporary: bool = False,
        ignore_own: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> "Subscription":
        """Creates it, and returns itself.

        filters: patterns of routing keys, `*` is one word, `#` any number; none: all.
        start: "new", "first" (that is still kept), or a sequence to start with.
        since: seconds since 1970-01-01 UTC, to start with what was published then.
        temporary: it ends with this node's session.
        ignore_own: no messages that this node itself published.

        Raises mom.NotFound, mom.Exists, mom.Conflict (with if_missing: other filters).
        """
        options = subscription_options(
            filters, start, since, if_missing, temporary, ignore_own
        )
        await self._node.run(
            operations.subscription_create(
                self._node.handle.node(), self.topic, self.name, options, timeout
            )
        )
        return self

    async def delete(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Raises mom.NotFound: no such topic; mom.NotSubscribed: no such
        subscription."""
        await self._node.run(
            operations.subscription_delete(
                self._node.handle.node(), self.topic, self.name, timeout
            )
        )

    async def info(self, timeout: Timeout = DEFAULT_TIMEOUT) -> StreamInfo:
        """Describes it."""
        return await self._node.run(
            operations.stream_info(
                "subscription",
                self._node.handle.node(),
                [self.topic, self.name],
                timeout,
            )
        )

    async def consumer(
        self,
        *,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
        limit: Optional[int] = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Consumer:
        """Opens a consumer; as Queue.consumer. Raises mom.NotSubscribed too."""
        return await Consumer._open(
            self._node,
            (name_bytes(self.topic), name_bytes(self.name)),
            consumer_options(prefetch, lease, limit),
            timeout,
        )

    def handler(
        self,
        *,
        concurrency: int = 1,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
    ) -> Callable[[Handler], Handler]:
        """A decorator: `Node.serve` awaits the function with each message, up
        to `concurrency` at a time. What becomes of a message is told at Consumer.run.
        """

        def register(function: Handler) -> Handler:
            self._node.handlers.append(
                (
                    lambda: self.consumer(prefetch=prefetch, lease=lease),
                    function,
                    concurrency,
                )
            )
            return function

        return register

    def __repr__(self) -> str:
        return f"<Subscription {self.topic!r} {self.name!r}>"
