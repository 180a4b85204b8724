# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends every call that waits, and what was interrupted can be used again."""
from __future__ import annotations

import sys
from typing import Any, Callable

import pytest

# A thread sends the signal when the main thread sits in the wait and not before.
CODE = """
import os, signal, sys, threading, mom
client = mom.open(join="ipc://" + sys.argv[1] + "/nobody")
alone = mom.open(memory=True)
queue = alone.queue("q").create()
consumer = queue.consumer()
main = threading.main_thread().ident
WAITS = {("_handles.py", "wait"), ("threading.py", "wait"), ("_base.py", "result")}

def interrupt_when_waiting():
    seen = 0
    while seen < 5:  # looked at so often, and still there
        frame = sys._current_frames()[main]
        place = os.path.basename(frame.f_code.co_filename), frame.f_code.co_name
        seen = seen + 1 if place in WAITS else 0
        threading.Event().wait(0.005)
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(call):
    thread = threading.Thread(target=interrupt_when_waiting)
    thread.start()
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        thread.join()
    return False

def serve():
    queue.handler(threads=2)(print)
    alone.serve()

for name, call in {
    "wait_ready": lambda: client.wait_ready(),
    "send": lambda: client.send("q", "x", timeout=None),
    "send_many": lambda: client.queue("q").send_many(["x"] * 10, timeout=None),
    "publish": lambda: client.publish("t", "x", timeout=None),
    "create": lambda: client.queue("q").create(timeout=None),
    "delete": lambda: client.topic("t").delete(timeout=None),
    "purge": lambda: client.queue("q").purge(timeout=None),
    "subscribe": lambda: client.topic("t").subscription("s").create(timeout=None),
    "info": lambda: client.queue("q").info(timeout=None),
    "list": lambda: client.queues(timeout=None),
    "consumer": lambda: client.queue("q").consumer(timeout=None),
    "receive": lambda: consumer.receive(),
    "receive again": lambda: consumer.receive(1000),
    "batches": lambda: list(consumer.batches()),
    "iterate": lambda: list(consumer),
    "serve": serve,
}.items():
    assert interrupted(call), name
    print("ended", name, flush=True)

queue.send("still works")
with consumer.receive(60) as message:
    print(message.text)
consumer.close()
alone.close()
client.close(0)
"""


def test_ctrl_c_ends_every_wait(python: Callable[..., Any], tmp_path: Any) -> None:
    done = python(CODE, str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("ended") == 16
    assert "still works" in done.stdout
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
def test_ctrl_c_ends_asyncio(python: Callable[..., Any]) -> None:
    code = """
import asyncio, os, signal, mom.aio
async def main():
    async with mom.aio.open(memory=True) as node:
        queue = await node.queue("q").create()
        async with await queue.consumer() as consumer:
            asyncio.get_running_loop().call_later(
                0.05, os.kill, os.getpid(), signal.SIGINT)
            await consumer.receive()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("ended")
"""
    done = python(code)
    assert "ended" in done.stdout, done.stderr
