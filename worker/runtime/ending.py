"""The end of tasks that would go on for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

#: s. What a task does at its end, such as giving a lease back, takes milliseconds. A database that answers
#: nobody must not hold up a stop; leases end by themselves.
LAST_WORD_S = 2.0


async def cut_off(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end; what they wait for at their end is cut off after LAST_WORD_S."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=LAST_WORD_S)
    await asyncio.gather(*tasks, return_exceptions=True)
