"""An event loop on virtual time, whose simulated processes take turns in a seeded order.

Within one process callbacks run in the order in which asyncio would run them; between processes the order is
chance. Nothing waits: when nobody can run, the clock jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

#: Rounds of callbacks that a cancelled process gets; one that needs more swallows its cancellation.
REAP_ROUNDS = 100


class Stalled(Exception):
    """Nothing is left that could ever happen."""


class Strand:
    """One simulated process as the loop sees it: callbacks in order, held while it is stopped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.is_held = False
        self.is_dead = False
        #: Dead, and its tasks were thrown away.
        self.is_buried = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        self.context.run(_STRAND.set, self)


_STRAND: contextvars.ContextVar[Strand | None] = contextvars.ContextVar("strand", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one ready callback at a time, of a strand chosen by chance."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        #: What belongs to no process: the API, the broker, the people.
        self.outside = Strand("outside")
        self._strands = [self.outside]
        #: What callbacks raised: mistakes of the simulation, which end it.
        self._broken: list[BaseException] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def new_strand(self, name: str) -> Strand:
        """Add a process."""
        strand = Strand(name)
        self._strands.append(strand)
        return strand

    def at_outside(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Call back later, whatever becomes of the process that asks for it."""
        self.call_later(delay_s, callback, *args, context=self.outside.context)

    def start(self, strand: Strand, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that belongs to a strand."""
        return self.create_task(coroutine, context=strand.context)

    def reap(self, strand: Strand) -> None:
        """End a process at once: its tasks are thrown away. To be called from outside of every task."""
        strand.is_dead = True
        for _ in range(REAP_ROUNDS):
            left = [task for task in strand.tasks if not task.done()]
            if not left and not strand.ready:
                break
            for task in left:
                task.cancel()
            while strand.ready:
                handle = strand.ready.popleft()
                if not handle.cancelled():
                    handle._run()
        else:
            left = [task for task in strand.tasks if not task.done()]
            raise AssertionError(f"Bug: {strand.name} does not let itself be cancelled: {left}")
        for task in strand.tasks:
            if not task.cancelled():
                task.exception()  # what it raised while it was torn down is nobody's business
        strand.is_buried = True
        strand.tasks.clear()
        self._strands.remove(strand)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Create a task and note whose it is."""
        context = options.get("context")
        strand = (context.get(_STRAND) if context is not None else _STRAND.get()) or self.outside
        task = super().create_task(coro, **options)
        if len(strand.tasks) > 200:
            strand.tasks = [each for each in strand.tasks if not each.done()]
        strand.tasks.append(task)
        return task

    def call_soon(
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback behind those of its own process."""
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback for a virtual time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback for a virtual time from now."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "handle" in context:
            self._broken.append(context["exception"])

    def _enqueue(self, handle: asyncio.Handle) -> None:
        strand = handle._context.get(_STRAND) or self.outside
        if not strand.is_buried:
            strand.ready.append(handle)

    def _run_once(self) -> None:
        if self._broken:
            raise self._broken[0]
        able = [strand for strand in self._strands if strand.ready and not (strand.is_held or strand.is_dead)]
        if not able:
            self._advance()
            return
        strand = able[0] if len(able) == 1 else able[int(self._chance.random() * len(able))]
        handle = strand.ready.popleft()
        if not handle.cancelled():
            handle._run()

    def _advance(self) -> None:
        """Jump to the next timer; those of one moment become ready together."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stalled
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                self._enqueue(handle)
