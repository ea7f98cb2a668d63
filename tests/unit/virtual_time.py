"""A loop whose time passes at once: timers fire in their order, and nobody waits for them."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Virtual seconds after which a condition that has not come true never will.
PATIENCE_S = 3_600.0


class _Selector(selectors.DefaultSelector):
    """Moves the time on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits for nothing")
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def in_virtual_time(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario to its end and return its result."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(scenario)


async def until(is_so: Callable[[], object], what: str) -> float:
    """Return the virtual time at which the condition came true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not is_so():
        if loop.time() > deadline:
            raise AssertionError(f"never happened: {what}")
        await asyncio.sleep(0.01)
    return loop.time()
