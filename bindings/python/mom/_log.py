# SPDX-License-Identifier: Apache-2.0
"""Log lines of the library, which come on its own threads.

Such a thread may not call the library. Python code that runs there may happen to
collect
garbage, and finalizers of handles do call it: they ask `outside_callbacks` for a thread
where they may.
"""
from __future__ import annotations

import logging
import threading
from typing import Any, Callable, List, Optional, Set

from . import _declare, _helpers
from ._convert import Options

LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}

_inside: Set[int] = set()  # threads that are in a callback


def outside_callbacks(function: Callable[[], Any]) -> None:
    """Calls it now, or, on a thread of the library, soon on another."""
    if _inside and threading.get_ident() in _inside:
        _helpers.submit(function)
    else:
        function()


def to_logger(logger: logging.Logger) -> Callable[[int, str, str, str], None]:
    """A log function for a logger of the standard library."""

    def log(level: int, ident: str, group: str, message: str) -> None:
        logger.log(level, "%s %s: %s", ident, group, message)

    return log


def attach(
    lib: Any, options: Options, log: Optional[Callable[[int, str, str, str], None]]
) -> List[Any]:
    """Sets it among the options; what is returned must live as long as the node."""
    if log is None:
        return []
    write = log

    def called(level: int, ident: bytes, group: bytes, message: bytes, _: int) -> None:
        thread = threading.get_ident()
        _inside.add(thread)
        try:
            write(
                LEVELS.get(level, logging.ERROR),
                ident.decode("utf-8", "replace"),
                group.decode("utf-8", "replace"),
                message.decode("utf-8", "replace"),
            )
        finally:
            _inside.discard(thread)

    callback = _declare.LOG_FN(called)
    lib.mom_options_set_log(options, callback, None)
    return [callback]
