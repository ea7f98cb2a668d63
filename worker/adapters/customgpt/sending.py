"""The last line before bytes leave: whether they still may, and the note that they did.

``has_begun`` is what tells a definite failure from an unknown one, whatever exception follows: a request of
which no byte left this process is without effect. It is noted at the only place where bytes are written,
instead of being guessed from the type of an exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from worker.adapters.customgpt.exchange import NotSentError

#: Not every system has BOOTTIME; where it is missing MONOTONIC goes on while the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Return seconds of a clock that goes on while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class Sending:
    """One request on its way to the socket."""

    #: Boottime after which no byte may leave.
    deadline: float
    has_begun: bool = False
    #: Called when the bytes left after the deadline, the check in ``begin`` notwithstanding.
    on_late: Callable[[], None] | None = None

    def begin(self, connection: Connection) -> None:
        """Note that bytes are about to leave, or raise NotSentError when they must not."""
        if self.has_begun:
            # aiohttp repeats GET, PUT and DELETE by itself when a connection is closed before the answer.
            raise NotSentError("connection closed")
        if boottime() > self.deadline:
            # The connect time-out is kept by the loop's clock; this process may have been suspended since.
            raise NotSentError("too late to send")
        protocol = connection.protocol
        if protocol is None or protocol.should_close:
            # Bytes that came unasked on an idle connection would be taken for the answer to this request.
            raise NotSentError("the pooled connection is out of step")
        self.has_begun = True

    def end(self) -> None:
        """Say so when this process was stopped between the check and the write."""
        if self.on_late is not None and boottime() > self.deadline:
            self.on_late()


#: The request that this task is sending. aiohttp makes the request object and hands nothing through to it.
current_sending: ContextVar[Sending] = ContextVar("sending")


class WatchedRequest(aiohttp.ClientRequest):
    """A request that notes the moment in which its bytes leave."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Check that the bytes may still leave, then write them."""
        current_sending.get().begin(conn)
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write headers and body, then look at the clock.

        aiohttp may do this in a task of its own that begins when ``send`` has returned: looked at there, the
        clock would tell nothing of when the bytes left.
        """
        await super().write_bytes(writer, conn, content_length)
        current_sending.get().end()
