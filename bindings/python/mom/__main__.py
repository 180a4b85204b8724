# SPDX-License-Identifier: Apache-2.0
"""`python -m mom`: a small demonstration, each line of it shown before it is run.

Three nodes in this process make a mesh in memory; messages go through them while one is
closed.
"""
from __future__ import annotations

import sys
import tempfile
from typing import Any, Dict

import mom

LINES = """
nodes = [mom.open(memory=True, name=n, form=form, listen=form[n]) for n in form]
nodes[0].wait_ready(30)
work = nodes[0].queue("work").create()
work.send("hello", headers={"colour": "blue"})
consumer = nodes[1].queue("work").consumer()
message = consumer.receive(timeout=10)
print(message, message.headers, "from node", hex(message.publisher))
message.ack()
news = nodes[0].topic("news").create()
mine = news.subscription("mine").create(filters="sport.*")
news.publish_many(["e4", "42"], keys=["sport.chess", "weather.north"])
with mine.consumer() as reader: print([m.text for m in reader.messages(timeout=1)])
nodes[2].close()
print(work.send("two of three are a quorum"))
with consumer.receive(timeout=10) as message: print(message.text)
print([node.name for node in nodes[0].status().nodes if node.is_up])
consumer.close()
"""


def main() -> int:
    """Shows and runs the lines."""
    print(f"mom {mom.__version__}, {mom.library_path()} {mom.library_version()}\n")
    with tempfile.TemporaryDirectory(prefix="mom-demo-") as room:
        form = {name: f"ipc://{room}/{name}" for name in "abc"}
        scope: Dict[str, Any] = {"mom": mom, "form": form}
        try:
            for line in LINES.strip().splitlines():
                print(">>>", line)
                exec(line, scope)
        except mom.LibraryNotFound as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            for node in scope.get("nodes", []):
                node.close(5)
    print("\nhelp(mom) and help(mom.Queue) tell more.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
