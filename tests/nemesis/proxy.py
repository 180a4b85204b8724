# SPDX-License-Identifier: Apache-2.0
"""TCP forwarders in front of the stores, for machines without network namespaces.

A store listens on a port of its own and advertises that of its forwarder. The forwarder
finds out which member has dialled it (by the owner of the socket, from /proc), so that
each ordered pair of members has its own link, as in the other form. A cut holds bytes and
closings back until it is healed; a loss closes the connection, since a byte stream with a
hole is none. One thread of its own runs all forwarders.
"""
from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from collections.abc import Coroutine

from network import GOOD, Link, Pair

CHUNK_BYTES = 65536
DIAL_SECONDS = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Forwarders:
    form = "forwarders"

    def __init__(self, members: list[str], stores: list[str], seed: int) -> None:
        reason = "needs network namespaces"
        self.cannot = {"tc_netem": reason, "tc_narrow": reason,
                       "loss": "a byte stream cannot lose packets; drop runs instead"}
        self.random = random.Random(seed)
        self.links: dict[Pair, Link] = {}
        self.pids: dict[int, str] = {}
        self.inner = {name: free_port() for name in stores}
        self.outer: dict[str, int] = {}
        self.members = members
        self.totals = {"carried": 0, "held": 0, "dropped": 0, "delayed": 0, "unknown": 0}
        self.tasks: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        self.changed = asyncio.Event()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._do(self._open(stores))

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(DIAL_SECONDS)

    async def _open(self, stores: list[str]) -> None:
        self.servers = []
        for name in stores:
            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                             store: str = name) -> None:
                await self._connection(store, reader, writer)
            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            self.servers.append(server)
            self.outer[name] = server.sockets[0].getsockname()[1]

    def listen(self, store: str) -> str:
        return f"tcp://127.0.0.1:{self.inner[store]}"

    def address(self, store: str) -> str:
        return f"tcp://127.0.0.1:{self.outer[store]}"

    def command(self, member: str, argv: list[str]) -> list[str]:
        return argv

    def started(self, member: str, pid: int) -> None:
        self.pids[pid] = member

    def set_link(self, pair: Pair, link: Link) -> None:
        async def change() -> None:
            self.links[pair] = link
            self.changed.set()
            self.changed = asyncio.Event()
        self._do(change())

    def counts(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self.totals.items())

    def close(self) -> None:
        async def end() -> None:
            for server in self.servers:
                server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        self._do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def _dialler(self, port: int) -> str:
        """The member that owns the socket with this local port."""
        wanted = f"0100007F:{port:04X}"
        with open("/proc/net/tcp", encoding="ascii") as table:
            inodes = [row.split()[9] for row in table if row.split()[1] == wanted]
        links = {f"socket:[{inode}]" for inode in inodes if inode != "0"}
        for pid, member in list(self.pids.items()):
            try:
                for number in os.listdir(f"/proc/{pid}/fd"):
                    if os.readlink(f"/proc/{pid}/fd/{number}") in links:
                        return member
            except OSError:
                continue
        self.totals["unknown"] += 1
        return "?"

    async def _connection(self, store: str, reader: asyncio.StreamReader,
                          writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        dialler = self._dialler(writer.get_extra_info("peername")[1])
        ends = [writer]
        try:
            await self._until_whole((dialler, store))
            answers, inner = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", self.inner[store]), DIAL_SECONDS)
            ends.append(inner)
            pumps = {asyncio.create_task(self._pump((dialler, store), reader, inner)),
                     asyncio.create_task(self._pump((store, dialler), answers, writer))}
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
            pass
        finally:
            for end in ends:
                end.close()
            self.tasks.discard(task)

    async def _until_whole(self, pair: Pair) -> None:
        while self.links.get(pair, GOOD).is_cut:
            self.totals["held"] += 1
            await self.changed.wait()

    async def _pump(self, pair: Pair, reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter) -> None:
        """Returns when the connection has ended, or is to end."""
        while True:
            data = await reader.read(CHUNK_BYTES)
            await self._until_whole(pair)
            if not data:
                return
            link = self.links.get(pair, GOOD)
            if self.random.randrange(1000) < link.loss_permille:
                self.totals["dropped"] += 1
                return
            if link.delay_ms or link.jitter_ms:
                self.totals["delayed"] += 1
                await asyncio.sleep(
                    (link.delay_ms + self.random.randrange(link.jitter_ms + 1)) / 1000)
            self.totals["carried"] += 1
            writer.write(data)
            await writer.drain()
