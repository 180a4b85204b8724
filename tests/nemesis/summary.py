# SPDX-License-Identifier: Apache-2.0
"""The table of a campaign: one line for each run, then the worst of all runs by kind.

    summary.py RESULT...       files of `main.py --result`
"""
from __future__ import annotations

import sys
from pathlib import Path

from report import Result, Row, table


def main() -> int:
    results = [Result.load(Path(name)) for name in sys.argv[1:]]
    rows: dict[str, Row] = {}
    not_run: dict[str, str] = {}
    print("  seed stores faults acknowledged refused unknown deliveries violations")
    for result in results:
        done = result.results.get("OK", 0)
        unknown = result.results.get("UNKNOWN_OUTCOME", 0)
        refused = sum(result.results.values()) - done - unknown
        print(f"{result.seed:6d} {result.stores:6d} {result.faults:6d} {done:12d} "
              f"{refused:7d} {unknown:7d} {result.deliveries:10d} "
              f"{len(result.violations):10d}")
        for kind, row in result.rows.items():
            rows.setdefault(kind, Row()).also(row)
        not_run.update(result.not_run)
    print()
    print(table(rows, {kind: reason for kind, reason in not_run.items()
                       if kind not in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
