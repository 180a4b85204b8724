#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks each #include under lib/ against the table of layers (docs/architecture.md).

    layers.py ROOT

A header counts as part of the layer of its folder. Which headers of the core are plain types, open to the
layers beside it, is seen from what they contain: CORE_TYPES below.
"""
import os
import re
import sys

# C headers without I/O, clock or threads.
PURE = {"assert.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h", "stdatomic.h",
        "stdbool.h", "stddef.h", "stdint.h", "string.h"}
PUBLIC_ERRORS = {"mom/error.h", "mom/export.h"}

# More than PURE, for single files, with the reason.
EXCEPTIONS = {
    "base/mem.c": {"stdlib.h"},             # the one place that calls malloc
    "base/assert.c": {"stdlib.h", "stdio.h"},  # abort, and the last line before it
    "base/err.c": {"stdio.h"},              # vsnprintf into the error text
}

# Headers of the core with types of events, effects and commands; the rest is its inside.
CORE_TYPES = {"core/types.h", "core/entry.h", "core/keys.h", "core/call.h", "core/event.h",
              "core/effect.h", "core/info.h"}

OUTSIDE = {  # dependency -> how its headers are written
    "nng": re.compile(r"nng/"),
    "rocksdb": re.compile(r"rocksdb/"),
    "sodium": re.compile(r"sodium(\.h|/)"),
    "protobuf-c": re.compile(r"(google/)?protobuf-c/|wire/.*\.pb-c\.h$"),
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def outside_of(header):
    for name, pattern in OUTSIDE.items():
        if pattern.match(header):
            return name
    return None


class Tree:
    def __init__(self, root):
        self.lib = os.path.join(root, "lib")
        self.includes = {}  # "base/buf.c" -> [header]
        for folder, _, names in os.walk(self.lib):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        found = [match[2] for match in INCLUDE.finditer(file.read())]
                    self.includes[os.path.relpath(path, self.lib)] = found

    def uses_protobuf(self, header):
        """Whether a header brings protobuf-c in, directly or through others."""
        seen, todo = set(), [header]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            if outside_of(current) == "protobuf-c":
                return True
            todo.extend(self.includes.get(current, []))
        return False


def refusal(tree, path, header):
    """Why `path` may not include `header`; None if it may."""
    layer = path.split("/")[0]
    target = header.split("/")[0] if "/" in header else ""
    outside = outside_of(header)
    if header in EXCEPTIONS.get(path, ()):
        return None
    if outside is not None:
        if outside == "protobuf-c":
            return None if layer == "wire" else "protobuf-c belongs to wire"
        return None if layer == "port" else f"{outside} belongs to port"
    if target in ("base", "core", "wire", "port", "node", "api"):
        if header not in tree.includes:
            return "there is no such header"
        allowed = {
            "base": {"base"}, "core": {"base", "core", "wire"}, "wire": {"base", "wire", "core"},
            "port": {"base", "port"}, "node": {"base", "core", "wire", "port", "node"},
            "api": {"base", "node", "api", "core"},
        }[layer]
        if target not in allowed:
            return f"{layer} may not know {target}"
        if target == "core" and layer in ("wire", "api") and header not in CORE_TYPES:
            return f"{layer} may know the types of core only ({', '.join(sorted(CORE_TYPES))})"
        if target == "wire" and layer == "core" and tree.uses_protobuf(header):
            return "core may know decoded types of wire only, this header brings protobuf-c in"
        return None
    if target == "mom":
        if layer == "api" or layer == "node" or header in PUBLIC_ERRORS:
            return None
        return f"{layer} may know {', '.join(sorted(PUBLIC_ERRORS))} of the public headers only"
    if layer in ("port", "node", "api"):
        if layer == "api" and header not in PURE | {"stdlib.h", "stdio.h", "errno.h", "time.h"}:
            return "api may use the plain C library only"
        return None
    return None if header in PURE else f"{layer} may use {', '.join(sorted(PURE))} only"


def main():
    tree = Tree(sys.argv[1])
    failures = 0
    for path, headers in sorted(tree.includes.items()):
        for header in headers:
            why = refusal(tree, path, header)
            if why is not None:
                failures += 1
                print(f"lib/{path}: includes {header}: {why}")
        outside = {outside_of(header) for header in headers} - {None}
        if len(outside) > 1:
            failures += 1
            print(f"lib/{path}: more than one outside dependency: {', '.join(sorted(outside))}")
    print(f"layers: {len(tree.includes)} files, {failures} failures")
    return 1 if failures else 0


sys.exit(main())
