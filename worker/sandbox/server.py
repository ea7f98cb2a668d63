"""Serves the API: takes one call from its arrival to its last byte."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker.sandbox import (
    account,
    completion_stream,
    completions,
    connection,
    conversations,
    inkeep,
    messages,
    mishaps,
    projects,
    shapes,
    stream,
)
from worker.sandbox.call import Call, read_body
from worker.sandbox.control import control
from worker.sandbox.envelope import (
    WRONG_KEY_TEXT,
    ApiError,
    BodyStyle,
    Reply,
    plain,
    refuse,
    succeed,
    throttled,
)
from worker.sandbox.latency import answer_latency_s, other_latency_s
from worker.sandbox.routes import BASE_PATH, CallName, find_route, is_inkeep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from worker.sandbox.faults import Action
    from worker.sandbox.world import World

_LOG = logging.getLogger(__name__)

#: The one key that is not taken.
WRONG_KEY = "wrong"

#: Connections that wait to be accepted: a fleet may connect all at once.
_BACKLOG = 1024
#: How long a stopping server waits for calls under way; they are in memory only and lost anyway. Seconds.
_STOP_S = 0.1

_CREATES: frozenset[str] = frozenset({"create", "create_project"})

_HANDLERS: dict[CallName, Callable[[World, Call], Any]] = {
    "list_projects": projects.list_projects,
    "create_project": projects.create_project,
    "get_project": projects.get_project,
    "update_project": projects.update_project,
    "delete_project": projects.delete_project,
    "get_settings": projects.get_settings,
    "update_settings": projects.update_settings,
    "get_citation": projects.get_citation,
    "stats": account.get_stats,
    "traffic": account.get_traffic,
    "list": conversations.list_conversations,
    "create": conversations.create,
    "rename": conversations.rename,
    "delete": conversations.delete,
    "list_messages": messages.list_messages,
    "get_message": messages.get_message,
    "feedback": messages.give_feedback,
    "inkeep_upsert": inkeep.upsert,
    "inkeep_list": inkeep.list_conversations,
    "inkeep_get": inkeep.get,
    "inkeep_get_external": inkeep.get_external,
    "inkeep_delete": inkeep.delete,
    "user": account.get_user,
    "usage": account.get_usage,
}


class _CallerGoneError(Exception):
    """The caller hung up, and the switch says that its post is then dropped."""


@asynccontextmanager
async def listening(world: World, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port, a free one for port 0. OSError when it cannot be had."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await handle(world, request)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=_STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def handle(world: World, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one request."""
    if request.rel_url.raw_path.startswith("/_"):
        return await control(world, request)
    to_inkeep = is_inkeep(request.rel_url.raw_path)
    number, at_once = world.effects.arrive(is_counted=not to_inkeep)
    call = Call(
        number=number,
        method=request.method,
        query_string=request.rel_url.raw_query_string,
        path_url=f"{request.scheme}://{request.host}{request.rel_url.raw_path}",
        query=request.query,
        headers=request.headers,
        remote=request.remote or "",
        begun=world.clock.monotonic(),
        begun_wall=world.clock.wall(),
        at_once=at_once,
        is_inkeep=to_inkeep,
    )
    try:
        return await _serve(world, request, call)
    except ApiError as error:
        reply = refuse(error, call.url, is_inkeep=call.is_inkeep)
        return connection.send(request, call, reply, world.effects)
    except _CallerGoneError:
        return web.Response()
    except Exception as error:
        # A stream may have begun, and a caller who left gets nothing.
        if call.is_streamed or isinstance(error, ConnectionError):
            raise
        _LOG.exception("The sandbox could not answer %s %s.", call.method, call.pattern)
        reply = refuse(ApiError(500, "Internal Server Error"), call.url, is_inkeep=call.is_inkeep)
        return connection.send(request, call, reply, world.effects)
    finally:
        # Whatever happened, cancelled or crashed: a request never stays open in the ledger.
        world.effects.end(call, None, caller_gone=connection.is_gone(request))


async def _serve(world: World, request: web.BaseRequest, call: Call) -> web.StreamResponse:
    await _recognise(world, request, call)
    _admit(world, call)
    action = world.faults.choose(call)
    is_cut_stream = action is not None and action.cuts_stream and call.is_streamed
    if action is not None and action.disrupts and not is_cut_stream and action.when == "before_work":
        return await mishaps.happen(action, request, call, world, None)
    if call.is_streamed and (action is None or is_cut_stream or not action.disrupts):
        if call.name == "complete":
            question = completions.accept(world, call)
            await _think(world, request, call, action)
            return await completion_stream.tell(request, call, world, question, action)
        pending = messages.accept(world, call)
        await _think(world, request, call, action)
        return await stream.tell(request, call, world, pending, action)
    try:
        reply = await _work(world, request, call, action)
    except ApiError as error:
        reply = refuse(error, call.url, is_inkeep=call.is_inkeep)
    if action is not None and action.disrupts:
        return await mishaps.happen(action, request, call, world, reply)
    return connection.send(request, call, reply, world.effects)


async def _recognise(world: World, request: web.BaseRequest, call: Call) -> None:
    """Find out what is asked; a path the API does not have gets Laravel's own 404, without the envelope."""
    raw_path = request.rel_url.raw_path
    found = find_route(request.method, raw_path)
    # Inkeep has one form for all its errors.
    style: BodyStyle = "envelope" if call.is_inkeep else "laravel"
    if found is None:
        raise ApiError(404, f"The route {raw_path.lstrip('/')} could not be found.", style=style)
    call.pattern, name, call.params = found
    if name is None:
        text = f"The {request.method} method is not supported for route {raw_path.lstrip('/')}."
        raise ApiError(405, text, style=style)
    call.name = name
    world.effects.begin(call)
    project_id = call.params.get("projectId", "")
    call.project_id = int(project_id) if project_id.isascii() and project_id.isdigit() else None
    call.session_id = call.params.get("sessionId")
    try:
        call.body = await read_body(
            request.clone(client_max_size=inkeep.MAX_BODY_BYTES) if call.is_inkeep else request
        )
    except web.HTTPRequestEntityTooLarge:
        style = "envelope" if call.is_inkeep else "html"
        raise ApiError(413, "Request Entity Too Large", style=style) from None
    if call.asks:
        question = call.body.get("prompt") if name == "post" else completions.question_of(call.body)
        external_id = call.value("external_id")
        call.question = question if isinstance(question, str) else None
        call.external_id = external_id if isinstance(external_id, str) else None


def _admit(world: World, call: Call) -> None:
    scheme, _, key = call.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or key.strip() in ("", WRONG_KEY):
        raise ApiError(401, "Unauthorized" if call.is_inkeep else WRONG_KEY_TEXT)
    if call.is_inkeep:
        return
    wait_s = world.pace.admit(
        per_minute=world.switches.requests_per_minute,
        at_once=world.switches.requests_at_once,
        being_served=world.effects.open_requests,
    )
    if wait_s is not None:
        raise throttled(world.switches, wait_s, now=world.clock.wall())


async def _work(world: World, request: web.BaseRequest, call: Call, action: Action | None) -> Reply:
    if call.name == "post":
        pending = messages.accept(world, call)
        await _think(world, request, call, action)
        kind = action.answer if action is not None and action.kind == "answer" else None
        message = messages.answer(world, call, pending, kind=kind)
        return succeed(200, shapes.message(message, world.switches), world.switches)
    if call.name == "complete":
        question = completions.accept(world, call)
        await _think(world, request, call, action)
        kind = action.answer if action is not None and action.kind == "answer" else None
        return plain(200, completions.shape(completions.answer(world, call, question, kind=kind)))
    await _think(world, request, call, action)
    data = _HANDLERS[call.name](world, call)  # type: ignore[index]
    if call.is_inkeep:
        return plain(200, data)
    return succeed(201 if call.name in _CREATES else 200, data, world.switches)


async def _think(world: World, request: web.BaseRequest, call: Call, action: Action | None) -> None:
    """Let the time pass that the real service takes; a caller who leaves may take its post along."""
    seconds = (answer_latency_s if call.asks else other_latency_s)(world.switches, world.chance)
    if action is not None and action.kind == "delay":
        seconds += action.seconds or 0.0
    if seconds:
        await asyncio.sleep(seconds)
    if call.asks and world.switches.on_disconnect == "abandon" and connection.is_gone(request):
        raise _CallerGoneError


def url_of(host: str, port: int) -> str:
    """Return what to set as CUSTOMGPT_API_URL; an address that stands for all is reached by loopback."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{BASE_PATH}"
