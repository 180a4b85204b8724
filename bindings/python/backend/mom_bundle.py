# SPDX-License-Identifier: Apache-2.0
"""Which libraries a wheel has to carry, and the tag that is true of them.

A wheel may rely on the C library and its companions, and on those of the compiler
(PEP 600 and the profiles of manylinux); everything else comes along. libmom.so has the
run path $ORIGIN as DT_RPATH, which holds for what its libraries need themselves as well.
"""
from __future__ import annotations

import os
import re
import subprocess
from typing import Dict, List, NamedTuple, Tuple

import mom_elf

# Of every system that the tag names.
SYSTEM = re.compile(
    r"(libc|libm|libdl|librt|libpthread|libresolv|libutil|libgcc_s|libstdc\+\+)\.so\.\d+$"
    r"|ld-linux[-\w]*\.so\.\d+$"
)
GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(\.\d+)?$")
GLIBCXX = re.compile(r"GLIBCXX_3\.4\.(\d+)$")
# The C++ library of systems with this C library has at least this version of its symbols.
GLIBC_OF_GLIBCXX = (
    (19, 17),
    (24, 24),
    (25, 28),
    (28, 31),
    (29, 34),
    (30, 35),
    (32, 38),
)


class Bundle(NamedTuple):
    """File names in the wheel with their sources, and the platform's tag."""

    files: Dict[str, str]
    platform: str


def resolved(path: str) -> Dict[str, str]:
    """Where the dynamic linker finds each library that `path` needs, directly or not."""
    listing = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"^\s*(\S+) => (\S+)", listing.stdout, re.M))
    missing = sorted(name for name, place in found.items() if place == "not")
    if missing:
        raise RuntimeError(
            f"{path} needs {', '.join(missing)}, not found on this system"
        )
    return found


def glibc_beside(glibcxx: int) -> int:
    """The oldest glibc 2.x of systems whose C++ library has GLIBCXX_3.4.`glibcxx`."""
    for known, glibc in GLIBC_OF_GLIBCXX:
        if glibcxx <= known:
            return glibc
    raise RuntimeError(f"GLIBCXX_3.4.{glibcxx} is newer than this table: add it")


def collect(library: str) -> Bundle:
    """`library` and what it needs beside the system's own."""
    places = resolved(library)
    files: Dict[str, str] = {}
    newest: Tuple[int, int] = (2, 17)
    todo: List[Tuple[str, str]] = [("libmom.so.0", library)]
    machine = ""
    while todo:
        name, path = todo.pop()
        if name in files:
            continue
        files[name] = os.path.realpath(path)
        needs = mom_elf.read(path)
        machine = machine or needs.machine
        if not machine or needs.machine != machine:
            raise RuntimeError(f"{path} is of another machine than {library}")
        if name == "libmom.so.0" and needs.run_path != "$ORIGIN":
            raise RuntimeError(
                f"{path} has the run path {needs.run_path!r}, not $ORIGIN"
            )
        if name != "libmom.so.0" and needs.run_path:
            raise RuntimeError(f"{path} has a run path of its own: {needs.run_path}")
        for wanted in needs.versions.values():
            for match in filter(None, map(GLIBC.match, wanted)):
                newest = max(newest, (int(match[1]), int(match[2])))
            for match in filter(None, map(GLIBCXX.match, wanted)):
                newest = max(newest, (2, glibc_beside(int(match[1]))))
        for needed in needs.libraries:
            if not SYSTEM.match(needed):
                todo.append((needed, places[needed]))
    return Bundle(files, f"manylinux_{newest[0]}_{newest[1]}_{machine}")
