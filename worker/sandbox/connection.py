"""What the sandbox does to a connection itself: sending, cutting, waiting for the other side to leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.effects import Effects
    from worker.sandbox.envelope import Reply

#: Close at once and throw away what is unsent: the other side gets a TCP RST, not an orderly end.
_LINGER_ZERO = struct.pack("ii", 1, 0)
#: Bytes written before a cut get this long to arrive: a reset overtakes what is still under way. Seconds.
_SETTLE_S = 0.02
#: How often a silent connection is looked at. Seconds.
_LOOK_S = 0.05

#: As the real server sends it with every answer.
_CACHE_HEADER = {"Cache-Control": "no-cache, private"}


def is_gone(request: web.BaseRequest) -> bool:
    """Whether the caller has hung up."""
    return request.transport is None or request.transport.is_closing()


def send(request: web.BaseRequest, call: Call, reply: Reply, effects: Effects) -> web.StreamResponse:
    """Send a whole reply."""
    effects.end(call, reply.status, caller_gone=is_gone(request))
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers={"Content-Type": reply.content_type, **_CACHE_HEADER, **reply.headers},
    )


async def begin(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Send the head of a reply that announces its whole body."""
    head = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body))}
    response = web.StreamResponse(status=reply.status, headers=head | _CACHE_HEADER | reply.headers)
    await response.prepare(request)
    return response


async def cut(request: web.BaseRequest, *, is_reset: bool) -> None:
    """End the connection: with a TCP reset, or orderly but too early."""
    await asyncio.sleep(_SETTLE_S)
    transport = request.transport
    if transport is None:
        return
    if is_reset:
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    else:
        transport.close()


async def wait_until_gone(request: web.BaseRequest, *, at_most_s: float | None) -> None:
    """Stay silent until the caller leaves, or for the time given."""
    loop = asyncio.get_running_loop()
    until = None if at_most_s is None else loop.time() + at_most_s
    # aiohttp tells nobody when a caller leaves, so there is no event to wait for.
    while not is_gone(request) and (until is None or loop.time() < until):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S if until is None else min(_LOOK_S, max(0.0, until - loop.time())))
