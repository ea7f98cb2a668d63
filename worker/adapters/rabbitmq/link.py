"""One connection that is kept up: made anew with growing pauses, and every change of state said once."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from worker.adapters.rabbitmq.config import BusConfig, broker_address, connection_parameters
from worker.adapters.rabbitmq.troubles import describe
from worker.adapters.rabbitmq.wire import Wire, open_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.core.ports import Log

#: Seconds: the first pause is up to this long. A broker that restarts is back within a few seconds.
FIRST_PAUSE_S = 0.5

#: Seconds: no pause is longer. Long enough not to hammer a broker that is down for hours.
LONGEST_PAUSE_S = 30.0

#: Seconds a connection must have served before the pauses begin small again. One that is lost sooner is part
#: of the same trouble.
SETTLED_S = 10.0


class Pauses:
    """Pauses with full jitter, each up to twice as long as the one before."""

    def __init__(self) -> None:
        self._longest_s = FIRST_PAUSE_S
        self._chance = random.SystemRandom()

    def next_s(self) -> float:
        """Return the next pause, in seconds."""
        pause_s = self._chance.uniform(0, self._longest_s)
        self._longest_s = min(LONGEST_PAUSE_S, self._longest_s * 2)
        return pause_s

    def reset(self) -> None:
        """Begin small again."""
        self._longest_s = FIRST_PAUSE_S


class Link:
    """Keeps one connection and hands it to ``serve``, which runs for as long as the connection is of use."""

    def __init__(
        self, name: str, config: BusConfig, *, serve: Callable[[Wire], Awaitable[None]], log: Log
    ) -> None:
        self._name = name
        self._config = config
        self._serve = serve
        self._log = log
        self._said: str | None = None
        self._is_up = False

    def is_up(self) -> None:
        """Note that the connection is of use now; ``serve`` says so when it has made everything ready."""
        self._said = None
        if not self._is_up:
            self._is_up = True
            self._log("bus.connected", link=self._name, broker=broker_address(self._config.url))

    async def run(self) -> None:
        """Connect, serve, and begin anew, until cancelled."""
        pauses = Pauses()
        while True:
            began = time.monotonic()
            try:
                await self._connect_and_serve()
            except Exception as error:  # noqa: BLE001 - whatever it is, a bus that gives up would lose the stream
                self._say(error)
            if self._is_up and time.monotonic() - began > SETTLED_S:
                pauses.reset()
            self._is_up = False
            await asyncio.sleep(pauses.next_s())

    async def _connect_and_serve(self) -> None:
        wire = await open_wire(
            connection_parameters(
                self._config.url,
                ca_file=self._config.ca_file,
                connection_name=f"{self._config.connection_name} {self._name}",
            )
        )
        try:
            await self._serve(wire)
        finally:
            if not wire.lost.done():
                await wire.close()

    def _say(self, error: Exception) -> None:
        """Log why the link is down, once per reason."""
        trouble, detail = describe(error)
        if self._is_up or self._said != trouble.code:
            self._said = trouble.code
            self._log(
                "bus.disconnected",
                link=self._name,
                broker=broker_address(self._config.url),
                error_code=trouble.code,
                detail=detail,
            )
