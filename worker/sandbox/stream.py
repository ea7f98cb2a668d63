"""A streamed answer: server-sent events start, progress, finish, and the ways a stream can break."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker.sandbox import connection, messages, shapes
from worker.sandbox.envelope import ApiError, date_text, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.sandbox.call import Call
    from worker.sandbox.faults import Action
    from worker.sandbox.messages import Pending
    from worker.sandbox.state import Message
    from worker.sandbox.world import World

#: Letters of one progress frame; a long answer has larger ones, so that it has not more than some dozens.
_DELTA_CHARS = 24
_MOST_DELTAS = 50

_HEADERS = {"Content-Type": "text/event-stream; charset=UTF-8", "Cache-Control": "no-cache, private"}


async def tell(
    request: web.BaseRequest, call: Call, world: World, pending: Pending, action: Action | None
) -> web.StreamResponse:
    """Stream the answer to an accepted post. The exchange is stored before its last frame leaves."""
    events = Events(request, world)
    await events.open()
    if action is not None and action.cuts_stream:
        await _break_off(events, request, call, pending, action)
        return events.response
    kind = action.answer if action is not None and action.kind == "answer" else None
    text = messages.expected_answer(world, pending, kind=kind)
    for frame in [_start(call), *_progress(text)]:
        await events.send(frame)
    if connection.is_gone(request) and world.switches.on_disconnect == "abandon":
        return events.response
    try:
        last = _finish(messages.answer(world, call, pending, kind=kind), world)
    except ApiError as error:
        # The conversation was deleted while the answer was on its way.
        last = {"status": "error", "message": error.message}
    world.effects.end(call, 200, caller_gone=connection.is_gone(request))
    await events.send(last)
    await events.close()
    return events.response


class Events:
    """The stream itself. A caller who leaves ends nothing: a switch says what becomes of the exchange."""

    def __init__(self, request: web.BaseRequest, world: World) -> None:
        self.world = world
        self.response = web.StreamResponse(headers=_HEADERS)
        self._request = request
        self._is_open = False

    async def open(self) -> None:
        """Send the head."""
        self.response.enable_chunked_encoding()
        with suppress(ConnectionError):
            await self.response.prepare(self._request)
            self._is_open = True

    async def send(self, frame: dict[str, Any]) -> None:
        """Send one frame of a message's stream."""
        head = (
            b"event: " + frame["status"].encode() + b"\n" if self.world.switches.stream_event_lines else b""
        )
        await self.write(head + b"data: " + encode(frame) + b"\n\n")
        if frame["status"] != "finish":
            await self.pause()

    async def write(self, data: bytes) -> None:
        """Send these bytes, unless the caller has left."""
        if self._is_open:
            try:
                await self.response.write(data)
            except ConnectionError:
                self._is_open = False

    async def pause(self) -> None:
        """Wait between two frames, as long as the switch says."""
        if self.world.switches.stream_pause_s:
            await asyncio.sleep(self.world.switches.stream_pause_s)

    async def close(self) -> None:
        """End the stream in order."""
        if self._is_open:
            with suppress(ConnectionError):
                await self.response.write_eof()


async def _break_off(
    events: Events, request: web.BaseRequest, call: Call, pending: Pending, action: Action
) -> None:
    text = messages.expected_answer(events.world, pending)
    if action.when == "after_work":
        with suppress(ApiError):
            messages.answer(events.world, call, pending)
    if action.at != "after_headers":
        deltas = list(_progress(text))
        for frame in [_start(call), *deltas[: (len(deltas) + 1) // 2]]:
            await events.send(frame)
    if action.kind == "sse_error":
        await events.send({"status": "error", "message": "Something went wrong."})
    events.world.effects.end(call, 200, caller_gone=connection.is_gone(request))
    if action.kind in ("reset", "close"):
        await connection.cut(request, is_reset=action.kind == "reset")
    else:
        await events.close()


def _start(call: Call) -> dict[str, Any]:
    return {"status": "start", "prompt": call.question}


def _progress(text: str) -> Iterator[dict[str, Any]]:
    yield {"status": "progress", "message": ""}
    for delta in deltas_of(text):
        yield {"status": "progress", "message": delta}


def deltas_of(text: str) -> Iterator[str]:
    """Cut an answer into the pieces in which it is streamed."""
    size = max(_DELTA_CHARS, len(text) // _MOST_DELTAS + 1)
    for index in range(0, len(text), size):
        yield text[index : index + size]


def _finish(message: Message, world: World) -> dict[str, Any]:
    return {
        "status": "finish",
        "id": message.message_id,
        "created_at": date_text(message.created_at, world.switches),
        "session_id": message.conversation.session_id,
        "citations": shapes.citations(message, world.switches),
    }
