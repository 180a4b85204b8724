# SPDX-License-Identifier: Apache-2.0
"""Every example runs to its end and says what it promises; so does the README."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PACKAGE, ROOT, WAIT, environment

EXAMPLES = PACKAGE / "examples"


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment(),
                          capture_output=True, text=True, timeout=2 * WAIT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_publisher_and_subscriber(tmp_path: Path) -> None:
    publisher, subscriber = (str(EXAMPLES / name) for name in (
        "publisher.py", "subscriber.py"))
    assert "published 1001" in run(publisher, "d", cwd=tmp_path)
    assert "received 1001" in run(subscriber, "d", cwd=tmp_path)
    assert "received 0 " in run(subscriber, "d", cwd=tmp_path)
    assert "received 500 " in run(subscriber, "d", "count.even", cwd=tmp_path)
    assert "published 11 " in run(publisher, "d", "10", cwd=tmp_path)
    assert "received 5 " in run(subscriber, "d", "count.even", cwd=tmp_path)


def test_work_queue(tmp_path: Path) -> None:
    output = run(str(EXAMPLES / "work_queue.py"), "d", cwd=tmp_path)
    assert "done 180, failed attempts 110, dead letters 20" in output


def test_asyncio_service(tmp_path: Path) -> None:
    output = run(str(EXAMPLES / "asyncio_service.py"), cwd=tmp_path)
    assert f"100 answers, sum {sum(n * n for n in range(100))}" in output


def test_throughput_plot(tmp_path: Path) -> None:
    output = run(str(EXAMPLES / "throughput_plot.py"), "p.png", "2000", cwd=tmp_path)
    assert "  5000 " in output
    assert (tmp_path / "p.png").exists() != ("no picture" in output)


def test_every_example_is_run() -> None:
    tested = Path(__file__).read_text()
    for example in EXAMPLES.glob("*.py"):
        assert example.name in tested


def test_the_demonstration(tmp_path: Path) -> None:
    output = run("-m", "mom", cwd=tmp_path)
    assert "b'hello'" in output and "['e4']" in output


@pytest.mark.parametrize("readme", [PACKAGE / "README.md", ROOT / "README.md"])
def test_the_readme_works(readme: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(), re.S)
    assert blocks
    (tmp_path / "ten_lines.py").write_text(blocks[0])
    assert len(blocks[0].splitlines()) <= 10
    assert run("ten_lines.py", cwd=tmp_path) == "hello\n"
