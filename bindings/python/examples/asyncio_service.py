#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A service for asyncio: requests come in one queue, and each answer goes to the queue that
its request names. One event loop, ten requests at a time.

    asyncio_service.py
"""
from __future__ import annotations

import asyncio

import mom.aio

REQUESTS = 100


async def ask(node: mom.aio.Node, count: int) -> int:
    """A client: sends requests, and adds up the answers."""
    answers = await node.queue("answers").create()
    total = 0
    async with await answers.consumer() as consumer:
        await asyncio.gather(*(
            node.send("squares", str(number), headers={"answer-to": "answers"})
            for number in range(count)))
        for _ in range(count):
            async with await consumer.receive(timeout=30) as message:
                total += int(message.text)
    return total


async def main() -> None:
    """The service and its client, here in one process."""
    async with mom.aio.open(memory=True) as node:
        squares = await node.queue("squares").create()

        @squares.handler(concurrency=10)
        async def square(message: mom.aio.Message) -> None:
            await asyncio.sleep(0.001)  # waiting for something else, as services do
            target = message.headers["answer-to"].decode()
            await node.send(target, str(int(message.text) ** 2))

        service = asyncio.ensure_future(node.serve())
        total = await ask(node, REQUESTS)
        node.stop()
        await service
        print(f"{REQUESTS} answers, sum {total}")


if __name__ == "__main__":
    asyncio.run(main())
