# SPDX-License-Identifier: Apache-2.0
"""Types: the package passes mypy --strict for Python 3.9, where mypy is there."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PACKAGE


def test_mypy_is_content(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.9",
         "--cache-dir", str(tmp_path), "mom", "examples"],
        cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_public_name_has_a_docstring() -> None:
    import mom
    import mom.aio

    for module in (mom, mom.aio):
        for name in module.__all__:
            thing = getattr(module, name)
            if not callable(thing):
                continue
            assert thing.__doc__, name
            for part, method in vars(thing).items() if isinstance(thing, type) else ():
                if callable(method) and not part.startswith("_"):
                    assert method.__doc__, f"{name}.{part}"
