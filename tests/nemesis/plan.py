# SPDX-License-Identifier: Apache-2.0
"""Which faults come when: drawn from the seed, and from nothing else.

Kinds are taken from a shuffled bag that holds each of them once, so that a run of some
minutes has them all about as often. Most faults are followed by a calm in which service
returns; some begin while another one lasts.
"""
from __future__ import annotations

from random import Random

from faults import KINDS, Fault

CALM_FIRST_SECONDS = 3.0
CALM_SECONDS = (0.5, 2.5)
OVERLAP_PROBABILITY = 0.4


def make_plan(seed: int, seconds: float, kinds: list[str]) -> list[Fault]:
    random = Random(f"plan {seed}")
    plan: list[Fault] = []
    bag: list[str] = []
    at = CALM_FIRST_SECONDS
    while kinds:
        if not bag:
            bag = list(kinds)
            random.shuffle(bag)
        kind = bag.pop()
        shortest, longest = KINDS[kind].seconds
        # Short ones are more frequent than long ones.
        lasts = shortest + (longest - shortest) * random.random() ** 2.2
        if at + lasts > seconds:
            break
        number = len(plan) + 1
        plan.append(Fault(number, kind, at, lasts, Random(f"fault {seed} {number}")))
        at += lasts * random.random() if random.random() < OVERLAP_PROBABILITY else \
            lasts + random.uniform(*CALM_SECONDS)
    return plan
