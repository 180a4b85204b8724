#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the rate depends on the size of a batch; draws it when matplotlib is there.

    throughput_plot.py [PICTURE.png] [COUNT]
"""
from __future__ import annotations

import importlib
import sys
import time
from typing import List, Tuple

import mom

SIZES = (1, 10, 100, 1000, 5000)


def measure(size: int, count: int) -> Tuple[float, float]:
    """Messages per second sent and received, `size` at a time."""
    with mom.open(memory=True) as node:
        queue = node.queue("q").create()
        bodies = [bytes(100)] * size
        rounds = max(count // size, 1)
        start = time.perf_counter()
        for _ in range(rounds):
            queue.send_many(bodies)
        sent = time.perf_counter()
        received = 0
        with queue.consumer(prefetch=8192) as consumer:
            for batch in consumer.batches(size):
                with batch:
                    received += len(batch.bodies)
                if received == rounds * size:
                    break
        end = time.perf_counter()
    return received / (sent - start), received / (end - sent)


def main(picture: str = "", count: int = 100000) -> None:
    """A table on standard output, and the picture."""
    rates: List[Tuple[float, float]] = []
    print(f"{'batch':>6} {'sent/s':>10} {'received/s':>10}")
    for size in SIZES:
        rates.append(measure(size, min(count, 2000 * size)))
        print(f"{size:>6} {rates[-1][0]:>10.0f} {rates[-1][1]:>10.0f}")
    if not picture:
        return
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    for index, label in enumerate(("sent", "received")):
        pyplot.loglog(SIZES, [rate[index] for rate in rates], marker="o", label=label)
    pyplot.xlabel("messages in a batch")
    pyplot.ylabel("messages a second")
    pyplot.legend()
    pyplot.savefig(picture)
    print(f"wrote {picture}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", *map(int, sys.argv[2:3]))
