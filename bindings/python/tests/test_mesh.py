# SPDX-License-Identifier: Apache-2.0
"""Several processes: C and Python on one mesh, and a leader that is killed."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

from conftest import WAIT, environment

import mom

STORE = """
import sys, mom
name, form, folder = sys.argv[1:]
node = mom.open(folder, name=name, form=form, listen=dict(
    item.split("=") for item in form.split(","))[name])
node.wait_ready(60)
print("ready", flush=True)
sys.stdin.read()
node.close()
"""


def test_c_and_python_on_one_mesh(tmp_path: Path, cli: Path, processes: List[Any]) -> None:
    address = f"ipc://{tmp_path}/a.sock"
    server = subprocess.Popen(
        [cli, "node", "--data", tmp_path / "a", "--name", "a", "--listen", address],
        stdout=subprocess.PIPE, text=True)
    processes.append(server)
    assert server.stdout is not None and server.stdout.readline().startswith("ready a ")

    def shell(*arguments: str, text: str = "") -> str:
        return subprocess.run([cli, *arguments, "--peer", address], input=text,
                              capture_output=True, text=True, timeout=WAIT,
                              check=True).stdout

    lines = [f"line {number}" for number in range(500)]
    with mom.open(join=address) as client:
        shell("send", "from-c", "--create", "--header", "side=c", text="\n".join(lines))
        with client.queue("from-c").consumer() as consumer:
            for line in lines:
                with consumer.receive(WAIT) as message:
                    assert message.text == line and message.headers["side"] == b"c"
        queue = client.queue("from-python").create()
        assert queue.send_many(lines).count == 500
        assert shell("receive", "from-python", "--count", "500").splitlines() == lines
        topic = client.topic("news").create()
        mine = topic.subscription("mine").create(filters="sport.#")
        shell("publish", "news", "--key", "sport.chess", "e4")
        shell("publish", "news", "--key", "weather", "42")
        topic.publish("d4", "sport.go")
        with mine.consumer() as consumer:
            texts = []
            for message in consumer.messages(timeout=1):
                with message:
                    texts.append(message.text)
        assert texts == ["e4", "d4"]
        assert shell("queue", "list").split() == ["from-c", "from-python"]


def test_a_killed_leader_loses_and_doubles_nothing(tmp_path: Path,
                                                   processes: List[Any]) -> None:
    names = ["a", "b", "c"]
    form = ",".join(f"{name}=ipc://{tmp_path}/{name}" for name in names)
    stores: Dict[str, "subprocess.Popen[str]"] = {}
    for name in names:
        stores[name] = subprocess.Popen(
            [sys.executable, "-c", STORE, name, form, str(tmp_path / f"data-{name}")],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(stores[name])
    for store in stores.values():
        assert store.stdout is not None and store.stdout.readline() == "ready\n"
    with mom.open(join=[f"ipc://{tmp_path}/{name}" for name in names]) as client:
        queue = client.queue("work").create(timeout=WAIT)
        consumer = queue.consumer(timeout=WAIT)
        sent = [str(number) for number in range(300)]
        for number in sent:
            if number == "100":
                stores[queue.info(WAIT).leader_name].kill()
            queue.send(number, timeout=WAIT)
        seen: List[str] = []
        while len(seen) < len(sent):
            message = consumer.receive(WAIT)
            if not message.redelivered:
                seen.append(message.text)
            message.ack()
        assert seen == sent
        consumer.flush(WAIT)
        assert queue.info(WAIT).messages_ready == 0
        consumer.close()
    for store in stores.values():
        if store.poll() is None:
            assert store.stdin is not None
            store.stdin.close()
            assert store.wait(WAIT) == 0
            store.stdin = None
