"""The HTTP endpoint: ``/health/live``, ``/health/ready``, ``/metrics``.

It runs on the loop that it reports on: a process that is stopped or an event loop that is blocked does not
answer.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from aiohttp import web

from worker.adapters.health.condition import Condition, Told
from worker.adapters.metrics import ProcessMeters
from worker.adapters.metrics.catalogue import BROKER_UP, LEDGER_UP, LOOPS_STUCK
from worker.core.ports import Log

#: s. A prober that hangs at the stop is cut off.
CLOSING_S = 1.0


class HealthServer:
    """Serves while it is entered; OSError when the address or the port cannot be had."""

    def __init__(self, host: str, port: int, condition: Condition, meters: ProcessMeters) -> None:
        self._host = host
        self._wanted_port = port
        self._condition = condition
        self._meters = meters
        application = web.Application()
        application.add_routes(
            [
                web.get("/health/live", self._live),
                web.get("/health/ready", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        # No access log: a line per probe would be most of the log.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSING_S)

    @property
    def port(self) -> int:
        """The port it listens on."""
        address: tuple[Any, ...] = self._runner.addresses[0]
        return int(address[1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._wanted_port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return _response("is_alive", self._condition.live())

    async def _ready(self, _: web.Request) -> web.Response:
        return _response("is_ready", await self._condition.ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        figures = await self._condition.figures()
        body, content_type = self._meters.exposition(request.headers.get("Accept", ""), figures)
        return web.Response(body=body, headers={"Content-Type": content_type})


@asynccontextmanager
async def serve_health(
    host: str, port: int, condition: Condition, meters: ProcessMeters, *, log: Log, is_port_chosen: bool
) -> AsyncIterator[None]:
    """Serve meanwhile, and log where.

    A port that somebody chose and that is taken is an OSError. One that nobody chose is not: a second worker
    on a host shall work without a word about ports, only without an endpoint.
    """
    meters.watch(LOOPS_STUCK, lambda: {(): float(len(condition.live().details["stuck"]))})
    meters.watch(LEDGER_UP, lambda: {(): float(condition.is_ledger_up)})
    meters.watch(BROKER_UP, lambda: {(link,): float(is_up) for link, is_up in condition.links.items()})
    server = HealthServer(host, port, condition, meters)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            if is_port_chosen or error.errno != errno.EADDRINUSE:
                raise
            log(
                "settings.warned",
                setting="ASKRELAY_HEALTH_PORT",
                detail=f"not set, and port {port} is taken: this worker serves no health and no metrics;"
                " set it to another port, or to 0 for any free one",
            )
        else:
            log("health.listening", host=host, port=server.port)
        yield


def _response(question: str, told: Told) -> web.Response:
    return web.json_response(
        {question: told.is_so, **told.details},
        status=200 if told.is_so else 503,
        headers={"Cache-Control": "no-store"},
    )
