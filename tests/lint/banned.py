#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the text of the tree: banned functions, SPDX lines, paths of one machine.

    banned.py ROOT

Long files are printed as warnings only.
"""
import os
import re
import subprocess
import sys

EVERYWHERE = "sprintf vsprintf strcpy strcat strncpy strtok atoi gets alloca rand srand time".split()
ALLOCATION = "malloc calloc realloc free strdup strndup aligned_alloc".split()
SLEEPING = "sleep usleep nanosleep".split()
FILE_LINES_MAX = 900

# Written in two halves, so that this file does not contain what it looks for.
MACHINE_PATHS = re.compile("(?<![A-Za-z0-9_.$}{)-])(" + "|".join(
    ["/wo" + "rk/", "/tmp/bui" + "ld", "/ro" + "ot/", "/ho" + "me/"]) + ")")
# A word with these in it may be called whatever it likes: it is a member or a function of ours.
CALL = r"(?<![A-Za-z0-9_.>])({})\s*\("
COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_ENDINGS = (".c", ".h", ".py", ".sh", ".proto", "CMakeLists.txt")


def files_of(root):
    """Tracked and new files, or, outside of a checkout, all there are."""
    listing = subprocess.run(
        ["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
        capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = listing.stdout.splitlines()
    else:
        names = [os.path.relpath(os.path.join(folder, name), root)
                 for folder, _, found in os.walk(root) for name in found]
        names = [name for name in names if not name.startswith(("build", ".git/"))]
    return sorted(name for name in set(names) if os.path.isfile(os.path.join(root, name)))


def without_comments(text):
    """Comments and strings become blanks; lines stay where they are."""
    return COMMENT_OR_STRING.sub(
        lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def banned_in(name):
    """The banned functions of a file, as a pattern."""
    words = list(EVERYWHERE)
    if name.startswith("lib/") and name != "lib/base/mem.c":
        words += ALLOCATION
    if name.startswith("tests/"):
        words += SLEEPING
    return re.compile(CALL.format("|".join(words)))


def check_file(root, name):
    with open(os.path.join(root, name), "rb") as file:
        data = file.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return []
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATHS.search(line):
            found.append((number, "a path of one machine: " + line.strip()[:80]))
    if name.endswith(SPDX_ENDINGS) and SPDX not in "\n".join(text.splitlines()[:3]):
        found.append((1, f"no '{SPDX}' in the first lines"))
    if name.endswith((".c", ".h")):
        lines = text.count("\n")
        if lines > FILE_LINES_MAX:
            print(f"{name}: warning: {lines} lines; look for the second noun in it")
        pattern = banned_in(name)
        for number, line in enumerate(without_comments(text).splitlines(), 1):
            for match in pattern.finditer(line):
                found.append((number, f"banned: {match[1]}()"))
    return [f"{name}:{number}: {what}" for number, what in found]


def main():
    root = sys.argv[1]
    names = files_of(root)
    failures = [failure for name in names for failure in check_file(root, name)]
    print("\n".join(failures + [f"banned: {len(names)} files, {len(failures)} failures"]))
    return 1 if failures else 0


sys.exit(main())
