# SPDX-License-Identifier: Apache-2.0
"""The asyncio form."""
from __future__ import annotations

import asyncio
import threading
from typing import Any, Awaitable, Callable, List, TypeVar

import pytest
from conftest import WAIT

import mom
import mom.aio

T = TypeVar("T")


def run(main: Callable[[mom.aio.Node], Awaitable[T]]) -> T:
    """In an event loop of its own, with an open node."""

    async def whole() -> T:
        async with mom.aio.open(memory=True) as node:
            return await asyncio.wait_for(main(node), WAIT)

    return asyncio.run(whole())


def test_messages_go_through_without_a_thread_for_each_call() -> None:
    async def main(node: mom.aio.Node) -> None:
        queue = await node.queue("q").create()
        before = threading.active_count()
        receipts = await asyncio.gather(*(queue.send(str(n)) for n in range(200)))
        assert threading.active_count() == before
        assert sorted(receipt.sequence for receipt in receipts) == list(range(1, 201))
        async with await queue.consumer() as consumer:
            texts = []
            async for message in consumer.messages(50, timeout=0.3):
                async with message:
                    texts.append(message.text)
            assert texts == [str(number) for number in range(200)]
            await consumer.flush(WAIT)
        assert (await queue.info()).messages_ready == 0

    run(main)


def test_settling() -> None:
    async def main(node: mom.aio.Node) -> None:
        queue = await node.queue("q").create()
        async with await queue.consumer() as consumer:
            await queue.send("a")
            await (await consumer.receive(WAIT)).nack()
            message = await consumer.receive(WAIT)
            assert message.redelivered
            await message.extend()
            await message.ack_wait(WAIT)
            with pytest.raises(mom.Conflict):
                await message.ack()
            await queue.send_many(["b", "c"])
            await (await consumer.receive(WAIT)).reject()
            with pytest.raises(KeyError):
                async with await consumer.receive(WAIT):
                    raise KeyError
            async with await consumer.receive_many(10, WAIT) as batch:
                assert batch.bodies == [b"c"]
            with pytest.raises(mom.Empty):
                await consumer.receive(0)
        assert (await queue.info()).dead_lettered == 1

    run(main)


def test_many_tasks_wait_on_one_consumer() -> None:
    async def main(node: mom.aio.Node) -> None:
        queue = await node.queue("q").create()
        async with await queue.consumer() as consumer:
            with pytest.raises(mom.Timeout):
                await consumer.receive(0.02)
            tasks = [asyncio.ensure_future(consumer.receive()) for _ in range(10)]
            late = asyncio.ensure_future(consumer.receive(0.05))
            with pytest.raises(mom.Timeout):
                await late
            tasks[0].cancel()
            await queue.send_many(str(number) for number in range(9))
            messages = await asyncio.gather(*tasks[1:])
            assert sorted(message.text for message in messages) == list("012345678")
            assert tasks[0].cancelled()
            for message in messages:
                await message.ack()
            waiting = [asyncio.ensure_future(consumer.receive()) for _ in range(3)]
            await asyncio.sleep(0)
            await consumer.close()
            for outcome in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(outcome, mom.Closed)

    run(main)


def test_a_cancelled_receive_loses_nothing() -> None:
    async def main(node: mom.aio.Node) -> None:
        queue = await node.queue("q").create()
        got: List[str] = []
        async with await queue.consumer() as consumer:
            for number in range(50):
                waiting = asyncio.ensure_future(consumer.receive())
                await asyncio.sleep(0)
                await queue.send(str(number))
                waiting.cancel()
                try:
                    message = await waiting
                except asyncio.CancelledError:
                    message = await consumer.receive(WAIT)
                async with message:
                    got.append(message.text)
                assert message.deliveries == 1
        assert got == [str(number) for number in range(50)]

    run(main)


def test_topics_status_and_lists() -> None:
    async def main(node: mom.aio.Node) -> None:
        topic = await node.topic("t").create(if_missing=True)
        mine = await topic.subscription("mine").create(filters="a.*")
        await topic.publish_many(["1", "2"], keys=["a.x", "b.x"])
        await node.publish("t", "3", "a.y")
        async with await mine.consumer() as consumer:
            texts = []
            async for batch in consumer.batches(timeout=0.3):
                texts += [message.text for message in batch]
                await batch.ack()
        assert texts == ["1", "3"]
        assert await node.topics() == ["t"] and await node.queues(own=True) == []
        assert await topic.subscriptions() == ["mine"]
        await node.wait_ready(WAIT)
        assert (await node.status()).node == node.id
        assert node.metrics()["calls_count"] > 0
        await mine.delete()
        await topic.delete()
        with pytest.raises(mom.NotFound):
            await topic.info()

    run(main)


def test_handlers_run_side_by_side() -> None:
    async def main(node: mom.aio.Node) -> None:
        queue = await node.queue("q").create()
        running, most, seen = 0, 0, 0

        @queue.handler(concurrency=5)
        async def handle(message: mom.aio.Message) -> None:
            nonlocal running, most, seen
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            if message.text == "bad":
                raise mom.Reject
            if message.text == "again" and not message.redelivered:
                raise ValueError
            seen += 1
            if seen == 19:
                node.stop()

        await queue.send_many(["bad", "again"] + ["x"] * 18)
        await node.serve()
        assert 1 < most <= 5 and seen >= 19
        assert (await queue.info()).dead_lettered == 1

    run(main)


def test_closing_ends_what_waits() -> None:
    async def main() -> None:
        node = await mom.aio.open(memory=True)
        queue = await node.queue("q").create()
        consumer = await queue.consumer()
        waiting = asyncio.ensure_future(consumer.receive())
        await asyncio.sleep(0)
        await node.close()
        with pytest.raises(mom.Closed):
            await waiting
        with pytest.raises(mom.Closed):
            await queue.send("x")
        await node.close()
        await consumer.close()

    asyncio.run(main())


def test_a_node_belongs_to_its_loop() -> None:
    opened: List[Any] = []

    async def first() -> None:
        opened.append(await mom.aio.open(memory=True))

    async def second() -> None:
        with pytest.raises(RuntimeError):
            await opened[0].send("q", "x")

    asyncio.run(first())
    asyncio.run(second())
    opened.pop()._node.handle.close(5000)


def test_errors_come_from_open() -> None:
    async def main() -> None:
        with pytest.raises(mom.Invalid):
            await mom.aio.open(memory=True, colour="red")
        with pytest.raises(mom.Invalid):
            async with mom.aio.open(memory=True, shards=1000):
                pass

    asyncio.run(main())
