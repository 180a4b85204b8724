# SPDX-License-Identifier: Apache-2.0
"""What programs pass in: bodies, names, timeouts; and options in text."""
from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from . import _declare
from ._library import library
from .errors import Invalid, check

Body = Union[bytes, bytearray, memoryview, str]
Headers = Mapping[str, Union[bytes, str]]
Timeout = Optional[float]

#: Seconds that a command may take when nothing else is said.
DEFAULT_TIMEOUT = 30.0
_MS_MAX = 2**31 - 1


def body_bytes(body: Body) -> bytes:
    """The bytes of a body; `str` as UTF-8."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    raise TypeError(f"a body is bytes or str, not {type(body).__name__}")


def name_bytes(name: str, what: str = "name") -> bytes:
    """A name as C takes it."""
    if not isinstance(name, str):
        raise TypeError(f"{what} is a str, not {type(name).__name__}")
    encoded = name.encode()
    if b"\0" in encoded:
        raise Invalid(f"{what} {name!r} holds a zero character")
    return encoded


def milliseconds(timeout: Timeout) -> int:
    """Seconds to milliseconds, rounded up; None is for ever."""
    if timeout is None:
        return _declare.FOREVER
    if not timeout >= 0:
        raise Invalid(f"timeout is {timeout}: seconds from 0 on, or None for ever")
    return int(min(math.ceil(timeout * 1000), _MS_MAX))


def seconds_option(seconds: Optional[float]) -> Optional[int]:
    """A duration among options: None stays None, which means the default."""
    return None if seconds is None else milliseconds(seconds)


def _option_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return str(value)


class Options:
    """Options of the C library, made by name: no struct of theirs is known here.

    `kind` is "options", "stream_options", ...; values of None are left at their
    default. The object itself is passed to C, which keeps it for the call.
    """

    __slots__ = ("_as_parameter_", "_free", "_set")

    def __init__(self, kind: str, values: Mapping[str, object]) -> None:
        self._as_parameter_: Any = None
        lib = library()
        self._free = getattr(lib, f"mom_{kind}_free")
        self._set = getattr(lib, f"mom_{kind}_set")
        self._as_parameter_ = getattr(lib, f"mom_{kind}_new")()
        if not self._as_parameter_:
            check(-18)
        for name, value in values.items():
            if value is not None:
                self.set(name, _option_text(value))

    def set(self, name: str, value: str) -> None:
        """One option, as text."""
        check(
            self._set(
                self._as_parameter_, name_bytes(name, "option"), name_bytes(value, name)
            )
        )

    def __del__(self) -> None:
        if self._as_parameter_:
            self._free(self._as_parameter_)
            self._as_parameter_ = None


def send_options(
    key: Optional[str], headers: Optional[Headers], create: bool
) -> Optional[Options]:
    """None when all is default: nothing to make for a plain message."""
    if key is None and not headers and not create:
        return None
    options = Options("send_options", {"key": key, "create": create or None})
    if headers:
        add = library().mom_send_options_add_header
        for name, value in headers.items():
            raw = body_bytes(value)
            check(add(options, name_bytes(name, "header"), raw, len(raw)))
    return options


def subscription_options(
    filters: Union[str, Sequence[str]], values: Dict[str, object]
) -> Options:
    """`filters`: one pattern or several."""
    options = Options("subscription_options", values)
    for pattern in [filters] if isinstance(filters, str) else filters:
        options.set("filter", pattern)
    return options
