#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Line coverage of lib/ from a build with MOM_COVERAGE, by folder.

    report.py BUILD [--lines PREFIX] [--core PERCENT] [--all PERCENT] [--explained FILE]

A source that was compiled several times (for the library, for the simulator) counts
once: a line is covered if any of its objects ran it. --lines prints the lines that were
not run of files below PREFIX, by function. With --core or --all the exit status says
whether lib/core or all of lib reaches that percentage. --explained names a document whose
tables say why lines of lib/core are not run: "| `file.c` | `function` 3 | reason |". More
lines of a function than it says, or a function that it does not name, are a failure.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys
from typing import NamedTuple

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def counters_of(build: str) -> list[str]:
    """All .gcda files of the build's library objects."""
    return sorted(os.path.join(folder, name)
                  for folder, _, names in os.walk(os.path.join(build, "lib"))
                  for name in names if name.endswith(".gcda"))


class Line(NamedTuple):
    function: str
    count: int


def read_counts(build: str) -> dict[str, dict[int, Line]]:
    """File below lib/ -> line -> its function, and how often it ran."""
    counts: dict[str, dict[int, Line]] = collections.defaultdict(dict)
    files = counters_of(build)
    for at in range(0, len(files), 50):
        done = subprocess.run(["gcov", "--json-format", "--stdout", *files[at:at + 50]],
                              cwd=build, capture_output=True, text=True, check=True)
        for line in filter(None, done.stdout.splitlines()):
            for file in json.loads(line)["files"]:
                path = os.path.relpath(os.path.realpath(os.path.join(build, file["file"])), ROOT)
                if not path.startswith("lib" + os.sep):
                    continue
                lines = counts[path]
                for entry in file["lines"]:
                    number = entry["line_number"]
                    before = lines[number].count if number in lines else 0
                    lines[number] = Line(entry.get("function_name", ""),
                                         before + entry["count"])
    return counts


def percent(covered: int, lines: int) -> float:
    return 100.0 * covered / lines if lines else 100.0


def print_folders(counts: dict[str, dict[int, Line]]) -> dict[str, float]:
    """The table; returns the percentage of each folder and of `lib`."""
    sums: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for path, lines in counts.items():
        covered = sum(1 for line in lines.values() if line.count > 0)
        for name in (os.path.dirname(path), "lib"):
            sums[name][0] += covered
            sums[name][1] += len(lines)
    print(f"{'folder':<12} {'lines':>7} {'run':>7} {'percent':>8}")
    for name in sorted(sums, key=lambda name: (name == "lib", name)):
        covered, lines = sums[name]
        print(f"{name:<12} {lines:>7} {covered:>7} {percent(covered, lines):>7.2f}%")
    return {name: percent(*both) for name, both in sums.items()}


def not_run(lines: dict[int, Line]) -> dict[str, list[int]]:
    """Function -> those of its lines that nothing ran, in their order."""
    missing: dict[str, list[int]] = collections.defaultdict(list)
    for number in sorted(number for number, line in lines.items() if line.count == 0):
        missing[lines[number].function].append(number)
    return missing


def print_lines(counts: dict[str, dict[int, Line]], prefix: str) -> None:
    for path in sorted(path for path in counts if path.startswith(prefix)):
        missing = not_run(counts[path])
        if not missing:
            continue
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read().splitlines()
        total = sum(len(lines) for lines in missing.values())
        print(f"\n{path}: {total} of {len(counts[path])} not run")
        for function, lines in missing.items():
            print(f"  {function}: {len(lines)}")
            for line in lines:
                print(f"    {line:>4}  {text[line - 1] if line <= len(text) else ''}")


def read_explained(document: str) -> dict[tuple[str, str], int]:
    """(file of lib/core, function) -> how many of its lines need not run."""
    explained: dict[tuple[str, str], int] = collections.Counter()
    with open(document, encoding="utf-8") as file:
        for row in file:
            cells = [cell.strip() for cell in row.split("|")]
            name = re.fullmatch(r"`(\w+\.[ch])`", cells[1]) if len(cells) == 5 else None
            if name is None:
                continue
            for function, lines in re.findall(r"`(\w+)` (\d+)", cells[2]):
                explained[f"lib/core/{name[1]}", function] += int(lines)
    return explained


def unexplained(counts: dict[str, dict[int, Line]],
                explained: dict[tuple[str, str], int]) -> list[str]:
    """What is not run in lib/core and not explained; prints what need not be explained."""
    wrong = []
    missing = {(path, function): len(lines) for path in sorted(counts)
               if path.startswith("lib/core/")
               for function, lines in not_run(counts[path]).items()}
    for (path, function), lines in missing.items():
        allowed = explained.get((path, function), 0)
        if lines > allowed:
            wrong.append(f"{path}: {function}: {lines} lines not run, {allowed} explained")
    for path, function in sorted(explained.keys() - missing.keys()):
        print(f"{path}: {function} is explained, and all of it runs")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("build")
    parser.add_argument("--lines", metavar="PREFIX")
    parser.add_argument("--core", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--all", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--explained", metavar="FILE")
    options = parser.parse_args()
    counts = read_counts(os.path.realpath(options.build))
    if not counts:
        print("no counters: was it built with -DMOM_COVERAGE=ON, and run?")
        return 1
    if options.lines is not None:
        print_lines(counts, options.lines)
        print()
    reached = print_folders(counts)
    short = [f"{name} has {reached.get(name, 0.0):.2f} %, not {wanted} %"
             for name, wanted in (("lib/core", options.core), ("lib", options.all))
             if reached.get(name, 0.0) < wanted]
    if options.explained is not None:
        short += unexplained(counts, read_explained(options.explained))
    for line in short:
        print(line)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
