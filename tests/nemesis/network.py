# SPDX-License-Identifier: Apache-2.0
"""The network between the members of a run, and what is wrong with it at a moment.

Two forms with one face: network namespaces that are joined by our own packet switch
(switch.c), and, where namespaces are not allowed, TCP forwarders on the loopback
interface (proxy.py). Every ordered pair of members has a `Link`. Several faults may be on
one pair at the same time; the worst of each kind counts.
"""
from __future__ import annotations

import os
import select
import subprocess
from dataclasses import dataclass
from typing import Protocol

STORE_PORT = 7000
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Link:
    """What happens to everything that one member sends to another."""

    is_cut: bool = False
    delay_ms: int = 0
    jitter_ms: int = 0
    loss_permille: int = 0

    def __str__(self) -> str:
        if self.is_cut:
            return "cut"
        return (f"delay {self.delay_ms}+{self.jitter_ms} ms, "
                f"loss {self.loss_permille / 10:g} %")

    def and_also(self, other: Link) -> Link:
        return Link(self.is_cut or other.is_cut,
                    max(self.delay_ms, other.delay_ms),
                    max(self.jitter_ms, other.jitter_ms),
                    max(self.loss_permille, other.loss_permille))


GOOD = Link()
CUT = Link(is_cut=True)
Pair = tuple[str, str]


class Network(Protocol):
    """What a run needs of either form."""

    form: str
    # Kinds of faults that this form cannot do, with the reason.
    cannot: dict[str, str]

    def listen(self, store: str) -> str:
        """Where the store itself listens."""

    def address(self, store: str) -> str:
        """Where the others reach it."""

    def command(self, member: str, argv: list[str]) -> list[str]:
        """The command that starts `argv` as this member."""

    def started(self, member: str, pid: int) -> None:
        """The member is now (also) this process."""

    def set_link(self, pair: Pair, link: Link) -> None: ...

    def counts(self) -> str: ...

    def close(self) -> None: ...


class Links:
    """Which fault does what to which pair; the network gets the sum."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.faults: dict[int, dict[Pair, Link]] = {}
        self.set: dict[Pair, Link] = {}

    def put(self, fault: int, links: dict[Pair, Link]) -> None:
        self.faults[fault] = links
        self._apply()

    def drop(self, fault: int) -> None:
        self.faults.pop(fault, None)
        self._apply()

    def heal(self) -> None:
        self.faults.clear()
        self._apply()

    def _apply(self) -> None:
        wanted: dict[Pair, Link] = {}
        for links in self.faults.values():
            for pair, link in links.items():
                wanted[pair] = wanted.get(pair, GOOD).and_also(link)
        for pair in wanted.keys() | self.set.keys():
            link = wanted.get(pair, GOOD)
            if self.set.get(pair, GOOD) != link:
                self.network.set_link(pair, link)
                self.set[pair] = link


class Namespaces:
    """A namespace for each member, and a switch process between them.

    The names of the namespaces begin with `prefix`; the script that started us removes
    them once more, should we not get to it.
    """

    form = "namespaces"

    def __init__(self, members: list[str], prefix: str, switch: str, seed: int) -> None:
        self.cannot: dict[str, str] = {}
        self.prefix = prefix
        self.numbers = {name: number for number, name in enumerate(members)}
        self.made: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        try:
            for name in members:
                self._run("ip", "netns", "add", self.space(name))
                self.made.append(self.space(name))
                self._run(*self.command(name, ["true"]))
            self._start_switch(members, switch, seed)
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            raise NotAllowed(str(error)) from error

    def space(self, member: str) -> str:
        return f"{self.prefix}{member}"

    @staticmethod
    def _run(*argv: str) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")

    def _start_switch(self, members: list[str], switch: str, seed: int) -> None:
        arguments = [f"/run/netns/{self.space(name)}={self.ip(name)}" for name in members]
        self.process = subprocess.Popen(
            [switch, str(seed), *arguments], text=True, bufsize=1, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self._line() != "ready":
            _, complaint = self.process.communicate(timeout=ANSWER_SECONDS)
            raise OSError(complaint.strip() or "the switch does not start")

    def _line(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_SECONDS)
        return self.process.stdout.readline().strip() if ready else ""

    def _ask(self, command: str) -> str:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._line()

    def ip(self, member: str) -> str:
        return f"10.77.0.{self.numbers[member] + 1}"

    def listen(self, store: str) -> str:
        return f"tcp://{self.ip(store)}:{STORE_PORT}"

    address = listen

    def command(self, member: str, argv: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.space(member), *argv]

    def started(self, member: str, pid: int) -> None:
        pass

    def set_link(self, pair: Pair, link: Link) -> None:
        answer = self._ask(
            f"pair {self.numbers[pair[0]]} {self.numbers[pair[1]]} {int(link.is_cut)} "
            f"{link.delay_ms} {link.jitter_ms} {link.loss_permille}")
        if answer != "ok":
            raise RuntimeError(f"the switch answers {answer!r}")

    def counts(self) -> str:
        return self._ask("counts").removeprefix("counts ")

    def shape(self, member: str, *discipline: str) -> str:
        """Replaces the queueing discipline of an interface; "" or what went wrong."""
        verb = ["replace", "dev", "mesh", "root", *discipline] if discipline else \
            ["del", "dev", "mesh", "root"]
        done = subprocess.run(self.command(member, ["tc", "qdisc", *verb]),
                              capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stderr.strip() or "tc failed"

    def close(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        for name in self.made:
            self._run("ip", "netns", "del", name)
        self.made = []


class NotAllowed(Exception):
    """This machine does not let us make namespaces; the text says what it said."""


def may_mount() -> str:
    """"" if a tmpfs can be mounted, else why not."""
    return "" if os.geteuid() == 0 else "mounting a tmpfs needs root"
