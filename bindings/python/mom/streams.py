# SPDX-License-Identifier: Apache-2.0
"""Queues, topics and subscriptions: names of what lies in the mesh. Making such an
object does nothing there; its methods do."""
from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Iterable, List, Optional, Sequence, TypeVar, Union

from . import _convert, _operations as operations
from ._convert import DEFAULT_TIMEOUT, Body, Headers, Options, Timeout, name_bytes
from ._handles import NodeHandle
from ._operations import Receipt
from .consumer import Consumer
from .errors import Error
from .info import StreamInfo
from .message import Message

__all__ = ["Queue", "Subscription", "Topic"]

Handler = TypeVar("Handler", bound=Callable[[Message], object])


def stream_options(
    if_missing: bool,
    lease: Optional[float],
    deliveries_max: Optional[int],
    messages_max: Optional[int],
    bytes_max: Optional[int],
    dead_letter: bool,
    retention: Optional[float] = None,
    retention_bytes: Optional[int] = None,
    retention_count: Optional[int] = None,
) -> Options:
    """Of a queue or topic that is to be created."""
    return Options(
        "stream_options",
        {
            "if_missing": if_missing,
            "lease_ms": _convert.seconds_option(lease),
            "deliveries_max": deliveries_max,
            "messages_max": messages_max,
            "bytes_max": bytes_max,
            "no_dead_letter": not dead_letter,
            "retention_ms": _convert.seconds_option(retention),
            "retention_bytes": retention_bytes,
            "retention_count": retention_count,
        },
    )


def subscription_options(
    filters: Union[str, Sequence[str]],
    start: Union[str, int],
    since: Optional[float],
    if_missing: bool,
    temporary: bool,
    ignore_own: bool,
) -> Options:
    """`start` is "new", "first" or a sequence; `since` is a time and wins."""
    values: dict[str, object] = {
        "if_missing": if_missing,
        "temporary": temporary,
        "ignore_own": ignore_own,
    }
    if since is not None:
        values.update({"from": "time", "from_time_us": round(since * 1e6)})
    elif isinstance(start, int):
        values.update({"from": "sequence", "from_sequence": start})
    else:
        values["from"] = start
    return _convert.subscription_options(filters, values)


def consumer_options(
    prefetch: Optional[int], lease: Optional[float], limit: Optional[int]
) -> Options:
    """How a consumer takes messages."""
    return Options(
        "consumer_options",
        {
            "prefetch": prefetch,
            "lease_ms": _convert.seconds_option(lease),
            "limit": limit,
        },
    )


def send_all(
    run: Callable[[Any], Receipt],
    bodies: Iterable[Body],
    begin: Callable[[List[bytes], int], Any],
) -> Receipt:
    """Sends groups one after the other; what an error says counts those before it."""
    first: Optional[Receipt] = None
    count = 0
    for group in operations.split_many(bodies):
        try:
            receipt = run(begin(group, count))
        except Error as error:
            error.acknowledged += count
            raise
        first = first or receipt
        count += receipt.count
    return replace(first, count=count) if first else Receipt(0, 0, 0)


class _Stream:
    kind = ""

    def __init__(self, node: NodeHandle, name: str) -> None:
        name_bytes(name)
        self._node = node
        self.name = name

    def delete(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Deletes it with all its messages. Raises mom.NotFound."""
        self._node.run(
            operations.simple(
                "delete", self.kind, self._node.node(), self.name, timeout
            )
        )

    def info(self, timeout: Timeout = DEFAULT_TIMEOUT) -> StreamInfo:
        """Describes it. Raises mom.NotFound, mom.Unavailable."""
        return self._node.run(
            operations.stream_info(self.kind, self._node.node(), [self.name], timeout)
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Queue(_Stream):
    """A queue: each message goes to one consumer, and leaves when it is
    acknowledged."""

    kind = "queue"

    def create(
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
        self._node.run(
            operations.create("queue", self._node.node(), self.name, options, timeout)
        )
        return self

    def purge(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Drops the waiting messages; those that consumers hold stay."""
        self._node.run(
            operations.simple("purge", "queue", self._node.node(), self.name, timeout)
        )

    def send(
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
        return self._node.run(
            operations.send(self._node.node(), self.name, body, options, timeout)
        )

    def send_many(
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
        return send_all(
            self._node.run,
            bodies,
            lambda group, at: operations.send_many(
                self._node.node(), self.name, group, options, timeout
            ),
        )

    def consumer(
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
        return Consumer(
            self._node,
            (name_bytes(self.name),),
            consumer_options(prefetch, lease, limit),
            timeout,
        )

    def handler(
        self,
        *,
        threads: int = 1,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
    ) -> Callable[[Handler], Handler]:
        """A decorator: `Node.serve` calls the function with each message of the queue,
        on so many threads. What becomes of a message is told at Consumer.run."""

        def register(function: Handler) -> Handler:
            self._node.handlers.append(
                (
                    lambda: self.consumer(prefetch=prefetch, lease=lease),
                    function,
                    threads,
                )
            )
            return function

        return register


class Topic(_Stream):
    """A topic: every matching subscription gets each message once."""

    kind = "topic"

    def create(
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
        self._node.run(
            operations.create("topic", self._node.node(), self.name, options, timeout)
        )
        return self

    def publish(
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
        return self._node.run(
            operations.publish(
                self._node.node(), self.name, body, key, options, timeout
            )
        )

    def publish_many(
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
        return send_all(
            self._node.run,
            bodies,
            lambda group, at: operations.publish_many(
                self._node.node(),
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

    def subscriptions(self, timeout: Timeout = DEFAULT_TIMEOUT) -> List[str]:
        """The names of its subscriptions, sorted."""
        return self._node.run(
            operations.names(
                "subscription", self._node.node(), [self.name], False, timeout
            )
        )


class Subscription:
    """A durable reader of a topic, with its own position and filters. Several consumers
    of one subscription compete."""

    def __init__(self, node: NodeHandle, topic: str, name: str) -> None:
        name_bytes(name)
        self._node = node
        self.topic = topic
        self.name = name

    def create(
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
        self._node.run(
            operations.subscription_create(
                self._node.node(), self.topic, self.name, options, timeout
            )
        )
        return self

    def delete(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Raises mom.NotFound: no such topic; mom.NotSubscribed: no such
        subscription."""
        self._node.run(
            operations.subscription_delete(
                self._node.node(), self.topic, self.name, timeout
            )
        )

    def info(self, timeout: Timeout = DEFAULT_TIMEOUT) -> StreamInfo:
        """Describes it."""
        return self._node.run(
            operations.stream_info(
                "subscription", self._node.node(), [self.topic, self.name], timeout
            )
        )

    def consumer(
        self,
        *,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
        limit: Optional[int] = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Consumer:
        """Opens a consumer; as Queue.consumer. Raises mom.NotSubscribed too."""
        return Consumer(
            self._node,
            (name_bytes(self.topic), name_bytes(self.name)),
            consumer_options(prefetch, lease, limit),
            timeout,
        )

    def handler(
        self,
        *,
        threads: int = 1,
        prefetch: Optional[int] = None,
        lease: Optional[float] = None,
    ) -> Callable[[Handler], Handler]:
        """A decorator: `Node.serve` calls the function with each message, on so many
        threads. What becomes of a message is told at Consumer.run."""

        def register(function: Handler) -> Handler:
            self._node.handlers.append(
                (
                    lambda: self.consumer(prefetch=prefetch, lease=lease),
                    function,
                    threads,
                )
            )
            return function

        return register

    def __repr__(self) -> str:
        return f"<Subscription {self.topic!r} {self.name!r}>"
