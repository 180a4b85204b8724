# SPDX-License-Identifier: Apache-2.0
"""A node in an event loop."""
from __future__ import annotations

import asyncio
import os
from typing import Any, Dict, Generator, List, Mapping, Optional, Sequence, Set, Union

from .. import _convert, _handles, _helpers, _operations as operations, info
from .._convert import DEFAULT_TIMEOUT, Body, Headers, Timeout
from .._operations import Receipt
from ..errors import Closed
from ..node import CLOSE_TIMEOUT, Log, log_function, node_options
from ._loop import LoopNode
from .consumer import Consumer
from .streams import Queue, Topic

__all__ = ["Node", "open"]


def open(
    data_dir: "Union[str, os.PathLike[str], None]" = None,
    *,
    listen: Optional[str] = None,
    join: Union[str, Sequence[str], None] = None,
    form: Union[str, Mapping[str, str], None] = None,
    name: Optional[str] = None,
    memory: bool = False,
    role: Optional[str] = None,
    log: Optional[Log] = None,
    **options: object,
) -> "Opening":
    """Opens a node: `node = await mom.aio.open(...)`, or
    `async with mom.aio.open(...) as node`. Arguments and exceptions are those of
    mom.open.
    """
    return Opening(
        node_options(
            data_dir,
            listen,
            join,
            form,
            {"name": name, "memory": memory or None, "role": role, **options},
        ),
        log,
    )


class Opening:
    """What mom.aio.open returns: to be awaited, or used in `async with`."""

    def __init__(self, values: Mapping[str, object], log: Optional[Log]) -> None:
        self._values = values
        self._log = log
        self._node: Optional["Node"] = None

    async def _open(self) -> "Node":
        values, log = self._values, log_function(self._log)
        future = _helpers.submit(lambda: _handles.open_node(values, log))
        try:
            handle = await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            future.add_done_callback(_handles.close_late)
            raise
        return Node(LoopNode(handle, asyncio.get_running_loop()))

    def __await__(self) -> "Generator[Any, None, Node]":
        return self._open().__await__()

    async def __aenter__(self) -> "Node":
        self._node = await self._open()
        return self._node

    async def __aexit__(self, *_: object) -> None:
        assert self._node is not None
        await self._node.close()


class Node:
    """An open node, made by mom.aio.open. It belongs to the event loop that opened
    it."""

    def __init__(self, node: LoopNode) -> None:
        self._node = node
        lib, pointer = node.handle.lib, node.handle.node()
        #: Its id, the fingerprint of its key.
        self.id: int = lib.mom_node_id(pointer)
        #: Its label.
        self.name: str = lib.mom_node_name(pointer).decode("utf-8", "replace")
        #: Where it listens, with the port in force; "" if it does not.
        self.address: str = lib.mom_node_address(pointer).decode("utf-8", "replace")
        #: True when what it stores survives a power cut.
        self.is_durable: bool = lib.mom_node_is_durable(pointer)
        self._stopped: Optional["asyncio.Event"] = None

    # --- what lies in the mesh --------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """The queue of this name; its `create` makes it."""
        return Queue(self._node, name)

    def topic(self, name: str) -> Topic:
        """The topic of this name; its `create` makes it."""
        return Topic(self._node, name)

    async def queues(
        self, *, own: bool = False, timeout: Timeout = DEFAULT_TIMEOUT
    ) -> List[str]:
        """The names of all queues of the mesh, sorted; `own`: that this node created.

        Raises mom.Unavailable when some shards do not answer: never a shorter list.
        """
        return await self._node.run(
            operations.names("queue", self._node.handle.node(), [], own, timeout)
        )

    async def topics(
        self, *, own: bool = False, timeout: Timeout = DEFAULT_TIMEOUT
    ) -> List[str]:
        """The names of all topics of the mesh, sorted; as queues."""
        return await self._node.run(
            operations.names("topic", self._node.handle.node(), [], own, timeout)
        )

    async def send(
        self,
        queue: str,
        body: Body,
        *,
        key: Optional[str] = None,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Short for node.queue(queue).send(...)."""
        return await self.queue(queue).send(
            body, key=key, headers=headers, create=create, timeout=timeout
        )

    async def publish(
        self,
        topic: str,
        body: Body,
        key: Optional[str] = None,
        *,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Short for node.topic(topic).publish(...)."""
        return await self.topic(topic).publish(
            body, key, headers=headers, create=create, timeout=timeout
        )

    # --- the node ---------------------------------------------------------------------

    async def wait_ready(self, timeout: Timeout = None) -> None:
        """Waits until it has joined its mesh and knows a leader for every shard.

        Raises mom.Timeout; mom.Conflict: it was refused for good.
        """
        await self._node.run(operations.wait_ready(self._node.handle.node(), timeout))

    async def status(self, timeout: Timeout = DEFAULT_TIMEOUT) -> info.Status:
        """The mesh as this node sees it: nodes, shards, leaders."""
        return await self._node.run(
            operations.status(self._node.handle.node(), timeout)
        )

    def metrics(self) -> Dict[str, int]:
        """The counters of this node by name. Never waits."""
        return info.read_metrics(self._node.handle.lib, self._node.handle.node())

    async def close(self, timeout: Timeout = CLOSE_TIMEOUT) -> None:
        """Hands leadership over, and stops. Tasks that wait get mom.Closed, or
        mom.UnknownOutcome. A second time it does nothing.

        timeout: seconds for an orderly end; it is closed in every case.

        Raises mom.Timeout: it was not orderly; mom.IOFailure: the last sync failed.
        """
        await self._node.close(_convert.milliseconds(timeout))

    @property
    def is_closed(self) -> bool:
        """close() was called."""
        return self._node.handle.is_closed

    async def __aenter__(self) -> "Node":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = " closed" if self.is_closed else ""
        return f"<Node {self.name} {self.id:#018x}{state}>"

    # --- handlers ---------------------------------------------------------------------

    async def serve(self) -> None:
        """Runs all handlers until `stop` is called, the node is closed, or the task is
        cancelled. Raises what ended one of the consumers."""
        self._stopped = asyncio.Event()
        consumers: List[Consumer] = []
        tasks: "Set[asyncio.Future[Any]]" = set()
        try:
            for make, function, concurrency in list(self._node.handlers):
                consumer = await make()
                consumers.append(consumer)
                tasks.add(asyncio.ensure_future(consumer.run(function, concurrency)))
            stop = asyncio.ensure_future(self._stopped.wait())
            try:
                await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.cancel()
        finally:
            for consumer in consumers:
                await consumer.drain()
                await consumer.close()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Closed):
                raise result

    def stop(self) -> None:
        """Ends `serve`, each handler after its current message."""
        if self._stopped is not None:
            self._stopped.set()
