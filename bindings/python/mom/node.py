# SPDX-License-Identifier: Apache-2.0
"""A node: one open libmom in this process, for programs that wait."""
from __future__ import annotations

import logging
import os
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

from . import _convert, _handles, _helpers, _log, _operations as operations, info
from ._convert import DEFAULT_TIMEOUT, Body, Headers, Timeout
from ._handles import NodeHandle
from ._operations import Receipt
from .consumer import Consumer
from .errors import Closed
from .streams import Queue, Topic

__all__ = ["Node", "open"]

CLOSE_TIMEOUT = 5.0
Log = Union[logging.Logger, Callable[[int, str, str, str], None]]
_logger = logging.getLogger("mom")


def node_options(
    data_dir: "Union[str, os.PathLike[str], None]",
    listen: Optional[str],
    join: Union[str, Sequence[str], None],
    form: Union[str, Mapping[str, str], None],
    values: Mapping[str, object],
) -> Dict[str, object]:
    """What mom.open was given, by the names of the C options."""
    if isinstance(form, Mapping):
        form = ",".join(f"{name}={address}" for name, address in form.items())
    return {
        "data_dir": None if data_dir is None else os.fspath(data_dir),
        "listen": listen,
        "join": join,
        "form": form,
        **values,
    }


def log_function(log: Optional[Log]) -> Optional[Callable[[int, str, str, str], None]]:
    """A logger or function as a function."""
    return _log.to_logger(log) if isinstance(log, logging.Logger) else log


def open(
    data_dir: "Union[str, os.PathLike[str], None]" = None,
    *,
    listen: Optional[str] = None,
    join: Union[str, Sequence[str], None] = None,
    form: Union[str, Mapping[str, str], None] = None,
    name: Optional[str] = None,
    memory: bool = False,
    role: Optional[str] = None,
    log: Optional[Log] = None,
    **options: object,
) -> "Node":
    """Opens a node: alone, or one of many.

    data_dir: directory of its store, made if it is missing.
    memory: a store without a directory; nothing survives its close.
    listen: "tcp://host:port" (port 0: any) or "ipc:///path", for others to reach it.
    join: address or addresses of nodes of the mesh to join.
    form: {name: address} of all founders, this node included, the same at each.
    name: a label for people.
    role: "store" or "client"; without data_dir and memory it is a client.
    log: a logging.Logger, or a function of (level, id, group, message), called on
        threads of the library.
    options: any other field of mom_options by its name: shards, copies, advertise,
        inflight_bytes_max, cache_bytes_max, log_level.

    It joins or founds its mesh in the background; calls wait for that by themselves.

    Raises mom.Conflict: the directory is in use, or of another mesh, or the address is
    taken; mom.Corrupt, mom.IOFailure, mom.VersionMismatch: its data; mom.Invalid;
    mom.LibraryNotFound.
    """
    values = node_options(
        data_dir,
        listen,
        join,
        form,
        {"name": name, "memory": memory or None, "role": role, **options},
    )
    log_to = log_function(log)
    return Node(
        _handles.open_in_helper(values, log_to)
        if _helpers.is_main()
        else _handles.open_node(values, log_to)
    )


class Node:
    """An open node, made by mom.open; use it as `with mom.open(...) as node:`.

    Any number of threads may use it at the same time, also while one closes it.
    """

    def __init__(self, handle: NodeHandle) -> None:
        self._handle = handle
        lib, pointer = handle.lib, handle.node()
        #: Its id, the fingerprint of its key.
        self.id: int = lib.mom_node_id(pointer)
        #: Its label.
        self.name: str = lib.mom_node_name(pointer).decode("utf-8", "replace")
        #: Where it listens, with the port in force; "" if it does not.
        self.address: str = lib.mom_node_address(pointer).decode("utf-8", "replace")
        #: True when what it stores survives a power cut.
        self.is_durable: bool = lib.mom_node_is_durable(pointer)
        self._serving: List[Consumer] = []
        self._stopped = threading.Event()

    # --- what lies in the mesh --------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """The queue of this name; its `create` makes it."""
        return Queue(self._handle, name)

    def topic(self, name: str) -> Topic:
        """The topic of this name; its `create` makes it."""
        return Topic(self._handle, name)

    def queues(
        self, *, own: bool = False, timeout: Timeout = DEFAULT_TIMEOUT
    ) -> List[str]:
        """The names of all queues of the mesh, sorted; `own`: that this node created.

        Raises mom.Unavailable when some shards do not answer: never a shorter list.
        """
        return self._handle.run(
            operations.names("queue", self._handle.node(), [], own, timeout)
        )

    def topics(
        self, *, own: bool = False, timeout: Timeout = DEFAULT_TIMEOUT
    ) -> List[str]:
        """The names of all topics of the mesh, sorted; as queues."""
        return self._handle.run(
            operations.names("topic", self._handle.node(), [], own, timeout)
        )

    def send(
        self,
        queue: str,
        body: Body,
        *,
        key: Optional[str] = None,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Short for node.queue(queue).send(...)."""
        return self.queue(queue).send(
            body, key=key, headers=headers, create=create, timeout=timeout
        )

    def publish(
        self,
        topic: str,
        body: Body,
        key: Optional[str] = None,
        *,
        headers: Optional[Headers] = None,
        create: bool = False,
        timeout: Timeout = DEFAULT_TIMEOUT,
    ) -> Receipt:
        """Short for node.topic(topic).publish(...)."""
        return self.topic(topic).publish(
            body, key, headers=headers, create=create, timeout=timeout
        )

    # --- the node ---------------------------------------------------------------------

    def wait_ready(self, timeout: Timeout = None) -> None:
        """Waits until it has joined its mesh and knows a leader for every shard.

        Raises mom.Timeout; mom.Conflict: it was refused for good.
        """
        self._handle.run(operations.wait_ready(self._handle.node(), timeout))

    def status(self, timeout: Timeout = DEFAULT_TIMEOUT) -> info.Status:
        """The mesh as this node sees it: nodes, shards, leaders."""
        return self._handle.run(operations.status(self._handle.node(), timeout))

    def metrics(self) -> Dict[str, int]:
        """The counters of this node by name. Never waits."""
        return info.read_metrics(self._handle.lib, self._handle.node())

    def close(self, timeout: Timeout = CLOSE_TIMEOUT) -> None:
        """Hands leadership over, and stops. Other threads that wait get mom.Closed, or
        mom.UnknownOutcome. A second time it does nothing.

        timeout: seconds for an orderly end; it is closed in every case.

        Raises mom.Timeout: it was not orderly; mom.IOFailure: the last sync failed.
        """
        timeout_ms = _convert.milliseconds(timeout)
        _helpers.run(lambda: self._handle.close(timeout_ms))

    @property
    def is_closed(self) -> bool:
        """close() was called."""
        return self._handle.is_closed

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self.is_closed else ""
        return f"<Node {self.name} {self.id:#018x}{state}>"

    # --- handlers ---------------------------------------------------------------------

    def serve(self) -> None:
        """Runs all handlers until `stop` is called, the node is closed, or Ctrl-C
        comes.

        Raises what ended one of the consumers, mom.NotFound for instance.
        """
        failures: List[BaseException] = []
        threads: List[threading.Thread] = []
        self._stopped.clear()

        def run(consumer: Consumer, function: Callable[..., Any]) -> None:
            try:
                consumer.run(function)
            except BaseException as error:
                failures.append(error)
            self._stopped.set()

        try:
            for make, function, count in list(self._handle.handlers):
                consumer = make()
                self._serving.append(consumer)
                for _ in range(count):
                    thread = threading.Thread(
                        target=run,
                        args=(consumer, function),
                        name=f"mom-{function.__name__}",
                    )
                    thread.start()
                    threads.append(thread)
            while threads and not self._stopped.wait(_handles.SLICE_MS / 1000):
                pass
        finally:
            self._end_serving(threads)
        for failure in failures:
            if not isinstance(failure, Closed):
                raise failure

    def _end_serving(self, threads: List[threading.Thread]) -> None:
        for consumer in self._serving:
            try:
                consumer.drain()
                consumer.close()
            except Exception as error:
                _logger.warning("a consumer was not closed in order: %s", error)
        self._serving.clear()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Ends `serve`, each handler after its current message. Any thread, also in a
        handler."""
        self._stopped.set()
