"""The sandbox's own endpoints, beside the API: the ledger of effects, the switches, the faults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker.sandbox.accepts import NotAcceptedError
from worker.sandbox.effects import PAGE_SIZE
from worker.sandbox.envelope import JSON_TYPE, encode
from worker.sandbox.nearest import did_you_mean
from worker.sandbox.switches import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.sandbox.world import World


async def control(world: World, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a call to one of the sandbox's own endpoints; a mistake is a 400 that says what is wrong."""
    try:
        return _json(200, await _do(world, request))
    except NotAcceptedError as error:
        return _json(400, {"error": str(error)})


async def _do(world: World, request: web.BaseRequest) -> Any:
    match request.method, request.path:
        case "GET", path if path in _SHOWS:
            return _SHOWS[path](world, request.query)
        case "PUT", "/_switches":
            world.switches.update(await _read(request))
        case "PUT", "/_faults":
            world.faults.replace(await _read(request))
        case "DELETE", "/_faults":
            world.faults.replace([])
        case method, path:
            raise NotAcceptedError(f"There is no {method} {path}. {did_you_mean(path, _SHOWS)}")
    return _SHOWS[request.path](world, request.query)


def _page(world: World, query: Mapping[str, str]) -> Any:
    return world.effects.page(
        since=_number(query.get("since"), 0),
        # A page of nothing would never come to an end.
        limit=max(1, _number(query.get("limit"), PAGE_SIZE)),
        kind=query.get("kind"),
    )


_SHOWS: dict[str, Callable[[World, Mapping[str, str]], Any]] = {
    "/_effects": _page,
    "/_effects/summary": lambda world, _: world.effects.summary(),
    "/_switches": lambda world, _: world.switches.values(),
    "/_switches/about": lambda _world, _query: describe(),
    "/_faults": lambda world, _: world.faults.shown(),
}


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise NotAcceptedError("since and limit are whole numbers from 0.")
    return int(text)


async def _read(request: web.BaseRequest) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise NotAcceptedError("The body is not JSON.") from None


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=encode(value), headers={"Content-Type": JSON_TYPE})
