# SPDX-License-Identifier: Apache-2.0
"""Result classes as exceptions: one class for each, all of them under `Error`.

An error other than `UnknownOutcome` means: it was not done, now or later. `code` is the
number of the class in C and the exit status of the command line; `result` its name
there.
"""
from __future__ import annotations

import queue
from typing import Dict, Optional, Type

from ._library import library

__all__ = [
    "Closed",
    "Conflict",
    "Corrupt",
    "Empty",
    "Error",
    "Exists",
    "Forbidden",
    "Full",
    "IOFailure",
    "Invalid",
    "LibraryNotFound",
    "NoMemory",
    "NotFound",
    "NotSubscribed",
    "TooBig",
    "Timeout",
    "Unauthenticated",
    "Unavailable",
    "UnknownOutcome",
    "VersionMismatch",
]


class Error(Exception):
    """What every call of mom raises.

    code (int): the number of the result class, 0 for none.
    result (str): its name in C without prefix, "NOT_FOUND".
    advice (str): what to do about it.
    acknowledged (int): of sending many: how many messages are acknowledged all the
    same.
    """

    code = 0
    result = ""
    advice = ""
    acknowledged = 0


class Invalid(Error, ValueError):
    """A bad argument, value or usage: fix the call."""

    code, result = 2, "INVALID"


class Empty(Error, queue.Empty):
    """Nothing to deliver now."""

    code, result = 3, "EMPTY"


class NotFound(Error, LookupError):
    """No such queue, topic or thing: create it, or check the name."""

    code, result = 4, "NOT_FOUND"


class Exists(Error):
    """It is there already; nothing was changed."""

    code, result = 5, "EXISTS"


class Forbidden(Error, PermissionError):
    """Known, and not allowed."""

    code, result = 6, "FORBIDDEN"


class Unauthenticated(Error, PermissionError):
    """Who are you?"""

    code, result = 7, "UNAUTHENTICATED"


class NotSubscribed(Error, LookupError):
    """There is no such subscription: create it first."""

    code, result = 8, "NOT_SUBSCRIBED"


class TooBig(Error, ValueError):
    """Over the size limit: split the message."""

    code, result = 9, "TOO_BIG"


class Conflict(Error):
    """Stale, concurrent, in use, or of another mesh."""

    code, result = 10, "CONFLICT"


class Full(Error, queue.Full):
    """A stated limit is reached: consume or wait, then send again."""

    code, result = 11, "FULL"


class Unavailable(Error, ConnectionError):
    """No quorum, or no reachable peer now: retry later."""

    code, result = 12, "UNAVAILABLE"


class Timeout(Error, TimeoutError):
    """The deadline passed, and nothing was done."""

    code, result = 13, "TIMEOUT"


class UnknownOutcome(Error):
    """The deadline passed with the command on its way: it may have been done."""

    code, result = 14, "UNKNOWN_OUTCOME"


class Closed(Error):
    """The node or consumer is closed, or was opened before this process was forked."""

    code, result = 15, "CLOSED"


class IOFailure(Error, OSError):
    """The local store failed: check the disk, then open the node again."""

    code, result = 16, "IO"


class Corrupt(Error):
    """Stored data is damaged on every copy."""

    code, result = 17, "CORRUPT"


class NoMemory(Error, MemoryError):
    """Refused for lack of memory; nothing was changed."""

    code, result = 18, "NO_MEMORY"


class VersionMismatch(Error):
    """The two sides do not fit: bring both to one version."""

    code, result = 19, "VERSION"


class LibraryNotFound(Error, ImportError):
    """libmom.so was not found, or is none; the text says where it was looked for."""


CLASSES: Dict[int, Type[Error]] = {
    kind.code: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Error) and kind.code != 0
}

INVALID, EMPTY, EXISTS, FULL = 2, 3, 5, 11
TIMEOUT, CLOSED = 13, 15


def error_of(error: int, what: str = "", text: Optional[str] = None) -> Error:
    """The exception for a result: `error` is minus the number of its class.

    `text` None: takes the detail of the last error on this thread; "": there is none,
    as of a call that was answered through a completion queue.
    """
    lib = library()
    if text is None:
        text = lib.mom_last_error_text().decode("utf-8", "replace")
    if not text:
        text = lib.mom_strerror(error).decode()
    advice = lib.mom_err_advice(error).decode()
    kind = CLASSES.get(-error, Error)
    made = kind(f"{what}: {text} ({advice})" if what else f"{text} ({advice})")
    made.advice = advice
    return made


def check(error: int, what: str = "") -> None:
    """Raises for a result of a call on this thread other than 0."""
    if error != 0:
        raise error_of(error, what)
