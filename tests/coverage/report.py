#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Line coverage of lib/ from a build with MOM_COVERAGE, by folder.

    report.py BUILD [--lines PREFIX] [--core PERCENT] [--all PERCENT]

A source that was compiled several times (for the library, for the simulator) counts
once: a line is covered if any of its objects ran it. --lines prints the lines that were
not run of files below PREFIX. With --core or --all the exit status says whether lib/core
or all of lib reaches that percentage.
"""
import argparse
import collections
import json
import os
import subprocess
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def counters_of(build: str) -> list[str]:
    """All .gcda files of the build's library objects."""
    return sorted(os.path.join(folder, name)
                  for folder, _, names in os.walk(os.path.join(build, "lib"))
                  for name in names if name.endswith(".gcda"))


def read_counts(build: str) -> dict[str, dict[int, int]]:
    """File below lib/ -> line -> how often it ran."""
    counts: dict[str, dict[int, int]] = collections.defaultdict(dict)
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
                    lines[number] = lines.get(number, 0) + entry["count"]
    return counts


def percent(covered: int, lines: int) -> float:
    return 100.0 * covered / lines if lines else 100.0


def print_folders(counts: dict[str, dict[int, int]]) -> dict[str, float]:
    """The table; returns the percentage of each folder and of `lib`."""
    sums: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for path, lines in counts.items():
        covered = sum(1 for count in lines.values() if count > 0)
        for name in (os.path.dirname(path), "lib"):
            sums[name][0] += covered
            sums[name][1] += len(lines)
    print(f"{'folder':<12} {'lines':>7} {'run':>7} {'percent':>8}")
    for name in sorted(sums, key=lambda name: (name == "lib", name)):
        covered, lines = sums[name]
        print(f"{name:<12} {lines:>7} {covered:>7} {percent(covered, lines):>7.2f}%")
    return {name: percent(*both) for name, both in sums.items()}


def print_lines(counts: dict[str, dict[int, int]], prefix: str) -> None:
    for path in sorted(path for path in counts if path.startswith(prefix)):
        missing = sorted(line for line, count in counts[path].items() if count == 0)
        if not missing:
            continue
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read().splitlines()
        print(f"\n{path}: {len(missing)} of {len(counts[path])} not run")
        for line in missing:
            print(f"  {line:>4}  {text[line - 1] if line <= len(text) else ''}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("build")
    parser.add_argument("--lines", metavar="PREFIX")
    parser.add_argument("--core", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--all", type=float, default=0.0, metavar="PERCENT")
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
    for line in short:
        print(line)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
