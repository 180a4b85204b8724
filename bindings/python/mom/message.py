# SPDX-License-Identifier: Apache-2.0
"""Messages that were received.

Messages come in deliveries, one or many at a time. A delivery owns its messages in C
and
gives them back to the library when nobody refers to it, its messages or views of them
any
more; what was not settled by then goes back to its queue. Their data is read for the
whole delivery at once, when it is first asked for.
"""
from __future__ import annotations

import ctypes
from itertools import accumulate, chain
from typing import (
    Any,
    Callable,
    Dict,
    Generic,
    Iterator,
    List,
    Optional,
    Sequence,
    TypeVar,
    Union,
    overload,
)

from . import _declare, _handles, _log
from ._convert import Timeout
from ._operations import ack_wait
from .errors import check

__all__ = ["Batch", "Message", "Reject"]

WORDS = ctypes.sizeof(_declare.MessageView) // 8
_names = [field[0] for field in _declare.MessageView._fields_]
(
    _BODY,
    _BODY_SIZE,
    _KEY,
    _KEY_SIZE,
    _SEQUENCE,
    _PUBLISHED,
    _PUBLISHER,
    _DELIVERIES,
    _HEADERS,
) = (
    _names.index(name)
    for name in (
        "body",
        "body_size",
        "key",
        "key_size",
        "sequence",
        "published_us",
        "publisher",
        "deliveries",
        "headers_count",
    )
)
#: Bodies of this many bytes on average are read one by one, smaller ones all at once.
GATHER_BYTES_MAX = 4096


class Reject(Exception):
    """Raised in a handler, or in `with message:`: to the dead-letter queue with it."""


class Delivery:
    """The messages that came with one call."""

    __slots__ = (
        "lib",
        "node",
        "pointers",
        "count",
        "_words",
        "_bodies",
        "_generation",
        "__weakref__",
    )

    def __init__(self, node: "_handles.NodeHandle", pointers: Any, count: int) -> None:
        self.lib = node.lib
        self.node = node
        self.pointers = pointers
        self.count = count
        self._words: Optional[List[int]] = None
        self._bodies: Optional[List[bytes]] = None
        self._generation = _handles.generation

    @property
    def words(self) -> List[int]:
        """The mom_message_view of each, one behind the other."""
        if self._words is None:
            views = (ctypes.c_uint64 * (WORDS * self.count))()
            check(
                self.lib.mom_message_view_many(
                    self.pointers, self.count, views, 8 * WORDS
                )
            )
            self._words = views[:]
        return self._words

    @property
    def bodies(self) -> List[bytes]:
        """The bodies of all."""
        if self._bodies is None:
            sizes = self.words[_BODY_SIZE::WORDS]
            total = sum(sizes)
            if total <= GATHER_BYTES_MAX * self.count:
                block = ctypes.create_string_buffer(total or 1)
                self.lib.mom_message_copy_many(self.pointers, self.count, block, total)
                raw = ctypes.string_at(block, total)
                ends = list(accumulate(sizes))
                self._bodies = [
                    raw[start:end] for start, end in zip(chain((0,), ends), ends)
                ]
            else:
                addresses = self.words[_BODY::WORDS]
                self._bodies = [
                    ctypes.string_at(address, size)
                    for address, size in zip(addresses, sizes)
                ]
        return self._bodies

    def __del__(self) -> None:
        if self._generation == _handles.generation:
            lib, pointers, count = self.lib, self.pointers, self.count
            _log.outside_callbacks(
                lambda: lib.mom_message_release_many(pointers, count)
            )


class BaseMessage:
    """What a message holds; how it is settled is added by the sync and asyncio
    forms."""

    __slots__ = ("_delivery", "_index", "_settled")

    def __init__(self, delivery: Delivery, index: int) -> None:
        self._delivery = delivery
        self._index = index
        self._settled = False

    def _word(self, field: int) -> int:
        return self._delivery.words[WORDS * self._index + field]

    @property
    def body(self) -> bytes:
        """The bytes that were sent."""
        return self._delivery.bodies[self._index]

    @property
    def text(self) -> str:
        """The body as UTF-8 text. Raises UnicodeDecodeError."""
        return self.body.decode()

    @property
    def view(self) -> memoryview:
        """The body without a copy, read-only; it keeps the message's memory alive."""
        array = (ctypes.c_char * self._word(_BODY_SIZE)).from_address(self._word(_BODY))
        array.delivery = self._delivery  # type: ignore[attr-defined]
        return memoryview(array).cast("B").toreadonly()

    @property
    def key(self) -> str:
        """The routing key; "" when there is none."""
        return ctypes.string_at(self._word(_KEY), self._word(_KEY_SIZE)).decode()

    @property
    def headers(self) -> Dict[str, bytes]:
        """The headers; the first one where several have the same name."""
        found: Dict[str, bytes] = {}
        lib, pointer = self._delivery.lib, self._pointer
        header = _declare.HeaderView()
        for at in range(self._word(_HEADERS)):
            check(lib.mom_message_header_at(pointer, at, ctypes.byref(header)))
            name = ctypes.string_at(header.name, header.name_size).decode()
            value = ctypes.string_at(header.value, header.value_size)
            found.setdefault(name, value)
        return found

    @property
    def sequence(self) -> int:
        """Its number in the queue or topic, from 1; later ones are larger."""
        return self._word(_SEQUENCE)

    @property
    def published(self) -> float:
        """When it was published: seconds since 1970-01-01 UTC, on the mesh's clock."""
        return self._word(_PUBLISHED) / 1e6

    @property
    def publisher(self) -> int:
        """The id of the node that published it; it cannot be forged."""
        return self._word(_PUBLISHER)

    @property
    def deliveries(self) -> int:
        """How often it has been delivered, this time included."""
        return self._word(_DELIVERIES)

    @property
    def redelivered(self) -> bool:
        """True when somebody may have acted on it before."""
        return self._word(_DELIVERIES) > 1

    @property
    def stream(self) -> str:
        """Name of the queue or topic that it came from."""
        return str(self._delivery.lib.mom_message_stream(self._pointer).decode())

    @property
    def subscription(self) -> str:
        """Name of the subscription that it came from; "" for a queue."""
        return str(self._delivery.lib.mom_message_subscription(self._pointer).decode())

    @property
    def is_settled(self) -> bool:
        """True after ack, nack or reject."""
        return self._settled

    @property
    def _pointer(self) -> int:
        pointer: int = self._delivery.pointers[self._index]
        return pointer

    def _settle(self, function: Callable[[int], int]) -> None:
        error = function(self._pointer)
        if error != 0:
            check(error, f"message {self.sequence}")
        self._settled = True

    def _settle_after(self, failure: Optional[BaseException]) -> None:
        """At the end of a `with` block or handler."""
        lib = self._delivery.lib
        if self._settled:
            return
        if failure is None:
            self._settle(lib.mom_ack)
        elif isinstance(failure, Reject):
            self._settle(lib.mom_reject)
        else:
            self._settled = lib.mom_nack(self._pointer) == 0  # the failure says more

    def __repr__(self) -> str:
        body = self.body
        shown = body if len(body) <= 40 else body[:37] + b"..."
        return f"<{type(self).__name__} {self.stream} #{self.sequence} {shown!r}>"


class Message(BaseMessage):
    """One received message: settle it in time, or use it as `with message:`.

    It belongs to one thread at a time. It stays readable when its consumer or node is
    closed; settling it raises mom.Closed then.
    """

    __slots__ = ()

    def ack(self) -> None:
        """Done with it. Does not wait: see ack_wait and Consumer.flush.

        Raises mom.Conflict when it is settled already, mom.Closed.
        """
        self._settle(self._delivery.lib.mom_ack)

    def nack(self) -> None:
        """Gives it back to its place, for someone else; counts as a delivery."""
        self._settle(self._delivery.lib.mom_nack)

    def reject(self) -> None:
        """Moves it to the dead-letter queue."""
        self._settle(self._delivery.lib.mom_reject)

    def extend(self) -> None:
        """Starts its lease anew: there is more to do."""
        check(self._delivery.lib.mom_extend(self._pointer))

    def ack_wait(self, timeout: Timeout = None) -> None:
        """Acknowledges, and returns when that is committed; seconds, None for ever.

        Raises mom.Conflict when the lease had ended: it comes again.
        """
        self._delivery.node.run(ack_wait(self._pointer, timeout))
        self._settled = True

    def __enter__(self) -> "Message":
        return self

    def __exit__(
        self, kind: object, failure: Optional[BaseException], trace: object
    ) -> None:
        self._settle_after(failure)


M = TypeVar("M", bound=BaseMessage)


class BaseBatch(Sequence[M], Generic[M]):
    """Messages that came together: a sequence, settled one by one or as a whole."""

    __slots__ = ("_delivery", "_messages")

    def __init__(self, delivery: Delivery, make: Callable[[Delivery, int], M]) -> None:
        self._delivery = delivery
        self._messages = [make(delivery, index) for index in range(delivery.count)]

    def __len__(self) -> int:
        return self._delivery.count

    @overload
    def __getitem__(self, index: int) -> M:
        ...

    @overload
    def __getitem__(self, index: slice) -> List[M]:
        ...

    def __getitem__(self, index: Union[int, slice]) -> Union[M, List[M]]:
        return self._messages[index]

    def __iter__(self) -> Iterator[M]:
        return iter(self._messages)

    @property
    def bodies(self) -> List[bytes]:
        """The bodies of all, in order."""
        return self._delivery.bodies

    def _ack_all(self) -> None:
        delivery = self._delivery
        left = [message for message in self._messages if not message._settled]
        if len(left) == delivery.count:
            error = delivery.lib.mom_ack_many(delivery.pointers, delivery.count)
        else:
            rest = (ctypes.c_void_p * len(left))(
                *[message._pointer for message in left]
            )
            error = delivery.lib.mom_ack_many(rest, len(left))
        check(error)
        for message in left:
            message._settled = True

    def _settle_all_after(self, failure: Optional[BaseException]) -> None:
        if failure is None:
            self._ack_all()
            return
        for message in self._messages:
            message._settle_after(failure)


class Batch(BaseBatch[Message]):
    """Messages that came together. `with batch:` acknowledges all of them at its end,
    or gives back those that are not settled when an exception leaves it."""

    __slots__ = ()

    def ack(self) -> None:
        """Acknowledges all that are not settled, in one call."""
        self._ack_all()

    def __enter__(self) -> "Batch":
        return self

    def __exit__(
        self, kind: object, failure: Optional[BaseException], trace: object
    ) -> None:
        self._settle_all_after(failure)
