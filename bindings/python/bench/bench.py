#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rates of one Python process on a local memory queue, beside the same in C.

    bench.py [--count N] [--size BYTES] [--runs N] [--check]

Sends with send_many and receives with batches, every message acknowledged; C is
`mom bench` of the same build, in memory too, run between the runs of Python. The best run
of each counts, since the machine may do other things. --check: exit 1 below 100,000
received or 50,000 sent a second.
"""
from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mom  # noqa: E402

BATCH = 1000
RECEIVED_MIN, SENT_MIN = 100_000, 50_000


def python_rates(count: int, size: int) -> Dict[str, float]:
    """Messages a second."""
    rates: Dict[str, float] = {}
    with mom.open(memory=True) as node:
        queue = node.queue("bench").create()
        node.wait_ready()
        bodies = [bytes(size)] * BATCH
        start = time.perf_counter()
        for _ in range(count // BATCH):
            queue.send_many(bodies)
        rates["sent"] = count / (time.perf_counter() - start)
        for name, each in (("received in batches", False), ("received one by one", True)):
            if queue.info().messages_ready == 0:
                for _ in range(count // BATCH):
                    queue.send_many(bodies)
            received = 0
            with queue.consumer(prefetch=8192) as consumer:
                start = time.perf_counter()
                for batch in consumer.batches(BATCH):
                    if each:
                        for message in batch:
                            received += len(message.body) == size
                            message.ack()
                    else:
                        with batch:
                            received += sum(len(body) == size for body in batch.bodies)
                    if received == count:
                        break
                consumer.flush()
                rates[name] = count / (time.perf_counter() - start)
        single = min(count // 20, 5000)
        start = time.perf_counter()
        for _ in range(single):
            queue.send(bodies[0])
        rates["sent one by one"] = single / (time.perf_counter() - start)
    return rates


def c_rates(count: int, size: int) -> Dict[str, float]:
    """The same of the program mom, where it was built."""
    folder = os.environ.get("MOM_BIN")
    program = (Path(folder) if folder else
               Path(mom.library_path()).parent.parent / "bin") / "mom"
    rates: Dict[str, float] = {}
    for what, name in (("publish", "sent"), ("receive", "received in batches")):
        done = subprocess.run(
            [program, "bench", what, "--memory", "--count", str(count), "--size", str(size),
             "--in-flight", "4096"], capture_output=True, text=True, check=True)
        found = re.search(r"^\w+\s+(\d+) /s", done.stdout, re.M)
        if found is None:
            raise RuntimeError(f"no rate in: {done.stdout}")
        rates[name] = float(found[1])
    return rates


def main() -> int:
    """Prints the best of all runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    python: Dict[str, float] = {}
    c: Dict[str, float] = {}
    for _ in range(given.runs):
        for best, rates in ((python, python_rates), (c, c_rates)):
            for name, rate in rates(given.count, given.size).items():
                best[name] = max(rate, best.get(name, 0))
    print(f"{given.count} messages of {given.size} bytes, in memory, best of {given.runs}")
    print(f"{'':22} {'Python/s':>10} {'C/s':>10}")
    for name, rate in python.items():
        beside = f"{c[name]:>10.0f}" if name in c else ""
        print(f"{name:22} {rate:>10.0f} {beside}")
    enough = (python["received in batches"] >= RECEIVED_MIN
              and python["sent"] >= SENT_MIN)
    return 0 if enough or not given.check else 1


if __name__ == "__main__":
    sys.exit(main())
