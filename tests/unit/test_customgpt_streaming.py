"""What the frames of a streamed answer tell: taken, finished, or not to be read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from worker.adapters.customgpt.streaming import AnswerStream
from worker.core.errors import LeaseLost
from worker.core.model import Citation

FINISH = {"id": 7, "created_at": "2026-11-20T20:00:00.000000Z", "session_id": "s", "citations": [12, "13.0"]}


def frame(name: str | None, data: Any) -> bytes:
    head = b"" if name is None else b"event: %b\n" % name.encode()
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return head + b"data: " + text + b"\n\n"


def own(status: str, *, is_named: bool = True, **data: Any) -> bytes:
    return frame(status if is_named else None, {"status": status, **data})


class Accepted:
    """Counts acceptances."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


async def read(*pieces: bytes) -> tuple[AnswerStream, int]:
    accepted = Accepted()
    stream = AnswerStream(accepted)
    for piece in pieces:
        if stream.feed(piece):
            break
    await stream.settle()
    return stream, accepted.count


@pytest.mark.parametrize("is_named", [True, False], ids=["with event lines", "data only"])
async def test_a_stream_ends_with_the_message_that_finish_names(is_named: bool) -> None:
    stream, accepted = await read(
        own("start", is_named=is_named, prompt="q"),
        own("progress", is_named=is_named, message="Yes."),
        own("finish", is_named=is_named, **FINISH),
    )
    assert stream.message is not None
    assert (stream.message.message_id, stream.message.is_whole) == (7, False)
    assert stream.message.citations == (Citation(12), Citation(13))
    assert accepted == 1


@pytest.mark.parametrize("first", ["start", "progress", "finish"])
async def test_the_first_frame_of_the_apis_own_proves_that_the_post_was_taken(first: str) -> None:
    _, accepted = await read(own(first, **FINISH))
    assert accepted == 1


@pytest.mark.parametrize(
    "ignored",
    [
        b": comment\n\n",
        b"event: start\n\n",
        frame("ping", b"no json"),
        frame("usage", {"status": "finish", "id": 1}),
        own("thinking", is_named=False),
        frame(None, b"ping"),
        frame(None, b""),
        frame(None, [1]),
        frame(None, {"status": []}),
        frame(None, b"[" * 100_000),
        frame("progress", b"{"),
        frame("progress", [1]),
    ],
)
async def test_what_decides_nothing_is_ignored_and_proves_nothing(ignored: bytes) -> None:
    stream, accepted = await read(ignored)
    assert (stream.message, stream.trouble, accepted) == (None, "", 0)
    stream, accepted = await read(own("start"), ignored, own("finish", **FINISH))
    assert stream.message is not None


@pytest.mark.parametrize(
    "bad",
    [
        frame("start", [1]),
        frame("start", b"[" * 100_000),
        own("error", message="secret"),
        frame("error", b"{"),
        frame("finish", b"{"),
        own("finish", id=None),
        own("finish", id="x"),
        b"data: " + b"x" * (2 * 1024 * 1024),
    ],
)
async def test_what_decides_and_cannot_be_read_ends_the_reading_without_a_message(bad: bytes) -> None:
    stream, _ = await read(own("start"), bad, own("finish", **FINISH))
    assert stream.message is None
    assert stream.trouble
    assert "secret" not in stream.trouble


async def test_an_error_as_the_first_frame_proves_nothing() -> None:
    stream, accepted = await read(own("error"))
    assert stream.trouble
    assert accepted == 0


async def test_the_stream_goes_on_while_the_acceptance_is_being_recorded() -> None:
    may_end = asyncio.Event()

    async def slow() -> None:
        await may_end.wait()

    stream = AnswerStream(slow)
    stream.feed(own("start"))
    assert stream.feed(own("finish", **FINISH))
    settling = asyncio.ensure_future(stream.settle())
    await asyncio.sleep(0)
    assert not settling.done()
    may_end.set()
    await settling


async def test_a_lease_lost_while_the_acceptance_is_recorded_is_told() -> None:
    async def lost() -> None:
        raise LeaseLost

    stream = AnswerStream(lost)
    stream.feed(own("start"))
    with pytest.raises(LeaseLost):
        await stream.settle()
