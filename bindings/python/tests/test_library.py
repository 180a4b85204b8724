# SPDX-License-Identifier: Apache-2.0
"""Finding the library, and what is said when that fails."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import WAIT, environment

import mom


def run(code: str, library: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], env={**environment(), "MOM_LIBRARY": library, **extra},
        capture_output=True, text=True, timeout=WAIT)


OPEN = "import mom\ntry:\n    mom.open(memory=True)\nexcept mom.Error as e: print(repr(e))"


def test_a_path_that_is_not_there_is_named() -> None:
    done = run(OPEN, "/nowhere/libmom.so")
    assert "LibraryNotFound" in done.stdout and "/nowhere/libmom.so is not there" in done.stdout
    assert "ninja -C build" in done.stdout  # what to do


def test_another_library_is_not_taken_for_libmom(tmp_path: Path) -> None:
    done = run(OPEN, "/lib/x86_64-linux-gnu/libc.so.6")
    assert "LibraryNotFound" in done.stdout


def test_importing_needs_no_library() -> None:
    done = run("import mom; print(mom.__version__); help(mom.Queue)", "/nowhere/libmom.so")
    assert done.returncode == 0 and mom.__version__ in done.stdout
    assert "Sends a message" in done.stdout


def test_an_older_package_says_what_does_not_fit() -> None:
    code = "import mom._library as l; l.__version__ = '0.9.1'\n" + OPEN
    done = run(code, mom.library_path())
    assert "VersionMismatch" in done.stdout
    assert "0.1.0" in done.stdout and "0.9.1" in done.stdout


def test_use_library_wins_and_is_for_the_beginning() -> None:
    code = (f"import mom; mom.use_library({mom.library_path()!r}); mom.library_version()\n"
            "try: mom.use_library('x')\nexcept mom.Conflict as e: print('conflict', e)")
    assert "conflict" in run(code, "/nowhere/libmom.so").stdout


def test_the_build_of_the_checkout_is_found(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmom.so.0").symlink_to(mom.library_path())
    env: Any = environment()
    del env["MOM_LIBRARY"]
    env["MOM_BUILD_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", "import mom; print(mom.library_path())"],
                          env=env, capture_output=True, text=True, timeout=WAIT)
    assert done.stdout.strip() == str(tmp_path / "lib" / "libmom.so.0"), done.stderr
