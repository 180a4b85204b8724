# SPDX-License-Identifier: Apache-2.0
"""Wheels: made and installed offline, with all that they need inside."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import PACKAGE, WAIT

import mom

sys.path.insert(0, str(PACKAGE / "backend"))
import mom_backend  # noqa: E402
import mom_elf  # noqa: E402

USE = """
import mom
with mom.open(memory=True) as node:
    node.send("q", "hello", create=True)
    with node.queue("q").consumer() as consumer, consumer.receive(60) as message:
        print(message.text, mom.library_path())
print(*{line.split()[-1] for line in open("/proc/self/maps") if ".so" in line})
"""


@pytest.fixture(autouse=True)
def carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOM_LIBRARY", mom.library_path())


def test_a_wheel_installs_offline_and_brings_its_libraries(tmp_path: Path) -> None:
    pytest.importorskip("ensurepip")
    room = tmp_path / "venv"
    venv.create(room, with_pip=True)
    subprocess.run([room / "bin" / "pip", "install", "--no-index", "--no-cache-dir", "--no-compile",
                    "--disable-pip-version-check", str(PACKAGE)],
                   check=True, capture_output=True, timeout=3 * WAIT)
    env = {name: value for name, value in os.environ.items()
           if name not in ("MOM_LIBRARY", "PYTHONPATH", "LD_LIBRARY_PATH")}
    done = subprocess.run([room / "bin" / "python", "-c", USE], env=env, cwd=tmp_path,
                          capture_output=True, text=True, timeout=WAIT, check=True)
    text, *loaded = done.stdout.split()
    assert text == "hello"
    for library in ("libmom", "libnng", "librocksdb", "libsodium", "libprotobuf-c",
                    "libsnappy"):
        places = [path for path in loaded if Path(path).name.startswith(library + ".so")]
        assert places, library
        assert all(path.startswith(str(room)) for path in places), places


def test_the_tag_is_what_the_libraries_need(tmp_path: Path) -> None:
    name = mom_backend.build_wheel(str(tmp_path))
    tag = re.fullmatch(r"mom-[\d.]+-py3-none-manylinux_2_(\d+)_(\w+)\.whl", name)
    assert tag is not None, name
    assert tag[2] == os.uname().machine
    with zipfile.ZipFile(tmp_path / name) as wheel:
        assert wheel.testzip() is None
        libraries = [entry for entry in wheel.namelist() if "/_lib/" in entry]
        wheel.extractall(tmp_path, libraries)
        assert f"Tag: py3-none-manylinux_2_{tag[1]}_{tag[2]}" in wheel.read(
            f"mom-{mom.__version__}.dist-info/WHEEL").decode()
    carried = {Path(entry).name for entry in libraries}
    for entry in libraries:
        needs = mom_elf.read(str(tmp_path / entry))
        for library in needs.libraries:
            assert library in carried or re.match(
                r"(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|ld-linux)", library)
        for version in sum(needs.versions.values(), []):
            wanted = re.fullmatch(r"GLIBC_2\.(\d+)", version)
            assert wanted is None or int(wanted[1]) <= int(tag[1])
    assert mom_elf.read(str(tmp_path / "mom/_lib/libmom.so.0")).run_path == "$ORIGIN"


def test_without_a_library_nothing_is_pretended(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOM_LIBRARY", "/nowhere/libmom.so")
    with pytest.raises(RuntimeError, match="build the library first"):
        mom_backend.build_wheel(str(tmp_path))
    name = mom_backend.build_wheel(str(tmp_path), {"library": "none"})
    assert name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(tmp_path / name) as wheel:
        assert not [entry for entry in wheel.namelist() if ".so" in entry]
        assert "mom/py.typed" in wheel.namelist()


def test_sources_and_editable(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / mom_backend.build_sdist(str(tmp_path))) as archive:
        names = archive.getnames()
    base = f"mom-{mom.__version__}/"
    for name in ("PKG-INFO", "pyproject.toml", "mom/aio/node.py", "backend/mom_elf.py"):
        assert base + name in names
    with zipfile.ZipFile(tmp_path / mom_backend.build_editable(str(tmp_path))) as wheel:
        assert wheel.read("__editable__.mom.pth").decode().strip() == str(PACKAGE)


def test_files_that_are_no_libraries_are_refused(tmp_path: Path) -> None:
    text: Any = tmp_path / "text.so"
    text.write_text("not a library")
    with pytest.raises(ValueError, match="no 64-bit"):
        mom_elf.read(str(text))
