"""The simulated group commit: the real one without its thread and its database connection.

Operations of a process are gathered while a transaction of it is under way. A transaction happens at one
instant; what goes before and after takes time, and a process may die in between.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.process import SimProcess
from tests.simulation.tables import SimDatabase
from worker.adapters.ledger.commit import GroupCommit, Handler
from worker.core.errors import LedgerUnavailable

#: s. An ordinary way to the database and back, each.
TRIP_S = 0.002
#: s. A commit that is slow, or whose answer is.
SLOW_S = 6.0


class SimCommit:
    """Implements Commit of worker.adapters.ledger.ledger."""

    def __init__(self, process: SimProcess, database: SimDatabase, handlers: dict[type, Handler]) -> None:
        self._process = process
        self._faults = process.faults
        self._group = GroupCommit(database, handlers)  # type: ignore[arg-type]
        self._waiting: list[tuple[object, asyncio.Future[Any]]] = []
        self._is_busy = False
        #: Virtual time until which the database is away.
        self.away_until = 0.0

    def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def run(self, operation: object) -> object:
        """Run one operation in the next transaction."""
        await self._process.step()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((operation, future))
        if not self._is_busy:
            self._begin()
        return await future

    def _begin(self) -> None:
        self._is_busy = True
        chance = self._faults.chance
        delay_s = TRIP_S * chance.random()
        if self._faults.strikes("commit_slow"):
            delay_s = SLOW_S * chance.random()
        self._later(delay_s, self._transact)

    def _transact(self) -> None:
        batch = [(operation, future) for operation, future in self._waiting if not future.cancelled()]
        self._waiting.clear()
        chance, process = self._faults.chance, self._process
        is_away = process.loop.time() < self.away_until
        delay_s = TRIP_S * chance.random()
        if is_away or self._faults.strikes("commit_failed"):
            results: list[Any] = [LedgerUnavailable() for _ in batch]
            process.trace(process.name, f"ledger: away for {_names(batch)}")
        elif self._faults.strikes("commit_unknown"):
            # COMMIT went out and nobody knows; the callers wait until the database tells.
            is_committed = chance.random() < 0.7
            delay_s = SLOW_S * chance.random()
            results = self._commit(batch) if is_committed else [LedgerUnavailable() for _ in batch]
            process.trace(process.name, f"ledger: {is_committed=} but unknown for {delay_s:.2f} s")
        else:
            results = self._commit(batch)
        self._later(delay_s, self._deliver, batch, results)

    def _commit(self, batch: list[tuple[object, asyncio.Future[Any]]]) -> list[Any]:
        results = self._group._commit([operation for operation, _ in batch]) if batch else []
        if self._process.trace.is_kept:
            for (operation, _), result in zip(batch, results, strict=True):
                self._process.trace(self._process.name, f"ledger: {_short(operation)} -> {_short(result)}")
        return results

    def _deliver(self, batch: list[tuple[object, asyncio.Future[Any]]], results: list[Any]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._is_busy = False
        if self._waiting:
            self._begin()

    def _later(self, delay_s: float, callback: Any, *args: Any) -> None:
        self._process.loop.call_later(delay_s, callback, *args, context=self._process.strand.context)


def _names(batch: list[tuple[object, asyncio.Future[Any]]]) -> str:
    return ", ".join(type(operation).__name__ for operation, _ in batch)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 240 else f"{text[:237]}..."
