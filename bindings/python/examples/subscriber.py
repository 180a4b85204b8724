#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the topic of publisher.py, from its beginning and then where it left off.

    subscriber.py DIR [FILTER]
"""
from __future__ import annotations

import sys

import mom


def main(folder: str, pattern: str = "#") -> None:
    """Each filter has a subscription of its own, which keeps its position."""
    with mom.open(folder) as node:
        topic = node.topic("numbers").create(if_missing=True)
        name = "reader of " + pattern
        mine = topic.subscription(name).create(filters=pattern, start="first",
                                               if_missing=True)
        received = 0
        with mine.consumer() as consumer:
            while True:
                try:
                    batch = consumer.receive_many(500, timeout=0)
                except mom.Empty:
                    break
                with batch:  # acknowledged at the end
                    received += len(batch)
            consumer.flush(10)
        print(f"received {received} messages")


if __name__ == "__main__":
    main(*sys.argv[1:])
