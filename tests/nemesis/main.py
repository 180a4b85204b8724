# SPDX-License-Identifier: Apache-2.0
"""One run of tests/nemesis.sh; see there.

A mesh of real processes works while faults from the seed come over it; then all is
healed, the queues are drained, everyone is told to end, and the checkers judge the
histories.
"""
from __future__ import annotations

import argparse
import heapq
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import faults
from faults import KINDS, Fault
from network import Namespaces, Network, NotAllowed, may_mount
from plan import make_plan
from proxy import Forwarders
from report import Result, Service, rows_of, table
from world import READY_SECONDS, STORE_DISK_BYTES, Programs, World

SETUP_SECONDS = 90.0
CALM_SECONDS = 2.0
DRAIN_SECONDS = 120.0
JUDGE_SECONDS = 300.0
# After its end a fault may still be felt: leases run out, connections are made again.
ECHO_SECONDS = 15.0
NARROW_STORES = 4  # the fewest in which a ring, or a bridge, is less than a full mesh

WORKERS: dict[str, list[str]] = {
    "p1": ["produce", "--stream", "work", "--mode", "submit", "--rate", "150"],
    "p2": ["produce", "--stream", "news", "--topic", "--mode", "many", "--rate", "80"],
    "p3": ["produce", "--stream", "small", "--mode", "send", "--rate", "60"],
    "c1": ["consume", "--stream", "work", "--mode", "flush", "--prefetch", "64"],
    "c2": ["consume", "--stream", "work", "--mode", "wait", "--prefetch", "4"],
    "c3": ["consume", "--stream", "news", "--topic", "--sub", "all", "--mode", "flush"],
    "c4": ["consume", "--stream", "news", "--topic", "--sub", "odd", "--mode", "wait"],
    "c5": ["consume", "--stream", "small", "--mode", "wait", "--prefetch", "8"],
    "n1": ["names", "--rate", "8"],
    "n2": ["names", "--rate", "8"],
}
DRAINS: dict[str, list[str]] = {
    "work": ["--stream", "work"],
    "small": ["--stream", "small"],
    "all": ["--stream", "news", "--topic", "--sub", "all"],
    "odd": ["--stream", "news", "--topic", "--sub", "odd"],
    **{f"name-{i}": ["--stream", f"name-{i}"] for i in range(3)},
    **{f"reader-{i}": ["--stream", "shelf", "--topic", "--sub", f"reader-{i}"]
       for i in range(3)},
}
DEAD_DRAINS: dict[str, list[str]] = {
    "dead-work": ["--stream", "$dead/queue/work"],
    "dead-small": ["--stream", "$dead/queue/small"],
    "dead-all": ["--stream", "$dead/topic/news/all"],
    "dead-odd": ["--stream", "$dead/topic/news/odd"],
}


def options_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/nemesis.sh", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of faults (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", type=int, help="3 to 5; else drawn from the seed")
    parser.add_argument("--faults", default="", help="kinds with commas; else all")
    parser.add_argument("--form", choices=["namespaces", "forwarders"],
                        help="of the network; else namespaces, if they are allowed")
    parser.add_argument("--quiet", action="store_true", help="does not tell each fault")
    parser.add_argument("--result", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--list", action="store_true", help="the kinds of faults")
    parser.add_argument("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--room", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--prefix", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    unknown = {kind for kind in options.faults.split(",") if kind} - KINDS.keys()
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; try --list")
    return options


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.room: Path = options.room
        random = Random(f"run {options.seed}")
        count = random.choice([3, 3, 4, 5])
        shards = random.choice([2, 4, 16])
        self.store_names = list("abcde")[:options.stores or count]
        self.shards = shards
        build = options.bin.resolve().parent
        self.programs = Programs(
            options.bin.resolve() / "mom", build / "tests/nemesis/nemesis-worker",
            build / "tests/nemesis/nemesis-switch",
            build / "tests/nemesis/nemesis-slow.so")
        self.judge_program = options.bin.resolve() / "mom-check"
        self.not_run: dict[str, str] = {}
        self.told: set[int] = set()
        self.echoes: list[Fault] = []
        self.mounted: list[Path] = []
        self.network = self._network()
        self.world = World(self.programs, self.network, self.room, options.seed,
                           shards)
        self.world.is_loud = not options.quiet

    def _network(self) -> Network:
        members = [*self.store_names, *WORKERS, "watch"]
        if self.options.form != "forwarders":
            try:
                return Namespaces(members, self.options.prefix, str(self.programs.switch),
                                  self.options.seed)
            except NotAllowed as reason:
                if self.options.form == "namespaces":
                    raise
                print(f"no network namespaces: {reason}; forwarders instead")
        return Forwarders(members, self.store_names, self.options.seed)

    # --- what can be done here ----------------------------------------------------------

    def disk(self, name: str) -> Path:
        """A small file system of its own, if that is allowed."""
        path: Path = self.room / f"disk-{name}"
        path.mkdir()
        if faults.FILLING[0] in self.not_run:
            return path
        problem = may_mount()
        if not problem:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={STORE_DISK_BYTES}", "none",
                 str(path)], capture_output=True, text=True, check=False)
            problem = done.stderr.strip() if done.returncode != 0 else ""
        if problem:
            self.not_run.update(dict.fromkeys(faults.FILLING, problem))
        else:
            self.mounted.append(path)
        return path

    def kinds(self) -> list[str]:
        """Those that can be done; the others are noted with the reason."""
        wanted = [kind for kind in self.options.faults.split(",") if kind] or \
            [name for name, kind in KINDS.items() if kind.is_survived]
        self.not_run.update(self.network.cannot)
        if isinstance(self.network, Namespaces):
            self.not_run["drop"] = "packets are lost instead, by the fault loss"
            for kind, probe in (("tc_netem", faults.NETEM_PROBE),
                                ("tc_narrow", faults.NARROW_PROBE)):
                problem = self.network.shape("watch", *probe)
                if problem:
                    self.not_run[kind] = f"tc {probe[0]}: {problem}"
                else:
                    self.network.shape("watch")
        if len(self.store_names) < NARROW_STORES:
            self.not_run["cut_ring"] = f"in a ring of {len(self.store_names)} stores " \
                "everyone has all others as neighbours"
        self.not_run = {kind: self.not_run[kind] for kind in KINDS if kind in self.not_run
                        and kind in wanted}
        return [kind for kind in wanted if kind not in self.not_run]

    # --- the run ------------------------------------------------------------------------

    def form_mesh(self) -> bool:
        for store in self.world.stores.values():
            self.world.start(store)
        if not self.wait_ready():
            return False
        if not self.world.run_worker("watch", SETUP_SECONDS, "setup"):
            return False
        self.world.add_worker("watch", "watch")
        for name, argv in WORKERS.items():
            self.world.add_worker(name, *argv)
        return True

    def wait_ready(self) -> bool:
        stores = self.world.stores.values()
        if self.world.wait_for(READY_SECONDS, lambda: all(
                self.world.is_ready(store) for store in stores)):
            return True
        missing = [store.name for store in stores if not self.world.is_ready(store)]
        for store in stores:
            if store.process is not None:
                self.world.tell_stacks(store.process)
        self.world.violation(f"not ready {READY_SECONDS:.0f} s after everything was "
                             f"well: {' '.join(missing)}")
        return False

    def harm(self, plan: list[Fault]) -> None:
        """Carries out the plan: a queue of moments, each with what goes on then."""
        order = itertools.count()
        queue: list[tuple[float, int, Fault, Iterator[float] | None]] = [
            (fault.at, next(order), fault, KINDS[fault.kind].run(self.world, fault))
            for fault in plan]
        heapq.heapify(queue)
        begin = self.world.now()
        while any(steps is not None for _, _, _, steps in queue):
            at, _, fault, steps = heapq.heappop(queue)
            self.world.wait_until(begin + at)
            if steps is None:
                self.world.record("done", "fault", op=fault.number)
                continue
            if fault.begin_ns == 0:
                fault.begin_ns = time.monotonic_ns()
            lasts = next(steps, None)
            if lasts is not None:
                self.begun(fault)
                heapq.heappush(queue, (self.world.now() - begin + lasts, next(order),
                                       fault, steps))
                continue
            fault.end_ns = time.monotonic_ns()
            self.world.say(f"   ends {fault.kind} {fault.what}")
            heapq.heappush(queue, (self.world.now() - begin + ECHO_SECONDS, next(order),
                                   fault, None))
        self.echoes = [fault for _, _, fault, _ in queue]

    def begun(self, fault: Fault) -> None:
        if fault.number not in self.told:
            self.told.add(fault.number)
            self.world.record("call", "fault", op=fault.number,
                              what=f"{fault.kind} {fault.what}")
            self.world.say(f"{fault.kind} {fault.what} for {fault.seconds:.1f} s")

    def heal(self) -> bool:
        world = self.world
        world.links.heal()
        for worker in world.workers.values():
            if worker.process is not None and worker.process.is_alive:
                worker.process.popen.send_signal(signal.SIGCONT)
        for store in world.stores.values():
            store.ballast.unlink(missing_ok=True)
            world.make_slow(store, 0)
            world.signal_store(store, signal.SIGCONT)
            world.start(store)
        return self.wait_ready()

    def drain(self) -> None:
        world = self.world
        for role in ("produce", "names", "consume"):
            world.stop_workers(
                [name for name, argv in WORKERS.items() if argv[0] == role])
        for drains in (DRAINS, DEAD_DRAINS):
            for name, argv in drains.items():
                world.run_worker("watch", DRAIN_SECONDS, "drain", "--mode", "flush",
                                 "--prefetch", "256", *argv)
                world.say(f"drained {name}")
        for fault in self.echoes:
            world.record("done", "fault", op=fault.number)
        world.stop_workers(["watch"])
        for store in world.stores.values():
            world.stop_store(store)

    def judge(self) -> None:
        histories = sorted(self.room.glob("history-*"))
        if not self.judge_program.exists():
            self.world.violation("there is no mom-check to judge the histories")
            return
        try:
            done = subprocess.run([str(self.judge_program), *map(str, histories)],
                                  capture_output=True, text=True, check=False,
                                  timeout=JUDGE_SECONDS)
        except subprocess.TimeoutExpired:
            self.world.violation("the checkers do not end")
            return
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        if done.returncode != 0:
            self.world.violation(f"the checkers end with status {done.returncode}")

    def run(self) -> list[str]:
        for name in self.store_names:
            self.world.add_store(name, self.disk(name))
        kinds = self.kinds()
        plan = make_plan(self.options.seed, self.options.seconds, kinds)
        print(f"nemesis: seed {self.options.seed}, {self.options.seconds:.0f} s, "
              f"{len(self.store_names)} stores, {self.shards} shards, "
              f"{self.network.form}, {len(plan)} faults of {len(kinds)} kinds")
        if self.form_mesh():
            self.harm(plan)
            if self.heal():
                self.world.wait_for(CALM_SECONDS, lambda: False)
                self.drain()
            print(f"network: {self.network.counts()}")
            self.judge()
            service = Service.read(self.room.glob("history-*"))
            rows = rows_of(plan, service)
            print(table(rows, self.not_run))
            print(f"publishes: {service.results}; "
                  f"deliveries: {len(service.delivered_ns)}")
            if self.options.result is not None:
                Result(self.options.seed, len(self.store_names), self.network.form,
                       len(plan), service.results, len(service.delivered_ns),
                       self.world.violations, self.not_run, rows).save(
                           self.options.result)
        return self.world.violations

    def close(self) -> None:
        self.world.close()
        self.network.close()
        for path in self.mounted:
            subprocess.run(["umount", str(path)], check=True)


def main() -> int:
    if "--list" in sys.argv:
        for name, kind in KINDS.items():
            print(f"{name:15} {kind.says}")
        return 0
    options = options_of(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(options)
    try:
        violations = run.run()
    finally:
        run.close()
    print(f"nemesis: seed {options.seed}: {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
