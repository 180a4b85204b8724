#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publishes numbers to a topic, with a routing key for even and for odd ones.

    publisher.py DIR [COUNT]
"""
from __future__ import annotations

import sys

import mom


def main(folder: str, count: int = 1000) -> None:
    """Publishes in one call, which is much faster than one by one."""
    with mom.open(folder) as node:
        topic = node.topic("numbers").create(if_missing=True)
        bodies = [f"number {number}" for number in range(count)]
        keys = ["count.odd" if number % 2 else "count.even" for number in range(count)]
        topic.publish_many(bodies, keys=keys)
        topic.publish("done", "control")
        print(f"published {count + 1} messages")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
