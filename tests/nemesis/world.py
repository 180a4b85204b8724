# SPDX-License-Identifier: Apache-2.0
"""The processes of a run: stores, workers, and what they say.

Everything is started with a parent-death signal, so that nothing outlives the run. Time
passes in `World.wait_until` only: it reads what the processes print and notices their
ends. An end that nobody asked for is a violation.
"""
from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from network import Links, Network

STEP_SECONDS = 0.1
RESTART_SECONDS = 1.0
READY_SECONDS = 60.0
STOP_SECONDS = 90.0
STORE_DISK_BYTES = 256 << 20
STATUS_IO = 16
STREAMS = ("work", "small", "news")
OWN_PROCESS = 1


@dataclass(frozen=True)
class Programs:
    mom: Path
    worker: Path
    switch: Path
    slow: Path


@dataclass
class Process:
    """A running program; `name` is the member that it is."""

    name: str
    popen: subprocess.Popen[bytes]
    number: int = 0
    text: bytes = b""
    lines: list[str] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None


@dataclass
class Store:
    name: str
    disk: Path
    process: Process | None = None
    # Faults that may end it, or keep it from starting, just now.
    excuses: set[int] = field(default_factory=set)
    restart_at: float | None = None
    ends: list[str] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.is_alive

    @property
    def ballast(self) -> Path:
        return self.disk / "ballast"


@dataclass
class Worker:
    """A place for a worker: one process after the other works there."""

    name: str
    argv: list[str]
    process: Process | None = None


class World:
    def __init__(self, programs: Programs, network: Network, room: Path, seed: int,
                 shards: int) -> None:
        self.programs = programs
        self.network = network
        self.links = Links(network)
        self.room = room
        self.random = Random(f"world {seed}")
        self.shards = shards
        self.stores: dict[str, Store] = {}
        self.workers: dict[str, Worker] = {}
        self.leaders: dict[str, str] = {}
        self.violations: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.processes_count = OWN_PROCESS
        self.history = open(room / "history-1", "ab", buffering=0)
        self.begin = time.monotonic()
        self.is_loud = False

    # --- words --------------------------------------------------------------------------

    def now(self) -> float:
        return time.monotonic() - self.begin

    def say(self, text: str) -> None:
        if self.is_loud:
            print(f"{self.now():7.1f}  {text}", flush=True)

    def violation(self, text: str) -> None:
        self.violations.append(f"at {self.now():.1f} s: {text}")
        print(f"VIOLATION at {self.now():.1f} s: {text}", flush=True)

    def record(self, phase: str, kind: str, **fields: object) -> None:
        words = " ".join(f"{name}={str(value).replace('%', '%25').replace(' ', '%20')}"
                         for name, value in fields.items())
        line = f"{time.monotonic_ns()} {OWN_PROCESS} {phase} {kind} {words}\n"
        self.history.write(line.encode())

    # --- processes ----------------------------------------------------------------------

    def _spawn(self, member: str, argv: list[str], log: str,
               environment: dict[str, str] | None = None) -> Process:
        with open(self.room / log, "ab", buffering=0) as errors:
            popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--",
                 *self.network.command(member, argv)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True,  # an interrupt at the keyboard is ours alone
                env={**os.environ, **(environment or {})})
        assert popen.stdout is not None
        os.set_blocking(popen.stdout.fileno(), False)
        process = Process(member, popen)
        self.selector.register(popen.stdout, selectors.EVENT_READ, process)
        self.network.started(member, popen.pid)
        return process

    def _forget(self, process: Process) -> None:
        assert process.popen.stdout is not None
        self._read(process)
        self.selector.unregister(process.popen.stdout)
        process.popen.stdout.close()

    def _read(self, process: Process) -> None:
        assert process.popen.stdout is not None
        while chunk := process.popen.stdout.read(4096):
            process.text += chunk
        *lines, process.text = process.text.split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split()
            process.lines.append(" ".join(words))
            if len(words) == 3 and words[0] == "leader":
                self.leaders[words[1]] = words[2]

    def wait_until(self, at: float, condition: Callable[[], bool] | None = None) -> bool:
        """Until the time comes, or the condition holds; whether it does."""
        while True:
            self._look()
            if condition is not None and condition():
                return True
            left = at - self.now()
            if left <= 0:
                return False
            for key, _ in self.selector.select(min(left, STEP_SECONDS)):
                process: Process = key.data
                if process.is_alive:
                    self._read(process)

    def wait_for(self, seconds: float, condition: Callable[[], bool]) -> bool:
        return self.wait_until(self.now() + seconds, condition)

    def _look(self) -> None:
        """Notices who has ended without being asked to."""
        for store in self.stores.values():
            if store.process is not None and not store.process.is_alive:
                status = store.process.popen.returncode
                self._forget(store.process)
                store.process = None
                store.ends.append(f"{self.now():.1f} s: status {status}")
                if store.excuses and status == STATUS_IO:
                    self.say(f"{store.name} has ended: its disk")
                else:
                    self.violation(f"store {store.name} ended by itself, {_how(status)}")
                store.restart_at = self.now() + RESTART_SECONDS
            if store.restart_at is not None and self.now() >= store.restart_at:
                self.start(store)
        for worker in self.workers.values():
            if worker.process is not None and not worker.process.is_alive:
                status = worker.process.popen.returncode
                self._forget(worker.process)
                worker.process = None
                self.violation(f"worker {worker.name} ended by itself, {_how(status)}")
                self.start_worker(worker)

    def _ends(self, process: Process, seconds: float) -> bool:
        is_over = self.wait_for(seconds, lambda: not process.is_alive)
        if not is_over:
            self.tell_stacks(process)
        return is_over

    def tell_stacks(self, process: Process) -> None:
        """What its threads are doing goes to the room, where there is a debugger."""
        if shutil.which("gdb") is None or not process.is_alive:
            return
        name = f"stacks-{process.name}-{process.popen.pid}.txt"
        with open(self.room / name, "wb") as out:
            subprocess.run(
                ["gdb", "-p", str(process.popen.pid), "-batch", "-ex",
                 "thread apply all backtrace"], stdout=out, stderr=subprocess.DEVNULL,
                timeout=READY_SECONDS, check=False)

    # --- stores -------------------------------------------------------------------------

    def add_store(self, name: str, disk: Path) -> None:
        (self.room / f"slow-{name}").write_bytes(bytes(4))
        self.stores[name] = Store(name, disk)

    def start(self, store: Store) -> None:
        store.restart_at = None
        if store.is_alive:
            return
        form = ",".join(f"{name}={self.network.address(name)}" for name in self.stores)
        store.process = self._spawn(store.name, [
            str(self.programs.mom), "node", "--name", store.name,
            "--data", str(store.disk / "data"),
            "--listen", self.network.listen(store.name),
            "--advertise", self.network.address(store.name), "--form", form,
            "--shards", str(self.shards)], f"store-{store.name}.log",
            {"LD_PRELOAD": str(self.programs.slow),
             "NEMESIS_SLOW": str(self.room / f"slow-{store.name}")})

    def kill(self, store: Store) -> None:
        self._look()
        store.restart_at = None
        if store.process is not None:
            if store.is_alive:
                store.process.popen.kill()
            store.process.popen.wait()
            self._forget(store.process)
            store.process = None

    def stop_store(self, store: Store) -> None:
        """Asks for an orderly end; must come soon and well."""
        self._look()
        store.restart_at = None
        if store.process is None:
            return
        self._read(store.process)
        was_ready = self.is_ready(store)
        process, store.process = store.process, None
        process.popen.send_signal(signal.SIGCONT)
        process.popen.terminate()
        if not self._ends(process, STOP_SECONDS):
            self.violation(f"store {store.name} does not end")
            process.popen.kill()
        status = process.popen.wait()
        self._forget(process)
        # Before it serves it may not have come to catching signals.
        is_fine = status == 0 or (status == STATUS_IO and bool(store.excuses)) or \
            (status == -signal.SIGTERM and not was_ready)
        if not is_fine:
            self.violation(f"store {store.name}, told to stop, ended {_how(status)}")

    def signal_store(self, store: Store, number: signal.Signals) -> None:
        if store.process is not None and store.is_alive:
            store.process.popen.send_signal(number)

    def is_ready(self, store: Store) -> bool:
        return store.process is not None and any(
            line.startswith("ready ") for line in store.process.lines)

    def leader(self, draw: Random) -> Store:
        """Who leads one of the streams; anyone, if nobody knows."""
        stream = draw.choice(STREAMS)
        anyone = draw.choice(list(self.stores))
        return self.stores.get(self.leaders.get(stream, ""), self.stores[anyone])

    def make_slow(self, store: Store, milliseconds: int) -> None:
        with open(self.room / f"slow-{store.name}", "r+b") as file:
            file.write(milliseconds.to_bytes(4, "little"))

    # --- workers ------------------------------------------------------------------------

    def start_worker(self, worker: Worker) -> Process:
        self.processes_count += 1
        number = self.processes_count
        peers = ",".join(self.network.address(name) for name in self.stores)
        worker.process = self._spawn(worker.name, [
            str(self.programs.worker), *worker.argv, "--peers", peers,
            "--history", str(self.room / f"history-{number}"), "--process", str(number),
            "--seed", str(self.random.getrandbits(48))], f"worker-{worker.name}.log")
        worker.process.number = number
        return worker.process

    def add_worker(self, name: str, *argv: str) -> Worker:
        worker = self.workers[name] = Worker(name, list(argv))
        self.start_worker(worker)
        return worker

    def kill_worker(self, worker: Worker) -> None:
        self._look()
        if worker.process is not None:
            process, worker.process = worker.process, None
            process.popen.kill()
            process.popen.wait()
            self._forget(process)
            self.record("saw", "death", of=process.number)

    def stop_workers(self, names: list[str]) -> None:
        """Asks them all for an orderly end at once; they are no workers any more."""
        ending = [self.workers.pop(name) for name in names]
        for worker in ending:
            if worker.process is not None:
                worker.process.popen.terminate()
        for worker in ending:
            self.finish(worker, STOP_SECONDS)

    def finish(self, worker: Worker, seconds: float) -> bool:
        """Waits for the end of a worker that ends by itself or was told to."""
        if worker.process is None:
            return False
        process, worker.process = worker.process, None
        is_over = self._ends(process, seconds)
        if not is_over:
            self.violation(f"worker {worker.name} (process {process.number}: "
                           f"{' '.join(worker.argv)}) does not end")
            process.popen.kill()
            process.popen.wait()
            self.record("saw", "death", of=process.number)
        elif process.popen.returncode != 0:
            self.violation(f"worker {worker.name} (process {process.number}: "
                           f"{' '.join(worker.argv)}) {_how(process.popen.returncode)}")
        self._forget(process)
        return is_over and process.popen.returncode == 0

    def run_worker(self, name: str, seconds: float, *argv: str) -> bool:
        """Runs one to its end."""
        worker = Worker(name, list(argv))
        self.start_worker(worker)
        return self.finish(worker, seconds)

    def close(self) -> None:
        for worker in self.workers.values():
            self.kill_worker(worker)
        for store in self.stores.values():
            self.kill(store)
        self.history.close()
        self.selector.close()


def _how(status: int) -> str:
    if status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"
