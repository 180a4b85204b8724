# SPDX-License-Identifier: Apache-2.0
"""Nodes: opening, what they say, closing."""
from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import List

import pytest
from conftest import WAIT

import mom


def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    with mom.open(tmp_path / "data") as node:
        assert node.is_durable
        receipt = node.send("jobs", "one", create=True)
        assert (receipt.sequence, receipt.copies, receipt.count) == (1, 1, 1)
    with mom.open(tmp_path / "data") as node:
        with node.queue("jobs").consumer() as consumer:
            with consumer.receive(WAIT) as message:
                assert message.text == "one"


def test_a_directory_belongs_to_one_node(tmp_path: Path) -> None:
    with mom.open(tmp_path / "data"):
        with pytest.raises(mom.Conflict) as caught:
            mom.open(tmp_path / "data")
    assert caught.value.code == 10
    assert "advice" in dir(caught.value) and caught.value.advice


def test_options_are_named_when_they_do_not_fit() -> None:
    for options, what in (({"shards": 1000}, "shards"), ({"colour": "red"}, "colour"),
                          ({"listen": "udp://x:1"}, "listen"), ({"name": "a\0b"}, "name")):
        with pytest.raises(mom.Invalid, match=what):
            mom.open(memory=True, **options)


def test_it_describes_itself_and_the_mesh(node: mom.Node) -> None:
    node.wait_ready(WAIT)
    status = node.status()
    assert status.node == node.id and status.is_ready and not status.is_durable
    assert len(status.mesh_id) == 32 and status.shards_count == 16
    assert [(one.id, one.name, one.is_self) for one in status.nodes] == [
        (node.id, node.name, True)]
    assert len(status.shards) == 17 and status.shards[3].leader == node.id
    metrics = node.metrics()
    assert "turns_count" in metrics and len(metrics) > 30
    assert node.name in repr(node) and "closed" not in repr(node)


def test_lists_are_whole_and_sorted(node: mom.Node) -> None:
    assert node.queues() == []
    for name in ("b", "a", "c"):
        node.queue(name).create()
        node.topic(name + "t").create()
    assert node.queues() == ["a", "b", "c"]
    assert node.topics(own=True) == ["at", "bt", "ct"]


def test_closing_twice_is_fine_and_calls_after_it_are_closed(node: mom.Node) -> None:
    queue = node.queue("q").create()
    node.close()
    node.close()
    assert node.is_closed and "closed" in repr(node)
    for call in (lambda: queue.send("x"), lambda: queue.info(), lambda: node.queues(),
                 lambda: node.metrics(), lambda: queue.consumer(),
                 lambda: node.wait_ready()):
        with pytest.raises(mom.Closed):
            call()


def test_log_lines_come_to_a_function_and_a_logger(
        caplog: pytest.LogCaptureFixture) -> None:
    lines: List[str] = []
    with mom.open(memory=True, log_level="debug",
                  log=lambda level, ident, group, text: lines.append(ident)) as node:
        node.wait_ready(WAIT)
    assert any(line.startswith("MOM-") for line in lines)
    with caplog.at_level(logging.DEBUG, logger="mom.node"):
        with mom.open(memory=True, log_level="debug", log=logging.getLogger("mom.node")) as node:
            node.wait_ready(WAIT)
    assert "MOM-" in caplog.text


def test_timeouts_are_checked(node: mom.Node) -> None:
    queue = node.queue("q").create()
    for wrong in (-1, float("nan")):
        with pytest.raises(mom.Invalid):
            queue.send("x", timeout=wrong)
    with pytest.raises(mom.Invalid):  # a command needs time
        queue.send("x", timeout=0)


def test_threads_share_a_node(node: mom.Node) -> None:
    queue = node.queue("q").create()

    def send(first: int) -> None:
        for number in range(50):
            queue.send(f"{first}-{number}")

    threads = [threading.Thread(target=send, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    with queue.consumer() as consumer:
        bodies = []
        while len(bodies) < 400:
            with consumer.receive_many(100, WAIT) as batch:
                bodies += [message.text for message in batch]
    assert len(bodies) == 400
    for first in range(8):  # each in its order
        assert [body for body in bodies if body.startswith(f"{first}-")] == [
            f"{first}-{number}" for number in range(50)]
