# SPDX-License-Identifier: Apache-2.0
"""The PEP 517 and PEP 660 backend of this package: standard library only.

Config settings: `library`, the libmom.so to carry; "none": carry none.
"""
from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import tarfile
import zipfile
from typing import Any, List, Mapping, Optional, Tuple

import mom_bundle

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = "mom"
DATE = (1980, 1, 1, 0, 0, 0)
Settings = Optional[Mapping[str, Any]]


def _read(name: str) -> str:
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def _field(name: str) -> str:
    found = re.search(rf'^{name} = "([^"]*)"', _read("pyproject.toml"), re.M)
    assert found is not None, name
    return found[1]


def _version() -> str:
    version = _field("version")
    if f'"{version}"' not in _read("mom/_version.py"):
        raise RuntimeError("the versions in pyproject.toml and mom/_version.py differ")
    return version


def _metadata() -> str:
    return "\n".join(
        [
            "Metadata-Version: 2.1",
            f"Name: {NAME}",
            f"Version: {_version()}",
            f"Summary: {_field('description')}",
            "License: Apache-2.0",
            f"Requires-Python: {_field('requires-python')}",
            "Classifier: Operating System :: POSIX :: Linux",
            "Classifier: Typing :: Typed",
            "Description-Content-Type: text/markdown",
            "",
            _read("README.md"),
        ]
    )


def _sources() -> List[str]:
    """The files of the package, by their names in the wheel."""
    found = []
    for folder, folders, names in os.walk(os.path.join(HERE, NAME)):
        folders[:] = sorted(set(folders) - {"__pycache__", "_lib"})
        found += [
            os.path.relpath(os.path.join(folder, name), HERE)
            for name in sorted(names)
            if name.endswith((".py", ".typed"))
        ]
    return found


def _library(settings: Settings) -> Optional[str]:
    """Which libmom.so is carried; None: none."""
    given = (settings or {}).get("library") or os.environ.get("MOM_LIBRARY")
    if given == "none":
        return None
    build = os.environ.get("MOM_BUILD_DIR", os.path.join(HERE, "..", "..", "build"))
    path = os.path.abspath(given or os.path.join(build, "lib", "libmom.so.0"))
    if not os.path.exists(path):
        raise RuntimeError(
            f"there is no {path}: build the library first (cmake -B build -G Ninja && "
            "ninja -C build), or name it in MOM_LIBRARY; --config-settings library=none "
            "makes a wheel that uses the library of the system"
        )
    return path


class _Wheel:
    """A wheel while it is written."""

    def __init__(self, directory: str, platform: str) -> None:
        self.tag = f"py3-none-{platform}"
        self.name = f"{NAME}-{_version()}-{self.tag}.whl"
        self.info = f"{NAME}-{_version()}.dist-info"
        self._zip = zipfile.ZipFile(
            os.path.join(directory, self.name), "w", zipfile.ZIP_DEFLATED
        )
        self._record: List[str] = []

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        entry = zipfile.ZipInfo(name, DATE)
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._zip.writestr(entry, data, compresslevel=3)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        self._record.append(f"{name},sha256={digest.decode()},{len(data)}")

    def close(self) -> str:
        pure = "true" if self.tag.endswith("any") else "false"
        self.add(f"{self.info}/METADATA", _metadata().encode())
        self.add(
            f"{self.info}/WHEEL",
            (
                f"Wheel-Version: 1.0\nGenerator: mom_backend\nRoot-Is-Purelib: {pure}\n"
                f"Tag: {self.tag}\n"
            ).encode(),
        )
        record = "\n".join([*self._record, f"{self.info}/RECORD,,", ""])
        entry = zipfile.ZipInfo(f"{self.info}/RECORD", DATE)
        entry.external_attr = 0o100644 << 16
        self._zip.writestr(entry, record)
        self._zip.close()
        return self.name


def build_wheel(
    wheel_directory: str,
    config_settings: Settings = None,
    metadata_directory: Optional[str] = None,
) -> str:
    """The package, libmom.so and the libraries that it needs."""
    library = _library(config_settings)
    bundle = mom_bundle.collect(library) if library else mom_bundle.Bundle({}, "any")
    wheel = _Wheel(wheel_directory, bundle.platform)
    for name in _sources():
        with open(os.path.join(HERE, name), "rb") as file:
            wheel.add(name, file.read())
    for name, path in sorted(bundle.files.items()):
        with open(path, "rb") as file:
            wheel.add(f"{NAME}/_lib/{name}", file.read(), 0o755)
    return wheel.close()


def build_editable(
    wheel_directory: str,
    config_settings: Settings = None,
    metadata_directory: Optional[str] = None,
) -> str:
    """A wheel that points here; the library is that of the build."""
    wheel = _Wheel(wheel_directory, "any")
    wheel.add(f"__editable__.{NAME}.pth", (HERE + "\n").encode())
    return wheel.close()


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """The sources of the package, which make a wheel where libmom.so is there."""
    base = f"{NAME}-{_version()}"
    files: List[Tuple[str, bytes]] = [("PKG-INFO", _metadata().encode())]
    names = ["pyproject.toml", "README.md", *_sources()]
    for folder in ("backend", "tests", "examples", "bench"):
        there = os.path.join(HERE, folder)
        if os.path.isdir(there):
            names += [
                f"{folder}/{name}"
                for name in sorted(os.listdir(there))
                if name.endswith(".py")
            ]
    for name in names:
        with open(os.path.join(HERE, name), "rb") as file:
            files.append((name, file.read()))
    path = os.path.join(sdist_directory, f"{base}.tar.gz")
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files:
            entry = tarfile.TarInfo(f"{base}/{name}")
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return os.path.basename(path)


def get_requires_for_build_wheel(config_settings: Settings = None) -> List[str]:
    """Nothing."""
    return []


get_requires_for_build_sdist = get_requires_for_build_wheel
get_requires_for_build_editable = get_requires_for_build_wheel
