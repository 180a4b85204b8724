# SPDX-License-Identifier: Apache-2.0
"""Handles in the hands of Python: forks, ends of the interpreter, garbage, threads."""
from __future__ import annotations

import gc
import itertools
import threading
from typing import Any, Callable, List

import pytest
from conftest import WAIT

import mom

START = """
import gc, os, sys, threading, mom
node = mom.open(memory=True)
queue = node.queue("q").create()
queue.send_many(["a", "b", "c"])
consumer = queue.consumer()
message = consumer.receive(60)
batch = consumer.receive_many(2, 60)
view = message.view

def send_for_ever():
    try:
        while True:
            queue.send("x")
    except mom.Error:  # Closed, or UnknownOutcome: it was on its way
        pass
"""


def fine(done: Any) -> str:
    """It ended by itself, and nobody complained."""
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr and "Fatal" not in done.stderr, done.stderr
    return str(done.stdout)


@pytest.mark.parametrize("ending", [
    "pass",
    "sys.exit(0)",
    "globals().clear()",
    "threading.Thread(target=list, args=[consumer], daemon=True).start()",
    "threading.Thread(target=send_for_ever, daemon=True).start()",
    "node.close()",
    "a = []; a.append([a, node, consumer, message, batch, view])",
    "import logging; log = mom.open(memory=True, log=print, log_level='debug')",
])
def test_the_interpreter_ends_with_open_nodes(python: Callable[..., Any],
                                              ending: str) -> None:
    fine(python(START + ending))


def test_a_forked_child_gets_closed_and_opens_its_own(python: Callable[..., Any]) -> None:
    code = START + """
lock_held = threading.Thread(target=lambda: consumer.messages(timeout=1))
pid = os.fork()
if pid == 0:
    try:
        for call in (lambda: queue.send("x"), consumer.receive, message.ack, batch.ack,
                     queue.info, node.status, node.metrics, consumer.flush,
                     lambda: queue.consumer()):
            try:
                call()
            except mom.Closed:
                continue
            os._exit(1)
        consumer.close(), node.close()
        assert bytes(view) == b"a"
        del view, message, batch, consumer, queue, node
        gc.collect()
        with mom.open(memory=True) as own:
            own.send("q", "mine", create=True)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(2)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
message.ack()
queue.send("still works")
node.close()
print("parent")
"""
    assert "parent" in fine(python(code))


def test_a_fork_while_other_threads_wait(python: Callable[..., Any]) -> None:
    code = START + """
batch.ack(); message.ack()
threading.Thread(target=lambda: list(consumer), daemon=True).start()
pid = os.fork()
if pid == 0:
    try:
        consumer.receive(1)
    except mom.Error:  # Closed, or UnknownOutcome: it was on its way
        consumer.close()
        os._exit(0)
    os._exit(1)
assert os.waitpid(pid, 0)[1] == 0
"""
    fine(python(code))


NAMES = ("node", "consumer", "message", "batch", "view")


@pytest.mark.parametrize("order", [
    order for at, order in enumerate(itertools.permutations(NAMES)) if at % 17 == 0])
def test_garbage_in_any_order(order: Any) -> None:
    node = mom.open(memory=True)
    queue = node.queue("q").create()
    queue.send_many(["a", "b", "c"])
    consumer = queue.consumer()
    message = consumer.receive(WAIT)
    batch = consumer.receive_many(2, WAIT)
    held = {"node": node, "consumer": consumer, "message": message, "batch": batch,
            "view": message.view}
    node.close()
    del node, queue, consumer, message, batch
    for name in order:
        del held[name]
    gc.collect()


def test_an_unclosed_node_is_closed_and_warned_about(tmp_path: Any) -> None:
    node = mom.open(tmp_path / "d")
    with pytest.warns(ResourceWarning, match="unclosed node"):
        del node
        gc.collect()
    for _ in range(1000):  # it goes on another thread
        try:
            mom.open(tmp_path / "d").close()
            return
        except mom.Conflict:
            threading.Event().wait(0.02)
    pytest.fail("it was not closed")


def test_garbage_on_a_thread_of_the_library() -> None:
    """A log function may drop the last reference to anything."""
    cycles: List[Any] = []

    def log(*_: Any) -> None:
        if cycles:
            cycles.clear()
            gc.collect()

    with mom.open(memory=True) as node:
        queue = node.queue("q").create()
        queue.send_many(str(number) for number in range(50))
        for _ in range(2):
            consumer = queue.consumer(prefetch=1)
            ring: List[Any] = [consumer, consumer.receive(WAIT)]
            ring.append(ring)
            cycles.append(ring)
            del ring, consumer
            with mom.open(memory=True, log=log, log_level="debug") as other:
                other.wait_ready(WAIT)


def in_thread(call: Callable[[], Any]) -> "tuple[threading.Thread, List[Any]]":
    outcome: List[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def until_waiting(consumer: mom.Consumer) -> None:
    """A thread waits for messages of this consumer."""
    while not consumer._is_armed:
        threading.Event().wait(0.001)


@pytest.mark.parametrize("what", ["consumer", "node"])
def test_closing_while_others_wait(what: str) -> None:
    with mom.open(memory=True) as node:
        queue = node.queue("q").create()
        consumer = queue.consumer()
        waiting = [in_thread(consumer.receive) for _ in range(4)]
        ended = in_thread(lambda: list(consumer))
        until_waiting(consumer)
        (consumer if what == "consumer" else node).close()
        for thread, outcome in waiting:
            thread.join(WAIT)
            assert isinstance(outcome[0], mom.Closed), outcome
        ended[0].join(WAIT)
        assert ended[1] == [[]]
        consumer.close()


def test_calls_under_way_when_the_node_closes(python: Callable[..., Any]) -> None:
    """Every thread gets mom.Closed or mom.UnknownOutcome; nothing crashes or hangs."""
    for _ in range(5):
        node = mom.open(memory=True)
        queue = node.queue("q").create()
        started = threading.Barrier(5)

        def send() -> None:
            started.wait(WAIT)
            while True:
                queue.send("x")

        def receive() -> None:
            consumer = queue.consumer()
            started.wait(WAIT)
            try:
                while True:
                    consumer.receive().ack()
            finally:
                consumer.close()

        running = [in_thread(send), in_thread(send), in_thread(receive),
                   in_thread(receive)]
        started.wait(WAIT)
        node.close()
        for thread, outcome in running:
            thread.join(WAIT)
            assert not thread.is_alive()
            assert isinstance(outcome[0], (mom.Closed, mom.UnknownOutcome)), outcome


def test_waiting_for_a_mesh_that_is_not_there(tmp_path: Any) -> None:
    with mom.open(join=f"ipc://{tmp_path}/nobody") as client:
        with pytest.raises(mom.Timeout):
            client.wait_ready(0.05)
        thread, outcome = in_thread(lambda: client.send("q", "x", timeout=None))
        while client.metrics()["calls_pending"] == 0:
            threading.Event().wait(0.01)
    thread.join(WAIT)
    assert isinstance(outcome[0], mom.Closed), outcome
