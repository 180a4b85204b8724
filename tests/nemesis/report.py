# SPDX-License-Identifier: Apache-2.0
"""Gaps in service, from the histories of the workers.

A gap is the time between one acknowledged publish and the next, by any producer; or to
one stream, the worst of them, which is longer, since each stream has a leader of its own;
or between deliveries, to any consumer. A gap belongs to every fault that lasted during a
part of it. Faults overlap, so each kind is also told from those occasions that had no
other fault near them.
"""
from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from faults import KINDS, Fault

NS = 1_000_000_000
NEAR_NS = NS // 2
LIMITED_STREAM = "small"  # is FULL now and then, without any fault


@dataclass
class Service:
    """Moments at which there was service, ascending."""

    acknowledged_ns: list[int]
    delivered_ns: list[int]
    streams_ns: dict[str, list[int]]
    results: dict[str, int]

    @staticmethod
    def read(paths: Iterable[Path]) -> Service:
        service = Service([], [], {}, {})
        for path in paths:
            service._add(path)
        for moments in (service.acknowledged_ns, service.delivered_ns,
                        *service.streams_ns.values()):
            moments.sort()
        return service

    def _add(self, path: Path) -> None:
        stream = ""  # of this producer; it has only one, and each stream one producer
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                words = line.split()
                if len(words) < 4 or not line.endswith("\n"):
                    continue
                at, _, phase, kind = words[:4]
                fields = dict(word.split("=", 1) for word in words[4:])
                if kind == "publish" and phase == "call":
                    stream = fields["stream"]
                elif kind == "publish" and phase == "done":
                    result = fields["result"]
                    self.results[result] = self.results.get(result, 0) + 1
                    if result == "OK":
                        self.acknowledged_ns.append(int(at))
                        if stream != LIMITED_STREAM:
                            self.streams_ns.setdefault(stream, []).append(int(at))
                elif kind == "deliver":
                    self.delivered_ns.append(int(at))


def _longest_gap(moments: list[int], begin: int, end: int) -> float:
    """The longest gap that overlaps this time, in seconds."""
    longest = 0
    for before, after in zip(moments, moments[1:]):
        if after >= begin and before <= end:
            longest = max(longest, after - before)
    return longest / NS


def _next_after(moments: list[int], at: int) -> float:
    return next((moment - at for moment in moments if moment >= at), 0) / NS


@dataclass
class Row:
    times: int = 0
    lasted: float = 0.0
    no_acknowledgement: float = 0.0
    no_stream: float = 0.0
    no_delivery: float = 0.0
    after_end: float = 0.0
    alone_times: int = 0
    alone_no_stream: float = 0.0

    def add(self, fault: Fault, service: Service, is_alone: bool) -> None:
        begin, end = fault.begin_ns, fault.end_ns
        self.times += 1
        self.lasted = max(self.lasted, (end - begin) / NS)
        self.no_acknowledgement = max(
            self.no_acknowledgement, _longest_gap(service.acknowledged_ns, begin, end))
        no_stream = max((_longest_gap(moments, begin, end)
                         for moments in service.streams_ns.values()), default=0.0)
        self.no_stream = max(self.no_stream, no_stream)
        if is_alone:
            self.alone_times += 1
            self.alone_no_stream = max(self.alone_no_stream, no_stream)
        self.no_delivery = max(
            self.no_delivery, _longest_gap(service.delivered_ns, begin, end))
        self.after_end = max(self.after_end, _next_after(service.acknowledged_ns, end))

    def also(self, other: Row) -> None:
        """The worst of both."""
        self.times += other.times
        self.alone_times += other.alone_times
        for name in ("lasted", "no_acknowledgement", "no_stream", "no_delivery",
                     "after_end", "alone_no_stream"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))


@dataclass
class Result:
    """What a run leaves for the table of a campaign."""

    seed: int
    stores: int
    form: str
    faults: int
    results: dict[str, int]
    deliveries: int
    violations: list[str]
    not_run: dict[str, str]
    rows: dict[str, Row]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Result:
        fields = json.loads(path.read_text(encoding="utf-8"))
        rows = {kind: Row(**row) for kind, row in fields.pop("rows").items()}
        return Result(rows=rows, **fields)


def _is_alone(fault: Fault, faults: list[Fault]) -> bool:
    return not any(other is not fault and other.begin_ns < fault.end_ns + NEAR_NS
                   and other.end_ns + NEAR_NS > fault.begin_ns for other in faults)


def rows_of(faults: list[Fault], service: Service) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for fault in faults:
        rows.setdefault(fault.kind, Row()).add(
            fault, service, _is_alone(fault, faults))
    return rows


COLUMNS = "{:15} {:>5} {:>7} {:>9} {:>13} {:>13} {:>15} {:>13} {:>13}"
HEAD = "\n".join(COLUMNS.format(*row).rstrip() for row in (
    ("", "", "", "longest", "time without", "", "", "fault", "alone:"),
    ("", "", "", "an acknow-", "one to the", "a delivery", "acknowledged", "",
     "one to the"),
    ("fault", "times", "longest", "ledgement", "worst stream", "to anyone",
     "after its end", "times", "worst stream")))


def table(rows: dict[str, Row], not_run: dict[str, str]) -> str:
    lines = [HEAD]
    for kind in KINDS:
        if kind in rows:
            row = rows[kind]
            alone = f"{row.alone_no_stream:.2f} s" if row.alone_times > 0 else "-"
            lines.append(COLUMNS.format(
                kind, row.times, f"{row.lasted:.1f} s", f"{row.no_acknowledgement:.2f} s",
                f"{row.no_stream:.2f} s", f"{row.no_delivery:.2f} s",
                f"{row.after_end:.2f} s", row.alone_times, alone))
    lines += [f"{kind:15} NOT RUN: {reason}" for kind, reason in not_run.items()]
    return "\n".join(lines)
