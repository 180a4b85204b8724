# SPDX-License-Identifier: Apache-2.0
"""Received messages for asyncio."""
from __future__ import annotations

from typing import Any, Optional

from .._convert import Timeout
from .._operations import ack_wait
from ..errors import check
from ..message import BaseBatch, BaseMessage, Delivery
from ._loop import LoopNode

__all__ = ["Batch", "Message"]


class LoopDelivery(Delivery):
    """A delivery that knows its loop."""

    __slots__ = ("loop_node",)

    def __init__(self, loop_node: LoopNode, pointers: Any, count: int) -> None:
        super().__init__(loop_node.handle, pointers, count)
        self.loop_node = loop_node


class Message(BaseMessage):
    """One received message: settle it in time, or use it as `async with message:`.

    Settling does not wait for the leader; it is a coroutine so that it may one day.
    """

    __slots__ = ()

    async def ack(self) -> None:
        """Done with it. Raises mom.Conflict when it is settled already, mom.Closed."""
        self._settle(self._delivery.lib.mom_ack)

    async def nack(self) -> None:
        """Gives it back to its place, for someone else; counts as a delivery."""
        self._settle(self._delivery.lib.mom_nack)

    async def reject(self) -> None:
        """Moves it to the dead-letter queue."""
        self._settle(self._delivery.lib.mom_reject)

    async def extend(self) -> None:
        """Starts its lease anew: there is more to do."""
        check(self._delivery.lib.mom_extend(self._pointer))

    async def ack_wait(self, timeout: Timeout = None) -> None:
        """Acknowledges, and returns when that is committed; seconds, None for ever.

        Raises mom.Conflict when the lease had ended: it comes again.
        """
        delivery = self._delivery
        assert isinstance(delivery, LoopDelivery)
        await delivery.loop_node.run(ack_wait(self._pointer, timeout))
        self._settled = True

    async def __aenter__(self) -> "Message":
        return self

    async def __aexit__(
        self, kind: object, failure: Optional[BaseException], trace: object
    ) -> None:
        self._settle_after(failure)


class Batch(BaseBatch[Message]):
    """Messages that came together. `async with batch:` acknowledges all of them at its
    end, or gives back those that are not settled when an exception leaves it."""

    __slots__ = ()

    async def ack(self) -> None:
        """Acknowledges all that are not settled, in one call."""
        self._ack_all()

    async def __aenter__(self) -> "Batch":
        return self

    async def __aexit__(
        self, kind: object, failure: Optional[BaseException], trace: object
    ) -> None:
        self._settle_all_after(failure)
