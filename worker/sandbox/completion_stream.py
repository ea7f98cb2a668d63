"""An OpenAI-style answer as chunks, ended by ``[DONE]``, and the ways it can break."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from worker.sandbox import completions, connection
from worker.sandbox.envelope import ApiError, encode
from worker.sandbox.stream import Events, deltas_of

if TYPE_CHECKING:
    from aiohttp import web

    from worker.sandbox.call import Call
    from worker.sandbox.faults import Action
    from worker.sandbox.world import World

_DONE = b"data: [DONE]\n\n"


async def tell(
    request: web.BaseRequest, call: Call, world: World, question: str, action: Action | None
) -> web.StreamResponse:
    """Stream the answer to an accepted question. It is billed before its last chunk leaves."""
    events = Events(request, world)
    await events.open()
    kind = action.answer if action is not None and action.kind == "answer" else None
    # All chunks carry one id, so it is known before the answer is.
    head = {"id": f"chatcmpl-{call.number}", "created": int(world.clock.wall()), "model": None}
    text = completions.expected_answer(world, call, question, kind=kind)
    chunks = [_chunk(head, {"role": "assistant", "content": ""})]
    chunks += [_chunk(head, {"content": delta}) for delta in deltas_of(text)]
    if action is not None and action.cuts_stream:
        await _break_off(events, request, call, action, question=question, chunks=chunks)
        return events.response
    await _send(events, chunks)
    if connection.is_gone(request) and world.switches.on_disconnect == "abandon":
        return events.response
    completions.answer(world, call, question, kind=kind)
    world.effects.end(call, 200, caller_gone=connection.is_gone(request))
    await events.write(_chunk(head, {}, finish_reason="stop"))
    await events.write(_DONE)
    await events.close()
    return events.response


async def _send(events: Events, chunks: list[bytes]) -> None:
    for chunk in chunks:
        await events.write(chunk)
        await events.pause()


async def _break_off(
    events: Events,
    request: web.BaseRequest,
    call: Call,
    action: Action,
    *,
    question: str,
    chunks: list[bytes],
) -> None:
    if action.when == "after_work":
        with suppress(ApiError):
            completions.answer(events.world, call, question)
    if action.at != "after_headers":
        await _send(events, chunks[: len(chunks) // 2 + 1])
    if action.kind == "sse_error":
        await events.write(b"data: " + encode({"error": {"message": "Something went wrong."}}) + b"\n\n")
    events.world.effects.end(call, 200, caller_gone=connection.is_gone(request))
    if action.kind in ("reset", "close"):
        await connection.cut(request, is_reset=action.kind == "reset")
    else:
        await events.close()


def _chunk(head: dict[str, Any], delta: dict[str, str], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + encode({**head, "object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"
