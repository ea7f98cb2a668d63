"""pika's asyncio connection, mended where it would do harm, and its calls made awaitable."""

from __future__ import annotations

import asyncio
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pika
from pika import frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError, ChannelWrongStateError, ConnectionWrongStateError, StreamLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.channel import Channel
    from pika.connection import Parameters

#: Seconds a declare, a bind or a consume may take. The broker answers in milliseconds, in seconds while a
#: quorum queue elects its leader; one that does not is treated as gone, and the connection is made anew.
CALL_TIMEOUT_S = 20.0

#: Bytes sent in one piece. What the kernel does not take of a piece is copied, so it must not be endless.
PIECE_BYTES = 65_536

#: Seconds an orderly close may take. It must leave most of the grace time of a stop to the turns.
CLOSE_TIMEOUT_S = 5.0


class BrokerSilent(Exception):
    """The broker takes the connection but does not answer."""


class WireConnection(AsyncioConnection):
    """A connection that a message with headers pika cannot read does not tear down.

    pika raises from its reader on, for example, a date beyond the year 9999 or a NaN, and the connection is
    lost. The message returns to the queue and comes again: one such event would stop intake for the fleet.
    Here its properties are left empty, so that intake sees the body and decides.
    """

    #: Frames that wait to be sent together; None when each is sent by itself.
    _gathered: list[bytes] | None = None

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Send what is published within together, at the end; nothing may be awaited within.

        pika makes three system calls for a message, one for each of its frames. For a short reply they cost
        more than all else that publishing it takes.
        """
        self._gathered = []
        try:
            yield
        finally:
            gathered, self._gathered = b"".join(self._gathered), None
            for start in range(0, len(gathered), PIECE_BYTES):
                self._adapter_emit_data(gathered[start : start + PIECE_BYTES])

    def abort(self) -> None:
        """Drop the connection at once.

        One that is merely forgotten would go on answering heartbeats, and keep the deliveries it holds from
        everybody else.
        """
        if not self.is_closed:
            self._terminate_stream(StreamLostError("given up"))

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            super()._adapter_emit_data(data)
        else:
            self._gathered.append(data)

    def _read_frame(self) -> tuple[int, frame.Frame | frame.ProtocolHeader | None]:
        try:
            return super()._read_frame()
        except Exception:
            header = bare_header(self._frame_buffer)
            if header is None:
                raise
            return header


def bare_header(data: bytes) -> tuple[int, frame.Header] | None:
    """Read the content header at the start of the data without its properties; None when it is not one."""
    if len(data) < spec.FRAME_HEADER_SIZE or data[0] != spec.FRAME_HEADER:
        return None
    _, channel_number, size = struct.unpack_from(">BHL", data)
    _, _, body_size = struct.unpack_from(">HHQ", data, spec.FRAME_HEADER_SIZE)
    header = frame.Header(channel_number, body_size, pika.BasicProperties())  # type: ignore[no-untyped-call]
    return spec.FRAME_HEADER_SIZE + size + spec.FRAME_END_SIZE, header


class Wire:
    """One open connection and the future that ends with it."""

    def __init__(self, connection: WireConnection, lost: asyncio.Future[Exception]) -> None:
        self.connection = connection
        #: Done, with the reason, when the connection is closed by whomever.
        self.lost = lost

    async def open_channel(self) -> OpenChannel:
        """Open a channel; raises what closed the connection meanwhile."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        closed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        def on_open(_: Channel) -> None:
            if not opened.done():
                opened.set_result(None)

        def on_close(_: Channel, reason: Exception) -> None:
            if not closed.done():
                closed.set_result(reason)

        channel = self.connection.channel(on_open_callback=on_open)
        channel.add_on_close_callback(on_close)
        # pika cancels its consumers before it closes. A cancel lets the stand-by receive later messages
        # before ours return to the queue (PROTOCOL 2), so nothing of ours ever cancels.
        channel.basic_cancel = lambda *_, **__: None  # type: ignore[method-assign]
        await first_of(opened, closed)
        return OpenChannel(channel, closed)

    async def close(self) -> None:
        """Close the connection, at once when it takes long."""
        with suppress(ConnectionWrongStateError):
            self.connection.close()
        await asyncio.wait({self.lost}, timeout=CLOSE_TIMEOUT_S)
        if not self.lost.done():
            self.connection.abort()


class OpenChannel:
    """A channel, and the future that ends with it."""

    def __init__(self, channel: Channel, closed: asyncio.Future[Exception]) -> None:
        self.channel = channel
        #: Done, with the reason, when the channel is closed by whomever.
        self.closed = closed

    async def call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a synchronous AMQP method and return its answer; raises the reason when the channel closes."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_answer(answer: Any) -> None:
            if not answered.done():
                answered.set_result(answer)

        method(**arguments, callback=on_answer)
        return await first_of(answered, self.closed)

    async def close(self) -> None:
        """Close the channel and wait for it, but not long; what is unacked returns to its queue."""
        with suppress(ChannelWrongStateError, ConnectionWrongStateError):
            self.channel.close()
        await asyncio.wait({self.closed}, timeout=CLOSE_TIMEOUT_S)


async def first_of(wanted: asyncio.Future[Any], ended: asyncio.Future[Exception]) -> Any:
    """Wait for the answer and return it, or raise the reason for which none can come any more."""
    await asyncio.wait({wanted, ended}, timeout=CALL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if wanted.done():
        return wanted.result()
    if ended.done():
        raise ended.result()
    raise BrokerSilent


async def open_wire(parameters: Parameters) -> Wire:
    """Open a connection; raises pika's reason when it cannot be had."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    lost: asyncio.Future[Exception] = loop.create_future()

    def on_open(_: Any) -> None:
        if not opened.done():
            opened.set_result(None)

    def on_lost(_: Any, reason: Any) -> None:
        if not lost.done():
            lost.set_result(reason if isinstance(reason, Exception) else AMQPError(repr(reason)))

    connection = WireConnection(
        parameters,
        on_open_callback=on_open,
        on_open_error_callback=on_lost,
        on_close_callback=on_lost,
        custom_ioloop=loop,
    )
    wire = Wire(connection, lost)
    try:
        await first_of(opened, lost)
    except BaseException:
        if not lost.done():
            await wire.close()
        raise
    return wire
