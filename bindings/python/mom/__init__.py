# SPDX-License-Identifier: Apache-2.0
"""Durable, replicated queues and topics inside your program.

    import mom

    with mom.open("data") as node:                  # a node in this process
        work = node.queue("work").create(if_missing=True)
        work.send("hello")                          # returns when it is on disk
        with work.consumer() as consumer:
            for message in consumer:
                with message:                       # acknowledged at its end,
                    print(message.text)             # given back on an exception
                break

Topics give every subscription each message:

        news = node.topic("news").create(if_missing=True)
        mine = news.subscription("mine").create(filters="sport.*", if_missing=True)
        news.publish("e4", "sport.chess")

Rules for all of it:

- Timeouts are seconds; None waits for ever. Ctrl-C ends every wait.
- Bodies are bytes; str is sent as UTF-8. Headers are a mapping.
- Each result class of the library is an exception under mom.Error. One other than
  mom.UnknownOutcome means: it was not done, now or later.
- Objects may be used by any number of threads, also while one closes them; a message
  belongs to one at a time.
- A child made by fork must open its own node: what its parent opened is mom.Closed
there. - For rates use send_many, publish_many, and Consumer.batches.

`mom.aio` has the same for asyncio. `python -m mom` is a demonstration.
"""
from __future__ import annotations

from . import errors
from ._convert import DEFAULT_TIMEOUT
from ._library import library_path, library_version, use_library
from ._operations import Receipt
from ._version import __version__
from .consumer import Consumer
from .errors import *  # noqa: F403
from .info import NodeInfo, ShardInfo, Status, StreamInfo
from .message import Batch, Message, Reject
from .node import Node, open
from .streams import Queue, Subscription, Topic

__all__ = [
    "Batch",
    "Consumer",
    "DEFAULT_TIMEOUT",
    "Message",
    "Node",
    "NodeInfo",
    "Queue",
    "Receipt",
    "Reject",
    "ShardInfo",
    "Status",
    "StreamInfo",
    "Subscription",
    "Topic",
    "__version__",
    "library_path",
    "library_version",
    "open",
    "use_library",
]
__all__ += errors.__all__
