"""The Bell port within one process: rings become one until the listener has returned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class MemoryBell:
    """The doorbell within one process."""

    def __init__(self) -> None:
        self._is_wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        """Listen on the loop."""
        self._task = asyncio.create_task(self._listen(on_ring), name="memory bell")

    def ring(self) -> None:
        """Ring; rings until the listener has returned become one."""
        self._is_wanted.set()

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _listen(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            await on_ring()
