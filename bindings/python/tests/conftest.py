# SPDX-License-Identifier: Apache-2.0
"""What the tests share: nodes, programs of their own, the command line."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

PACKAGE = Path(__file__).resolve().parent.parent
ROOT = PACKAGE.parent.parent
sys.path.insert(0, str(PACKAGE))

import mom  # noqa: E402

#: Long enough for any machine; nothing waits so long when all is well.
WAIT = 60.0


@pytest.fixture
def node() -> Iterator[mom.Node]:
    """A node alone, in memory."""
    with mom.open(memory=True) as opened:
        yield opened


def environment() -> "dict[str, str]":
    """For programs that import mom."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE), "MOM_LIBRARY": mom.library_path()}


@pytest.fixture
def python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a program of Python to its end; its standard output and error are text."""

    def run(code: str, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-X", "dev", "-c", code, *arguments],
            env=environment(), capture_output=True, text=True, timeout=WAIT, **options)

    return run


@pytest.fixture
def cli() -> Path:
    """The program mom of the same build as the library."""
    folder = os.environ.get("MOM_BIN")
    found = Path(folder) if folder else Path(mom.library_path()).parent.parent / "bin"
    if not (found / "mom").exists():
        pytest.skip("the program mom was not built")
    return found / "mom"


@pytest.fixture
def processes() -> Iterator[List["subprocess.Popen[str]"]]:
    """Processes that end with the test."""
    started: List["subprocess.Popen[str]"] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
