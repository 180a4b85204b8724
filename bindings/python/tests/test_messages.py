# SPDX-License-Identifier: Apache-2.0
"""Sending, receiving and settling."""
from __future__ import annotations

import threading
import time
from typing import List

import pytest
from conftest import WAIT

import mom


@pytest.fixture
def queue(node: mom.Node) -> mom.Queue:
    return node.queue("q").create()


def test_a_message_carries_what_it_was_given(node: mom.Node, queue: mom.Queue) -> None:
    before = time.time()
    queue.send(b"\0bytes", key="a.b", headers={"kind": "blue", "raw": b"\xff", "none": ""})
    queue.send("text é")
    queue.send(memoryview(b"view"))
    queue.send(bytearray())
    with queue.consumer() as consumer:
        first, text, view, empty = [consumer.receive(WAIT) for _ in range(4)]
    assert first.body == b"\0bytes" and first.key == "a.b"
    assert first.headers == {"kind": b"blue", "raw": b"\xff", "none": b""}
    assert (first.sequence, first.deliveries, first.redelivered) == (1, 1, False)
    assert first.publisher == node.id and abs(first.published - before) < 3600
    assert (first.stream, first.subscription) == ("q", "")
    assert text.text == "text é" and text.headers == {} and text.key == ""
    assert view.body == b"view" and empty.body == b"" and bytes(empty.view) == b""
    assert "text" in repr(text)


def test_wrong_bodies_and_names_are_refused(node: mom.Node, queue: mom.Queue) -> None:
    with pytest.raises(TypeError):
        queue.send(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        node.queue(b"q")  # type: ignore[arg-type]
    with pytest.raises(mom.Invalid):
        node.queue("a\0b")
    with pytest.raises(mom.TooBig):
        queue.send(bytes(8 * 2**20 + 1))
    with pytest.raises(mom.NotFound, match='queue "other"'):
        node.send("other", "x")


def test_settling(node: mom.Node, queue: mom.Queue) -> None:
    queue.send_many(["a", "b"])
    with queue.consumer() as consumer:
        first = consumer.receive(WAIT)
        first.nack()
        second = consumer.receive(WAIT)
        second.reject()
        again = consumer.receive(WAIT)
        assert again.text == "a" and again.redelivered and again.deliveries == 2
        again.extend()
        again.ack_wait(WAIT)
        with pytest.raises(mom.Conflict):
            again.ack()
        queue.send("c")
        third = consumer.receive(WAIT)
        third.ack()
        consumer.flush(WAIT)
    info = queue.info()
    assert (info.messages_ready, info.dead_lettered, info.redelivered) == (0, 1, 1)


def test_leaving_a_block_settles(queue: mom.Queue) -> None:
    with queue.consumer() as consumer:
        queue.send_many(["done", "failed"])
        with consumer.receive(WAIT):
            pass
        with pytest.raises(KeyError):
            with consumer.receive(WAIT) as message:
                raise KeyError(message.text)
        with consumer.receive(WAIT) as message:
            assert message.text == "failed" and message.redelivered
        queue.send_many(["bad", "by hand"])
        with pytest.raises(mom.Reject):
            with consumer.receive(WAIT) as message:
                raise mom.Reject(message.text)
        with consumer.receive(WAIT) as message:
            message.reject()
            assert message.is_settled
        consumer.flush(WAIT)
        with pytest.raises(mom.Empty):
            consumer.receive(0)
    assert queue.info().dead_lettered == 2


def test_what_is_dropped_unsettled_comes_again(queue: mom.Queue) -> None:
    queue.send("x")
    with queue.consumer() as consumer:
        message = consumer.receive(WAIT)
        del message
        assert consumer.receive(WAIT).redelivered


def test_batches(queue: mom.Queue) -> None:
    bodies = [b"%d" % number for number in range(1000)]
    receipt = queue.send_many(bodies)
    assert (receipt.sequence, receipt.count) == (1, 1000)
    seen: List[bytes] = []
    with queue.consumer(prefetch=400) as consumer:
        for batch in consumer.batches(100, timeout=0.3):
            assert 1 <= len(batch) <= 100
            assert [message.body for message in batch] == batch.bodies
            seen += batch.bodies
            with batch:
                batch[0].ack()
        assert seen == bodies
        with pytest.raises(mom.Invalid):
            consumer.receive_many(0)
    assert queue.info().messages_ready == 0


def test_a_batch_that_fails_is_given_back(queue: mom.Queue) -> None:
    queue.send_many(["a", "b", "c"])
    with queue.consumer() as consumer:
        got = 0
        while got < 1:
            with pytest.raises(KeyError):
                with consumer.receive_many(3, WAIT) as batch:
                    batch[0].ack()
                    got += 1
                    raise KeyError
        rest = [message for message in consumer.messages(timeout=0.3)]
        assert {message.text for message in rest} == {"b", "c"}


def test_bodies_of_all_sizes_in_one_batch(queue: mom.Queue) -> None:
    small = [bytes([number]) * number for number in range(50)]
    large = [bytes([number]) * 20000 for number in range(20)]
    for bodies in (small, large, [], small + large):
        assert queue.send_many(bodies).count == len(bodies)
    with queue.consumer() as consumer:
        messages = list(consumer.messages(7, timeout=0.3))
    assert [message.body for message in messages] == small + large + small + large
    assert [bytes(message.view) for message in messages] == small + large + small + large


def test_many_with_str_and_iterators(queue: mom.Queue) -> None:
    receipt = queue.send_many(str(number) if number % 2 else b"%d" % number
                              for number in range(70000))
    assert receipt.count == 70000  # more than one call takes
    assert queue.info().messages_ready == 70000


def test_a_view_outlives_message_consumer_and_node() -> None:
    with mom.open(memory=True) as node:
        node.send("q", b"kept", create=True)
        with node.queue("q").consumer() as consumer:
            message = consumer.receive(WAIT)
            view = message.view
            assert view.readonly
    with pytest.raises(mom.Closed):
        message.ack()
    assert message.body == b"kept"
    del message, consumer, node
    assert bytes(view) == b"kept"


def test_limits_of_a_queue(node: mom.Node) -> None:
    queue = node.queue("small").create(messages_max=2, lease=5, deliveries_max=3)
    info = queue.info()
    assert (info.messages_max, info.lease, info.deliveries_max) == (2, 5.0, 3)
    queue.send_many(["a", "b"])
    with pytest.raises(mom.Full):
        queue.send("c")
    with pytest.raises(mom.Exists):
        queue.create()
    with pytest.raises(mom.Conflict):
        queue.create(if_missing=True)
    queue.purge()
    assert queue.info().messages_ready == 0
    queue.delete()
    with pytest.raises(mom.NotFound):
        queue.info()


def test_a_consumer_with_a_limit_ends(queue: mom.Queue) -> None:
    queue.send_many(["a", "b", "c"])
    with queue.consumer(limit=2) as consumer:
        taken = []
        for message in consumer:
            with message:
                taken.append(message.text)
        assert taken == ["a", "b"]
    with queue.consumer() as consumer:
        assert consumer.receive(WAIT).text == "c"


def test_waiting_ends_at_its_deadline_and_the_next_wait_works(queue: mom.Queue) -> None:
    with queue.consumer() as consumer:
        for _ in range(3):
            with pytest.raises(mom.Timeout):
                consumer.receive(0.05)
        threading.Timer(0.1, lambda: queue.send("late")).start()
        with consumer.receive(WAIT) as message:
            assert message.text == "late"
        with pytest.raises(mom.Empty):
            consumer.receive(0)


def test_threads_share_a_consumer(queue: mom.Queue) -> None:
    seen: List[str] = []
    with queue.consumer() as consumer:
        def work() -> None:
            for message in consumer:
                with message:
                    seen.append(message.text)
                    if len(seen) == 200:
                        done.set()

        done = threading.Event()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(200):
            queue.send(str(number))
        assert done.wait(WAIT)
        consumer.close()
        for thread in threads:
            thread.join(WAIT)
            assert not thread.is_alive()
    assert sorted(map(int, seen)) == list(range(200))


def test_topics(node: mom.Node) -> None:
    news = node.topic("news").create(retention=3600)
    news.publish("before", "sport.chess")
    sport = news.subscription("sport").create(filters=["sport.*"], start="first")
    everything = news.subscription("all").create()
    own = news.subscription("others").create(ignore_own=True)
    news.publish_many(["e4", "42", "d4"], keys=["sport.chess", "weather", "sport.chess"])
    with pytest.raises(mom.Invalid):
        news.publish_many(["a", "b"], keys=["k"])
    node.publish("news", "last", "sport.go", headers={"a": "b"})
    assert news.subscriptions() == ["all", "others", "sport"]
    with sport.consumer() as consumer:
        messages = list(consumer.messages(timeout=0.3))
    assert [message.text for message in messages] == ["before", "e4", "d4", "last"]
    assert (messages[0].stream, messages[0].subscription) == ("news", "sport")
    assert messages[-1].headers == {"a": b"b"}
    assert everything.info().messages_ready == 4
    assert own.info().messages_ready == 0 and own.info().ignore_own
    later = news.subscription("later").create(start=3)
    since = news.subscription("since").create(since=messages[0].published)
    not_yet = news.subscription("not yet").create(since=messages[-1].published + 3600)
    with later.consumer() as first, since.consumer() as second:
        assert first.receive(WAIT).sequence == 3
        assert second.receive(WAIT).sequence == 1
    assert not_yet.info().messages_ready == 0
    sport.delete()
    with pytest.raises(mom.NotSubscribed):
        sport.info()
    news.delete()
    assert node.topics() == []


def test_a_handler_decides(node: mom.Node, queue: mom.Queue,
                           caplog: pytest.LogCaptureFixture) -> None:
    seen: List[str] = []

    @queue.handler(threads=2)
    def handle(message: mom.Message) -> None:
        seen.append(message.text)
        if message.text == "reject":
            raise mom.Reject
        if message.text == "fail" and not message.redelivered:
            raise ValueError("the first time")
        if len(seen) == 4:
            node.stop()

    queue.send_many(["reject", "fail", "ok"])
    node.serve()
    assert sorted(seen) == ["fail", "fail", "ok", "reject"]
    assert "the first time" in caplog.text
    info = queue.info()
    assert (info.messages_ready, info.messages_leased, info.dead_lettered) == (0, 0, 1)


def test_a_deleted_queue_ends_its_consumers(queue: mom.Queue) -> None:
    with queue.consumer() as consumer:
        threading.Timer(0.1, queue.delete).start()
        with pytest.raises(mom.NotFound):
            consumer.receive(WAIT)
