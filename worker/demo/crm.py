"""The CRM's side of the bus: asks questions and collects replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from schemas import STRUCTURED_JSON
from worker.adapters.local_bus import LocalBusServer
from worker.adapters.memory_bus import MemoryBroker

#: The routing keys of everything that replies.
REPLY_KEYS = ("contact.question.answered", "contact.question.failed")

OnReply = Callable[[bytes], None]


class Crm(Protocol):
    """What the demo needs of a bus; every reply goes to the function it was started with, on the loop."""

    #: Serves workers that have no broker to connect to; None when they have one.
    server: LocalBusServer | None

    async def start(self, on_reply: OnReply) -> None:
        """Open what is needed and collect from now on."""
        ...

    def settings(self) -> dict[str, str]:
        """Return the settings by which workers find this bus."""
        ...

    def ask(self, event: bytes, event_id: str) -> None:
        """Publish a question."""
        ...

    def check(self) -> None:
        """Raise what went wrong on the way, if anything did."""
        ...

    async def close(self) -> None:
        """Collect what is left and take away everything that was made; may be called twice."""
        ...


class MemoryCrm:
    """The bus within this process, which worker processes reach over sockets."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self.server: LocalBusServer | None = LocalBusServer(self._broker)
        self._replies = self._broker.bind(*REPLY_KEYS)
        self._collecting: asyncio.Task[None] | None = None

    async def start(self, on_reply: OnReply) -> None:
        """Collect from now on."""
        self._collecting = asyncio.create_task(self._collect(on_reply), name="replies")

    def settings(self) -> dict[str, str]:
        """Return nothing: the socket is handed over."""
        return {}

    def ask(self, event: bytes, event_id: str) -> None:
        """Put a question into the queue."""
        self._broker.publish_event(event, content_type=STRUCTURED_JSON, message_id=event_id)

    def check(self) -> None:
        """Raise what ended the collecting, if anything did."""
        if self._collecting is not None and self._collecting.done():
            self._collecting.result()

    async def close(self) -> None:
        """Stop collecting."""
        if self._collecting is not None:
            self._collecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._collecting

    async def _collect(self, on_reply: OnReply) -> None:
        while True:
            on_reply((await self._replies.get()).body)
