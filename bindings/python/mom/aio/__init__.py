# SPDX-License-Identifier: Apache-2.0
"""mom for asyncio: the same names, with `await`, `async with` and `async for`.

    import asyncio
    import mom.aio

    async def main():
        async with mom.aio.open("data") as node:
            work = await node.queue("work").create(if_missing=True)
            await work.send("hello")
            async with await work.consumer() as consumer:
                async for message in consumer:
                    async with message:
                        print(message.text)
                    break

    asyncio.run(main())

All that waits for the mesh goes through one file descriptor of the node, watched by the
event loop; there is no thread for it. Opening and closing a node or consumer, and
asking
for information and lists, run on a few threads that all nodes share, since the library
has no other form of them. A node belongs to the loop that opened it. Cancelling a call
ends the wait, not the command: it may be done all the same.
"""
from __future__ import annotations

from .consumer import Consumer
from .message import Batch, Message
from .node import Node, open
from .streams import Queue, Subscription, Topic

__all__ = [
    "Batch",
    "Consumer",
    "Message",
    "Node",
    "Queue",
    "Subscription",
    "Topic",
    "open",
]
