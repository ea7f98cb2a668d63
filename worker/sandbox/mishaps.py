"""Does to a call what a fault says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from aiohttp import web

from worker.sandbox import connection
from worker.sandbox.envelope import (
    HTML_TYPE,
    ApiError,
    BodyStyle,
    Reply,
    credits_exhausted,
    encode,
    refuse,
    throttled,
)

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.faults import Action
    from worker.sandbox.world import World

#: What a trickle waits for each byte. Seconds.
_BYTE_S = 1.0
#: What a made 429 asks to wait when the fault does not say. Seconds.
_PAUSE_S = 2.0

#: Says nothing true: stands where a reply is cut although no work was done.
_STAND_IN = Reply(200, encode({"data": {"id": 1, "openai_response": None}, "status": "success"}))

_PHRASES = {
    401: "API Token is either missing or invalid",
    403: "This action is unauthorized.",
    404: "Not found",
    413: "Request Entity Too Large",
    422: "The given data was invalid.",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
_USUAL_STYLES: dict[int, BodyStyle] = {413: "html", 422: "laravel", 502: "html", 503: "html", 504: "html"}


async def happen(
    action: Action, request: web.BaseRequest, call: Call, world: World, reply: Reply | None
) -> web.StreamResponse:
    """Let it happen. ``reply`` is what the work made, None when the work was not done."""
    match action.kind:
        case "reply" | "throttle" | "credits":
            made = _other_reply(action, call, world, reply or _STAND_IN)
            return connection.send(request, call, made, world.effects)
        case "reset" | "close":
            return await _cut(action, request, call, world, reply or _STAND_IN)
        case "hang":
            await connection.wait_until_gone(request, at_most_s=action.seconds)
            world.effects.end(call, None, caller_gone=connection.is_gone(request))
            await connection.cut(request, is_reset=False)
            return web.Response()
        case "trickle":
            return await _trickle(action, request, call, world, reply or _STAND_IN)
        case "answer" | "delay" | "sse_truncated" | "sse_error":
            raise AssertionError(f"Bug: a {action.kind} changes the work, it does not replace the reply.")
        case _:
            assert_never(action.kind)


def _other_reply(action: Action, call: Call, world: World, reply: Reply) -> Reply:
    match action.kind:
        case "throttle":
            error = throttled(world.switches, _PAUSE_S, now=world.clock.wall())
        case "credits":
            error = credits_exhausted()
        case _:
            return _headed(_wrong_reply(action, call, reply), action)
    return _headed(refuse(error, call.url, is_inkeep=call.is_inkeep), action)


def _wrong_reply(action: Action, call: Call, reply: Reply) -> Reply:
    status = action.status
    usual = "envelope" if call.is_inkeep and status == 422 else _USUAL_STYLES.get(status, "envelope")
    match action.body or ("empty" if 300 <= status < 400 else usual):
        case "garbage":
            return Reply(status, b"\x00\xff<<%PDF-garbage{]")
        case "truncated":
            return Reply(status, reply.body[: len(reply.body) // 2])
        case "wrong_schema":
            return Reply(status, encode({"status": "success", "data": [{"unexpected": True}]}))
        case "envelope" | "laravel" | "html" | "empty" as style:
            text = action.message or _PHRASES.get(status, "Unexpected")
            return refuse(ApiError(status, text, style=style), call.url, is_inkeep=call.is_inkeep)


def _headed(reply: Reply, action: Action) -> Reply:
    headers = dict(reply.headers)
    if action.retry_after is not None:
        headers["Retry-After"] = action.retry_after
    if 300 <= reply.status < 400:
        headers["Location"] = action.location or "/login"
    kind = HTML_TYPE if 300 <= reply.status < 400 else reply.content_type
    return Reply(reply.status, reply.body, kind, headers)


async def _cut(
    action: Action, request: web.BaseRequest, call: Call, world: World, reply: Reply
) -> web.StreamResponse:
    is_reset = action.kind == "reset"
    if action.at == "before_headers":
        world.effects.end(call, None, caller_gone=connection.is_gone(request))
        await connection.cut(request, is_reset=is_reset)
        return web.Response()
    response = await connection.begin(request, reply)
    if action.at == "mid_body":
        await response.write(reply.body[: len(reply.body) // 2])
    world.effects.end(call, reply.status, caller_gone=connection.is_gone(request))
    await connection.cut(request, is_reset=is_reset)
    return response


async def _trickle(
    action: Action, request: web.BaseRequest, call: Call, world: World, reply: Reply
) -> web.StreamResponse:
    pause_s = _BYTE_S if action.seconds is None else action.seconds
    response = await connection.begin(request, reply)
    last = len(reply.body) - 1
    for index in range(len(reply.body)):
        await asyncio.sleep(pause_s)
        if index == last or connection.is_gone(request):
            world.effects.end(call, reply.status, caller_gone=connection.is_gone(request))
        await response.write(reply.body[index : index + 1])
    return response
