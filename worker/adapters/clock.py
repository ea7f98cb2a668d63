"""The system's clocks."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements core.ports.Clock."""

    def boottime(self) -> float:
        """Seconds that go on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
