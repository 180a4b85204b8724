# SPDX-License-Identifier: Apache-2.0
"""Every call of the C API once, for the sync and the asyncio form alike.

An operation is described here and carried out by somebody else: a `Submitted` one is
begun by its `_submit` function and ends with a completion; a `Blocking` one is a C call
that waits. A new call of the C API is a function of a few lines here, and a method of
one line in each form.
"""
from __future__ import annotations

import ctypes
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import (
    Any,
    Callable,
    Generic,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    TypeVar,
    Union,
)

from . import _convert, _declare, info
from ._convert import Body, Options, Timeout, name_bytes
from ._library import library
from .errors import Invalid, check

T = TypeVar("T")
MANY_BYTES_MAX = 16 << 20


@dataclass(frozen=True)
class Receipt:
    """What is known of messages that were acknowledged by a quorum.

    sequence: the number of the (first) message in its queue or topic.
    copies: how many copies had it synced to disk; 0 in a mesh of memory nodes.
    count: how many messages there were.
    """

    sequence: int
    copies: int
    count: int


class Completed(NamedTuple):
    """A mom_completion, without its `user`."""

    error: int
    synced_copies: int
    sequence: int
    acknowledged: int


class Submitted(Generic[T]):
    """`start(completions, user)` answers as the C function; `finish` makes the
    result."""

    __slots__ = ("start", "finish", "what", "timeout")

    def __init__(
        self,
        start: Callable[[int, int], int],
        what: str,
        timeout: Timeout,
        finish: Callable[[Completed], T],
    ) -> None:
        self.start = start
        self.finish = finish
        self.what = what
        self.timeout = timeout


class Blocking(Generic[T]):
    """`run` calls C and waits there."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[], T]) -> None:
        self.run = run


Operation = Union[Submitted[T], Blocking[T]]


def _nothing(_: Completed) -> None:
    return None


def _receipt(done: Completed) -> Receipt:
    return Receipt(done.sequence, done.synced_copies, done.acknowledged)


# --- nodes ----------------------------------------------------------------------------


def wait_ready(node: int, timeout: Timeout) -> Submitted[None]:
    submit = library().mom_wait_ready_submit
    ms = _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(submit(node, ms, queue, user)),
        "waiting for the mesh",
        timeout,
        _nothing,
    )


def status(node: int, timeout: Timeout) -> Blocking[info.Status]:
    lib = library()
    ms = _convert.milliseconds(timeout)

    def run() -> info.Status:
        out = ctypes.c_void_p()
        check(lib.mom_status_get(node, ctypes.byref(out), ms))
        try:
            return info.read_status(lib, out)
        finally:
            lib.mom_status_free(out)

    return Blocking(run)


# --- queues, topics, subscriptions ----------------------------------------------------


def create(
    kind: str, node: int, name: str, options: Options, timeout: Timeout
) -> Submitted[None]:
    """`kind`: "queue" or "topic"."""
    submit = getattr(library(), f"mom_{kind}_create_submit")
    raw, ms = name_bytes(name), _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(submit(node, raw, options, ms, queue, user)),
        f'{kind} "{name}"',
        timeout,
        _nothing,
    )


def simple(
    function: str, kind: str, node: int, name: str, timeout: Timeout
) -> Submitted[None]:
    """Calls that only name a queue or topic: delete, purge."""
    submit = getattr(library(), f"mom_{kind}_{function}_submit")
    raw, ms = name_bytes(name), _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(submit(node, raw, ms, queue, user)),
        f'{kind} "{name}"',
        timeout,
        _nothing,
    )


def subscription_create(
    node: int, topic: str, name: str, options: Options, timeout: Timeout
) -> Submitted[None]:
    submit = library().mom_subscription_create_submit
    raws = name_bytes(topic), name_bytes(name)
    ms = _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(submit(node, *raws, options, ms, queue, user)),
        f'topic "{topic}", subscription "{name}"',
        timeout,
        _nothing,
    )


def subscription_delete(
    node: int, topic: str, name: str, timeout: Timeout
) -> Submitted[None]:
    submit = library().mom_subscription_delete_submit
    raws = name_bytes(topic), name_bytes(name)
    ms = _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(submit(node, *raws, ms, queue, user)),
        f'topic "{topic}", subscription "{name}"',
        timeout,
        _nothing,
    )


def stream_info(
    kind: str, node: int, names: Sequence[str], timeout: Timeout
) -> Blocking[info.StreamInfo]:
    """`names`: of the queue or topic, and of the subscription."""
    lib = library()
    ask = getattr(lib, f"mom_{kind}_info")
    raws = [name_bytes(name) for name in names]
    ms = _convert.milliseconds(timeout)

    def run() -> info.StreamInfo:
        out = _declare.StreamInfo()
        lib.mom_stream_info_init_size(ctypes.byref(out), ctypes.sizeof(out))
        check(ask(node, *raws, ctypes.byref(out), ms), f'{kind} "{names[-1]}"')
        return info.read_stream(out)

    return Blocking(run)


def names(
    kind: str, node: int, of: Sequence[str], own: bool, timeout: Timeout
) -> Blocking[List[str]]:
    """The names of all queues or topics, or of the subscriptions of a topic."""
    lib = library()
    ask = getattr(lib, f"mom_{kind}_list")
    raws = [name_bytes(name) for name in of]
    ms = _convert.milliseconds(timeout)

    def run() -> List[str]:
        out = ctypes.c_void_p()
        check(ask(node, *raws, ctypes.byref(out), ms))
        try:
            return [
                lib.mom_list_name(out, at).decode()
                for at in range(lib.mom_list_count(out))
                if not own or lib.mom_list_is_own(out, at)
            ]
        finally:
            lib.mom_list_free(out)

    return Blocking(run)


# --- sending --------------------------------------------------------------------------


def send(
    node: int, name: str, body: Body, options: Optional[Options], timeout: Timeout
) -> Submitted[Receipt]:
    submit = library().mom_send_submit
    raw, data = name_bytes(name), _convert.body_bytes(body)
    ms = _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(
            submit(node, raw, data, len(data), options, ms, queue, user)
        ),
        f'queue "{name}"',
        timeout,
        _receipt,
    )


def publish(
    node: int,
    name: str,
    body: Body,
    key: Optional[str],
    options: Optional[Options],
    timeout: Timeout,
) -> Submitted[Receipt]:
    submit = library().mom_publish_submit
    raw, data = name_bytes(name), _convert.body_bytes(body)
    raw_key = None if key is None else name_bytes(key, "key")
    ms = _convert.milliseconds(timeout)

    return Submitted(
        lambda queue, user: int(
            submit(node, raw, raw_key, data, len(data), options, ms, queue, user)
        ),
        f'topic "{name}"',
        timeout,
        _receipt,
    )


class Slices:
    """Bodies as an array of mom_slice, without a ctypes object for each of them.

    Small ones are joined into one block and named by offset into it; large ones stay
    where they are.
    """

    __slots__ = ("count", "array", "_keep")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        sizes = list(map(len, bodies))
        self.count = len(sizes)
        self._keep: Any
        if sum(sizes) <= 4096 * self.count:
            block = b"".join(bodies)
            base = ctypes.cast(ctypes.c_char_p(block), ctypes.c_void_p).value or 0
            addresses: Iterable[int] = accumulate(sizes[:-1], initial=base)
            self._keep = block
        else:
            self._keep = pointers = (ctypes.c_char_p * self.count)(*bodies)
            addresses = list((ctypes.c_uint64 * self.count).from_buffer(pointers))
        words = chain.from_iterable(zip(addresses, sizes))
        self.array = (ctypes.c_uint64 * (2 * self.count))(*words)


def split_many(bodies: Iterable[Body]) -> Iterable[List[bytes]]:
    """Bytes in groups that one call takes."""
    group: List[bytes] = []
    size = 0
    for body in bodies:
        data = body if type(body) is bytes else _convert.body_bytes(body)
        size += len(data)
        if group and (size > MANY_BYTES_MAX or len(group) == _declare.MANY_MAX):
            yield group
            group, size = [], len(data)
        group.append(data)
    if group:
        yield group


def send_many(
    node: int,
    name: str,
    bodies: Sequence[bytes],
    options: Optional[Options],
    timeout: Timeout,
) -> Submitted[Receipt]:
    submit = library().mom_send_many_submit
    raw, slices = name_bytes(name), Slices(bodies)
    ms = _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(
            submit(node, raw, slices.array, slices.count, options, ms, queue, user)
        ),
        f'queue "{name}"',
        timeout,
        _receipt,
    )


def publish_many(
    node: int,
    name: str,
    bodies: Sequence[bytes],
    keys: Optional[Sequence[str]],
    options: Optional[Options],
    timeout: Timeout,
) -> Submitted[Receipt]:
    submit = library().mom_publish_many_submit
    raw, slices = name_bytes(name), Slices(bodies)
    ms = _convert.milliseconds(timeout)
    raw_keys: Any = None
    if keys is not None:
        if len(keys) != len(bodies):
            raise Invalid(f"{len(keys)} keys for {len(bodies)} messages")
        raw_keys = (ctypes.c_char_p * len(keys))(
            *[name_bytes(key, "key") for key in keys]
        )
    return Submitted(
        lambda queue, user: int(
            submit(
                node,
                raw,
                raw_keys,
                slices.array,
                slices.count,
                options,
                ms,
                queue,
                user,
            )
        ),
        f'topic "{name}"',
        timeout,
        _receipt,
    )


# --- settling -------------------------------------------------------------------------


def ack_wait(message: int, timeout: Timeout) -> Submitted[None]:
    submit = library().mom_ack_submit
    ms = _convert.milliseconds(timeout)
    return Submitted(
        lambda queue, user: int(submit(message, ms, queue, user)),
        "acknowledging",
        timeout,
        _nothing,
    )
