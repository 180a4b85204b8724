# SPDX-License-Identifier: Apache-2.0
"""What a shared library needs, read from its ELF file (64 bit, little endian)."""
from __future__ import annotations

import struct
from typing import Dict, List, NamedTuple, Tuple

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}


class Needs(NamedTuple):
    """Of one file: its machine and name, the libraries it needs, where it has them looked
    for, and the versions of symbols that it wants of each."""

    machine: str
    soname: str
    libraries: List[str]
    run_path: str
    versions: Dict[str, List[str]]


def read(path: str) -> Needs:
    """Raises ValueError for anything but such a library."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", data, 18)
    (phoff,) = struct.unpack_from("<Q", data, 32)
    phentsize, phnum = struct.unpack_from("<HH", data, 54)
    loads: List[Tuple[int, int, int]] = []
    dynamic = (0, 0)
    for at in range(phnum):
        kind, _, offset, address, _, size, _, _ = struct.unpack_from(
            "<IIQQQQQQ", data, phoff + at * phentsize
        )
        if kind == PT_LOAD:
            loads.append((address, offset, size))
        elif kind == PT_DYNAMIC:
            dynamic = (offset, size)

    def place(address: int) -> int:
        for start, offset, size in loads:
            if start <= address < start + size:
                return address - start + offset
        raise ValueError(f"{path}: address {address:#x} is in no segment")

    entries: List[Tuple[int, int]] = []
    for at in range(dynamic[0], dynamic[0] + dynamic[1], 16):
        tag, value = struct.unpack_from("<qQ", data, at)
        entries.append((tag, value))
    single: Dict[int, int] = {tag: value for tag, value in reversed(entries)}
    if DT_STRTAB not in single:
        raise ValueError(f"{path} is not linked dynamically")
    strings = place(single[DT_STRTAB])

    def text(offset: int) -> str:
        start = strings + offset
        return data[start : data.index(b"\0", start)].decode()

    run_path = single.get(DT_RUNPATH, single.get(DT_RPATH))
    versions: Dict[str, List[str]] = {}
    at = place(single[DT_VERNEED]) if DT_VERNEED in single else 0
    for _ in range(single.get(DT_VERNEEDNUM, 0)):
        _, count, file_name, aux, following = struct.unpack_from("<HHIII", data, at)
        wanted = versions.setdefault(text(file_name), [])
        aux_at = at + aux
        for _ in range(count):
            _, _, _, name, next_aux = struct.unpack_from("<IHHII", data, aux_at)
            wanted.append(text(name))
            aux_at += next_aux
        at += following
    return Needs(
        machine=MACHINES.get(machine, f"machine{machine}"),
        soname=text(single[DT_SONAME]) if DT_SONAME in single else "",
        libraries=[text(value) for tag, value in entries if tag == DT_NEEDED],
        run_path="" if run_path is None else text(run_path),
        versions=versions,
    )
