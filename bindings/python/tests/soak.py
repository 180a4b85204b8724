#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uses everything over and over; memory, descriptors and threads of the process must not
grow. Called by tests/campaigns/python-soak.sh.

    soak.py SECONDS
"""
from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mom  # noqa: E402
import mom.aio  # noqa: E402

WAIT = 60.0
RSS_GROWTH_MAX_KB = 16 << 10
CHECKPOINTS = 4


def sync_round(node: mom.Node) -> int:
    """Queues, batches, errors and interrupted waits on a node that stays open."""
    queue = node.queue("q").create(if_missing=True)
    queue.send_many([bytes(100)] * 2000)
    queue.send("one", headers={"a": "b"}, key="k")
    count = 0
    with queue.consumer(prefetch=1000) as consumer:
        while count < 2001:
            with consumer.receive_many(500, WAIT) as batch:
                count += len(batch)
                views = [message.view for message in batch[:10]]
                assert all(len(view) in (3, 100) for view in views)
                batch[-1].headers
        for timeout in (0, 0.001):
            try:
                consumer.receive(timeout)
            except (mom.Empty, mom.Timeout):
                pass
        thread = threading.Thread(target=lambda: list(consumer))
        thread.start()
        consumer.flush(WAIT)
    thread.join(WAIT)
    for wrong in (lambda: node.send("none", "x"), lambda: queue.create(),
                  lambda: queue.consumer(prefetch=10**6)):
        try:
            wrong()
        except mom.Error:
            pass
    node.topic("t").create(if_missing=True)
    topic = node.topic("t")
    topic.subscription("s").create(filters=["a.*"], if_missing=True)
    topic.publish_many(["x"] * 100, keys=["a.b"] * 100)
    with topic.subscription("s").consumer() as consumer:
        left = 100
        while left:
            with consumer.receive_many(100, WAIT) as batch:
                left -= len(batch)
    topic.delete()
    node.status(), node.metrics(), node.queues(), queue.info()
    return count + 100


async def loop_round() -> int:
    """A node in a loop of its own."""
    async with mom.aio.open(memory=True) as node:
        queue = await node.queue("q").create()
        await asyncio.gather(*(queue.send("x") for _ in range(300)))
        async with await queue.consumer() as consumer:
            for _ in range(300):
                async with await consumer.receive(WAIT):
                    pass
            with contextlib.suppress(mom.Timeout):
                await consumer.receive(0.001)
            late = asyncio.ensure_future(consumer.receive())
            await asyncio.sleep(0)
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)
    return 300


def short_lives() -> int:
    """Nodes that are opened and dropped in all ways."""
    node = mom.open(memory=True)
    node.send("q", "x", create=True)
    consumer = node.queue("q").consumer()
    message = consumer.receive(WAIT)
    ring: Any = [node, consumer, message]
    ring.append(ring)
    node.close()
    return 1


def figures() -> Dict[str, int]:
    """Of this process."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in status)
    return {"rss_kb": int(values["VmRSS"].split()[0]), "threads": int(values["Threads"]),
            "fds": len(os.listdir("/proc/self/fd"))}


def warm_up(node: mom.Node) -> None:
    """A memory node keeps up to 32 MiB of log between two checkpoints, so it is at its
    highest after a few of them only."""
    queue = node.queue("q").create(if_missing=True)
    with queue.consumer(prefetch=2000) as consumer:
        while node.metrics()["checkpoints_count"] < CHECKPOINTS:
            queue.send_many([bytes(100)] * 2000)
            left = 2000
            while left:
                with consumer.receive_many(500, WAIT) as batch:
                    left -= len(batch)


def rounds(seconds: float) -> Iterator[int]:
    """Until the time is over: the number of messages so far."""
    total = 0
    with mom.open(memory=True, cache_bytes_max=1 << 20) as node:
        warm_up(node)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            total += sync_round(node) + asyncio.run(loop_round()) + short_lives()
            yield total


def main(seconds: float) -> int:
    """Prints the figures twenty times; 1 if their highest values grow from the first third
    of the time to the last."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # slow steps, in -X dev
    start = shown = 0.0  # when it is warm
    highest = [{"rss_kb": 0, "threads": 0, "fds": 0} for _ in range(3)]
    total = 0
    for total in rounds(seconds):
        now, found = time.monotonic(), figures()
        start, shown = start or now, shown or now
        third = highest[min(int(3 * (now - start) / seconds), 2)]
        third.update({name: max(value, third[name]) for name, value in found.items()})
        if now - shown > seconds / 20:
            shown = now
            print(f"{now - start:5.0f} s, {total} messages, "
                  + ", ".join(f"{name} {value}" for name, value in found.items()),
                  flush=True)
    most = {"rss_kb": RSS_GROWTH_MAX_KB, "fds": 0, "threads": 2}
    failed = [name for name in most if highest[2][name] > highest[0][name] + most[name]]
    print(f"highest in each third: {highest}")
    print(f"python soak: {total} messages in {seconds:.0f} s, "
          + (f"GROWN: {failed}" if failed else "nothing grows"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
