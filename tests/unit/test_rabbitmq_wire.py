"""How frames leave: together where they were published together."""

from __future__ import annotations

import asyncio

import pika

from worker.adapters.rabbitmq.wire import PIECE_BYTES, WireConnection


class Recorder:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


def connection_to(transport: Recorder) -> WireConnection:
    connection = WireConnection(
        pika.ConnectionParameters(),
        custom_ioloop=asyncio.get_running_loop(),
        internal_connection_workflow=False,
    )
    connection._transport = transport
    return connection


async def test_frames_that_are_gathered_leave_in_one_piece_and_the_next_by_itself() -> None:
    transport = Recorder()
    connection = connection_to(transport)
    with connection.gathering():
        connection._output_marshaled_frames([b"method", b"header", b"body"])
        connection._output_marshaled_frames([b"next"])
        assert transport.pieces == []
    connection._output_marshaled_frames([b"later"])
    assert transport.pieces == [b"methodheaderbodynext", b"later"]


async def test_nothing_gathered_is_nothing_sent() -> None:
    transport = Recorder()
    with connection_to(transport).gathering():
        pass
    assert transport.pieces == []


async def test_what_is_gathered_leaves_in_pieces_of_an_end() -> None:
    transport = Recorder()
    connection = connection_to(transport)
    frames = [bytes([number % 256]) * 1000 for number in range(150)]
    with connection.gathering():
        connection._output_marshaled_frames(frames)
    assert [len(piece) for piece in transport.pieces] == [PIECE_BYTES, PIECE_BYTES, 150_000 - 2 * PIECE_BYTES]
    assert b"".join(transport.pieces) == b"".join(frames)
