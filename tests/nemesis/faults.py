# SPDX-License-Identifier: Apache-2.0
"""The faults: what each does, in the order in which it does it.

A fault is a generator. It does harm, yields for how many seconds it lasts, and undoes
the harm when it is resumed. It draws from its own random numbers, so that a seed draws
the same faults whatever the machine does meanwhile; only who leads is asked at the moment
itself.
"""
from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from network import CUT, Link, Namespaces, Pair
from world import Store, World

LOW_SPACE_PERCENT = 1
CHUNK_BYTES = 1 << 20


@dataclass
class Fault:
    """One occasion of a kind."""

    number: int
    kind: str
    at: float
    seconds: float
    draw: Random
    what: str = ""
    begin_ns: int = 0
    end_ns: int = 0


Steps = Iterator[float]
Run = Callable[[World, Fault], Steps]


@dataclass(frozen=True)
class Kind:
    run: Run
    seconds: tuple[float, float]
    says: str
    is_survived: bool  # those that are not come only when they are asked for by name


KINDS: dict[str, Kind] = {}


def kind(shortest: float, longest: float, is_survived: bool = True
         ) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        KINDS[run.__name__] = Kind(run, (shortest, longest), (run.__doc__ or "").strip(),
                                   is_survived)
        return run
    return add


def _leader_or_other(world: World, fault: Fault) -> Store:
    leader = world.leader(fault.draw)
    other = world.stores[fault.draw.choice(list(world.stores))]
    return leader if fault.draw.random() < 0.5 else other


def _some(world: World, fault: Fault) -> list[Store]:
    """Mostly one store, sometimes all."""
    one = _leader_or_other(world, fault)
    return list(world.stores.values()) if fault.draw.random() < 0.2 else [one]


def _names(stores: list[Store]) -> str:
    return " ".join(store.name for store in stores)


# --- processes --------------------------------------------------------------------------

@kind(0.2, 6.0)
def kill_leader(world: World, fault: Fault) -> Steps:
    """kill -9 of a store that leads a stream"""
    store = world.leader(fault.draw)
    fault.what = store.name
    world.kill(store)
    yield fault.seconds
    world.start(store)


@kind(0.2, 6.0)
def kill_random(world: World, fault: Fault) -> Steps:
    """kill -9 of any store"""
    store = world.stores[fault.draw.choice(list(world.stores))]
    fault.what = store.name
    world.kill(store)
    yield fault.seconds
    world.start(store)


@kind(0.1, 3.0)
def kill_all(world: World, fault: Fault) -> Steps:
    """kill -9 of all stores, started again in another order"""
    stores = list(world.stores.values())
    fault.draw.shuffle(stores)
    fault.what = _names(stores)
    for store in stores:
        world.kill(store)
    yield fault.seconds
    for store in stores:
        world.start(store)
        yield fault.draw.uniform(0, 0.5)


@kind(0.5, 3.0)
def kill_again(world: World, fault: Fault) -> Steps:
    """kill -9 of a store, and of the same while it starts"""
    store = _leader_or_other(world, fault)
    fault.what = store.name
    times = fault.draw.randint(2, 5)
    for _ in range(times):
        world.kill(store)
        yield fault.seconds / (2 * times)
        world.start(store)
        yield fault.draw.uniform(0, fault.seconds / times)


@kind(0.2, 6.0)
def restart(world: World, fault: Fault) -> Steps:
    """a store leaves in order and returns"""
    store = _leader_or_other(world, fault)
    fault.what = store.name
    world.stop_store(store)
    yield fault.seconds
    world.start(store)


@kind(0.4, 6.0)
def pause_leader(world: World, fault: Fault) -> Steps:
    """SIGSTOP of a store that leads a stream, then SIGCONT"""
    yield from _pause(world, fault, world.leader(fault.draw))


@kind(0.4, 6.0)
def pause_random(world: World, fault: Fault) -> Steps:
    """SIGSTOP of any store, then SIGCONT"""
    yield from _pause(world, fault, world.stores[fault.draw.choice(list(world.stores))])


def _pause(world: World, fault: Fault, store: Store) -> Steps:
    fault.what = store.name
    world.signal_store(store, signal.SIGSTOP)
    yield fault.seconds
    world.signal_store(store, signal.SIGCONT)


@kind(0.0, 2.0)
def churn_client(world: World, fault: Fault) -> Steps:
    """kill -9 of a producer or consumer; another one takes its place"""
    names = [name for name in world.workers if name != "watch"]
    worker = world.workers[fault.draw.choice(names)]
    fault.what = worker.name
    world.kill_worker(worker)
    yield fault.seconds
    if worker.process is None:
        world.start_worker(worker)


@kind(0.4, 8.0)
def pause_client(world: World, fault: Fault) -> Steps:
    """SIGSTOP of a producer or consumer, then SIGCONT"""
    names = [name for name in world.workers if name != "watch"]
    worker = world.workers[fault.draw.choice(names)]
    fault.what = worker.name
    process = worker.process
    if process is not None and process.is_alive:
        process.popen.send_signal(signal.SIGSTOP)
    yield fault.seconds
    if process is not None and process.is_alive:
        process.popen.send_signal(signal.SIGCONT)


# --- the network ------------------------------------------------------------------------

def _between(some: list[str], others: list[str], link: Link) -> dict[Pair, Link]:
    """Both ways."""
    pairs = [(one, other) for one in some for other in others if one != other]
    return {pair: link for one, other in pairs for pair in ((one, other), (other, one))}


def _members(world: World) -> list[str]:
    return [*world.stores, *(name for name in world.workers if name != "watch")]


def _linked(world: World, fault: Fault, links: dict[Pair, Link]) -> Steps:
    world.links.put(fault.number, links)
    yield fault.seconds
    world.links.drop(fault.number)


@kind(0.5, 8.0)
def cut_one(world: World, fault: Fault) -> Steps:
    """one store is cut off from all others"""
    store = _leader_or_other(world, fault).name
    fault.what = store
    others = [name for name in _members(world) if name != store]
    yield from _linked(world, fault, _between([store], others, CUT))


@kind(0.5, 8.0)
def cut_halves(world: World, fault: Fault) -> Steps:
    """the mesh in two parts, clients on either side"""
    stores = list(world.stores)
    fault.draw.shuffle(stores)
    some = stores[:fault.draw.randint(1, len(stores) // 2)]
    some += [name for name in _members(world)
             if name not in world.stores and fault.draw.random() < 0.5]
    others = [name for name in _members(world) if name not in some]
    fault.what = f"{' '.join(some)} | {' '.join(others)}"
    yield from _linked(world, fault, _between(some, others, CUT))


@kind(0.5, 8.0)
def cut_one_way(world: World, fault: Fault) -> Steps:
    """nothing that a store sends arrives, or nothing arrives at it"""
    store = _leader_or_other(world, fault).name
    is_mute = fault.draw.random() < 0.5
    fault.what = f"{'from' if is_mute else 'to'} {store}"
    yield from _linked(world, fault, {
        (store, name) if is_mute else (name, store): CUT
        for name in _members(world) if name != store})


@kind(0.5, 8.0)
def cut_ring(world: World, fault: Fault) -> Steps:
    """each store reaches its two neighbours only"""
    stores = list(world.stores)
    fault.draw.shuffle(stores)
    fault.what = " ".join(stores)
    links: dict[Pair, Link] = {}
    for place, one in enumerate(stores):
        for other_place, other in enumerate(stores):
            if (place - other_place) % len(stores) not in (0, 1, len(stores) - 1):
                links[(one, other)] = CUT
    yield from _linked(world, fault, links)


@kind(0.5, 8.0)
def cut_bridge(world: World, fault: Fault) -> Steps:
    """two halves of the stores reach each other over one store only"""
    stores = list(world.stores)
    fault.draw.shuffle(stores)
    bridge, *rest = stores
    some, others = rest[:len(rest) // 2], rest[len(rest) // 2:]
    fault.what = f"{' '.join(some)} | {bridge} | {' '.join(others)}"
    yield from _linked(world, fault, _between(some, others, CUT))


@kind(1.0, 12.0)
def cut_client(world: World, fault: Fault) -> Steps:
    """a client is cut off from some stores, or from all"""
    client = fault.draw.choice([name for name in _members(world)
                                if name not in world.stores])
    stores = [world.leader(fault.draw).name] if fault.draw.random() < 0.6 else \
        list(world.stores)
    fault.what = f"{client} | {' '.join(stores)}"
    yield from _linked(world, fault, _between([client], stores, CUT))


@kind(1.0, 6.0)
def cut_flapping(world: World, fault: Fault) -> Steps:
    """a store is cut off and back again several times a second"""
    store = _leader_or_other(world, fault).name
    others = [name for name in _members(world) if name != store]
    fault.what = store
    left = fault.seconds
    while left > 0:
        world.links.put(fault.number, _between([store], others, CUT))
        down = fault.draw.uniform(0.05, 0.4)
        yield down
        world.links.drop(fault.number)
        up = fault.draw.uniform(0.05, 0.6)
        yield up
        left -= down + up


def _everywhere_or_one(world: World, fault: Fault, link: Link) -> Steps:
    members = _members(world)
    if fault.draw.random() < 0.5:
        fault.what = f"all {link}"
        yield from _linked(world, fault, _between(members, members, link))
    else:
        store = _leader_or_other(world, fault).name
        fault.what = f"{store} {link}"
        yield from _linked(world, fault, _between([store], members, link))


@kind(2.0, 10.0)
def delay(world: World, fault: Fault) -> Steps:
    """packets take longer, and overtake each other"""
    late = fault.draw.choice([5, 20, 60, 150])
    yield from _everywhere_or_one(world, fault, Link(
        delay_ms=late, jitter_ms=fault.draw.choice([0, late])))


@kind(2.0, 10.0)
def loss(world: World, fault: Fault) -> Steps:
    """a part of all packets is lost"""
    yield from _everywhere_or_one(world, fault, Link(
        loss_permille=fault.draw.choice([10, 50, 150, 300])))


@kind(2.0, 6.0)
def drop(world: World, fault: Fault) -> Steps:
    """connections break at random"""
    yield from _everywhere_or_one(world, fault, Link(
        loss_permille=fault.draw.choice([2, 10, 30])))


def _shaped(world: World, fault: Fault, *discipline: str) -> Steps:
    store = _leader_or_other(world, fault).name
    fault.what = f"{store} {' '.join(discipline)}"
    assert isinstance(world.network, Namespaces)
    problem = world.network.shape(store, *discipline)
    if problem:
        raise RuntimeError(f"tc {' '.join(discipline)}: {problem}")
    yield fault.seconds
    world.network.shape(store)


NETEM_PROBE = ("netem", "delay", "1ms")
NARROW_PROBE = ("tbf", "rate", "1mbit", "burst", "4kb", "latency", "100ms")


@kind(2.0, 10.0)
def tc_netem(world: World, fault: Fault) -> Steps:
    """delay and loss of a store's packets by `tc netem`"""
    late = fault.draw.choice([20, 80, 200])
    yield from _shaped(world, fault, "netem", "delay", f"{late}ms", f"{late // 2}ms",
                       "loss", f"{fault.draw.choice([1, 5, 15])}%")


@kind(2.0, 8.0)
def tc_narrow(world: World, fault: Fault) -> Steps:
    """what a store sends waits for, or is lost at, a narrow line by `tc tbf`"""
    yield from _shaped(world, fault, "tbf", "rate",
                       f"{fault.draw.choice([128, 512, 2048])}kbit", "burst", "4kb",
                       "latency", f"{fault.draw.choice([50, 400])}ms")


# --- disks ------------------------------------------------------------------------------

# They need a file system of the store's own.
FILLING = ("disk_low", "disk_full", "disk_full_start")


def _fill(store: Store, left_bytes: int) -> None:
    """Writes ballast until only so much is left."""
    if not store.disk.is_mount():
        raise RuntimeError(f"{store.disk} is not a file system of its own")
    with open(store.ballast, "ab", buffering=0) as ballast:
        while True:
            space = os.statvfs(store.disk)
            over = space.f_bavail * space.f_frsize - left_bytes
            if over <= 0:
                return
            try:
                ballast.write(bytes(min(over, CHUNK_BYTES)))
            except OSError:
                return  # somebody else took the rest


def _filled(world: World, fault: Fault, percent: int, is_killed: bool) -> Steps:
    stores = _some(world, fault)
    fault.what = _names(stores)
    for store in stores:
        store.excuses.add(fault.number)
        if is_killed:
            world.kill(store)
        space = os.statvfs(store.disk)
        _fill(store, space.f_blocks * space.f_frsize * percent // 100)
        world.start(store)
    yield fault.seconds
    for store in stores:
        store.ballast.unlink(missing_ok=True)
    # One whose store had failed says so a second later at most, and is started again.
    yield 2.0
    for store in stores:
        store.excuses.discard(fault.number)


@kind(1.0, 6.0)
def disk_low(world: World, fault: Fault) -> Steps:
    """less than 2 % is left on a disk"""
    yield from _filled(world, fault, LOW_SPACE_PERCENT, is_killed=False)


@kind(1.0, 6.0)
def disk_full(world: World, fault: Fault) -> Steps:
    """nothing is left on a disk; what RocksDB has set aside for its log still is"""
    yield from _filled(world, fault, 0, is_killed=False)


@kind(1.0, 6.0)
def disk_full_start(world: World, fault: Fault) -> Steps:
    """nothing is left on a disk when a store that was killed starts there"""
    yield from _filled(world, fault, 0, is_killed=True)


@kind(1.0, 8.0)
def disk_slow(world: World, fault: Fault) -> Steps:
    """every sync takes longer"""
    stores = _some(world, fault)
    late = fault.draw.choice([10, 50, 200, 700])
    fault.what = f"{_names(stores)} {late} ms"
    for store in stores:
        world.make_slow(store, late)
    yield fault.seconds
    for store in stores:
        world.make_slow(store, 0)


# --- what must be seen ------------------------------------------------------------------

@kind(2.0, 4.0, is_survived=False)
def rewind_all(world: World, fault: Fault) -> Steps:
    """all stores return to an earlier state: a loss that the checkers must find"""
    stores = list(world.stores.values())
    fault.what = _names(stores)
    for store in stores:
        world.kill(store)
    for store in stores:
        shutil.copytree(store.disk / "data", store.disk / f"earlier-{fault.number}")
        world.start(store)
    yield fault.seconds + 3.0
    for store in stores:
        world.kill(store)
    for store in stores:
        shutil.rmtree(store.disk / "data")
        (store.disk / f"earlier-{fault.number}").rename(store.disk / "data")
        world.start(store)
