#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A work queue with workers that fail at times: jobs are tried again, and end in the
dead-letter queue when they keep failing.

    work_queue.py DIR
"""
from __future__ import annotations

import logging
import sys
import threading

import mom

JOBS, WORKERS, TRIES = 200, 4, 3


def main(folder: str) -> None:
    """Every tenth job is bad for good, every fourth fails the first time."""
    logging.getLogger("mom").setLevel(logging.ERROR)  # the failures are on purpose
    lock = threading.Lock()
    done = failed = 0
    with mom.open(folder) as node:
        jobs = node.queue("jobs").create(deliveries_max=TRIES)
        jobs.send_many(str(number) for number in range(JOBS))

        @jobs.handler(threads=WORKERS)
        def work(message: mom.Message) -> None:
            nonlocal done, failed
            number = int(message.text)
            fails = number % 10 == 0 or (number % 4 == 1 and not message.redelivered)
            with lock:
                failed += fails
                done += not fails
                is_last = done == JOBS - JOBS // 10 and failed == 3 * JOBS // 10 + JOBS // 4
            if is_last:
                node.stop()
            if fails:
                raise RuntimeError(f"job {number} failed")

        node.serve()
        dead = jobs.info().dead_lettered
        print(f"done {done}, failed attempts {failed}, dead letters {dead}")


if __name__ == "__main__":
    main(sys.argv[1])
