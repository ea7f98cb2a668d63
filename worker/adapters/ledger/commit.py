"""Group commit: the loop's waiting operations run in one transaction (PROTOCOL 3).

Operations are gathered while a transaction runs and go together in the next one; when nothing runs, an
operation starts one at once. There is no timer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from worker.adapters.ledger.database import CommitUnknown, Database, reason_of
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LedgerError, LedgerUnavailable

#: Operations in one transaction: enough to share a commit, few enough that one culprit is found quickly.
BATCH_OPERATIONS = 512
#: s. An operation that nobody hurries for waits so long for a transaction to go along with.
PATIENCE_S = 0.02
#: Tries of one operation that meets deadlocks or locks held for too long, before its caller hears of it.
LOCK_TRIES = 3
#: s. Pause before asking again what became of a commit while the database is away.
RESOLVE_PAUSE_S = 0.25
#: s. After a failed connection, operations fail at once for this long instead of each trying to connect.
CONNECT_PAUSE_S = 0.25

Operation = Any
Result = Any


class LockFirst:
    """Marks the handler that sees every operation of a transaction before all others do, to take locks.

    Its results count for nothing.
    """


class Handler(Protocol):
    """Runs all waiting operations of one kind; returns one result or LedgerError for each."""

    def __call__(self, transaction: Transaction, operations: Sequence[Operation], /) -> Sequence[Result]:
        """Run them."""
        ...


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    future: asyncio.Future[Any]


class GroupCommit:
    """One ledger thread and the operations that wait for it."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[type, Handler],
        *,
        patient: frozenset[type] = frozenset(),
        on_state: Callable[[bool, str], None] = lambda _is_up, _why: None,
        on_batch: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        """Handlers run in the order of the mapping, which fixes the order of locks.

        Operations of ``patient`` kinds start no transaction at once; they go along with the next one.
        ``on_state`` hears on the loop that the database went away (False, and why) or came back (True).
        ``on_batch`` hears in the ledger thread the size and duration of each transaction.
        """
        self._database = database
        self._handlers = handlers
        self._on_state = on_state
        self._on_batch = on_batch
        self._patient_kinds = patient
        self._waiting: deque[_Waiting] = deque()
        self._patient: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        #: The thread found nothing to do and sleeps, or is about to look once more.
        self._is_idle = False
        self._is_stopping = False
        self._is_up = True
        self._next_connect_at = 0.0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread; call it on the loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="askrelay-ledger", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Run what waits, then end the thread and close the connection."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def run(self, operation: Operation) -> Result:
        """Run one operation in the next transaction and return when it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._is_stopping:
            raise LedgerUnavailable
        queue = self._patient if type(operation) in self._patient_kinds else self._waiting
        queue.append(_Waiting(operation, future))
        # Under load the thread is busy, and neither its lock nor a wake-up is needed.
        if self._is_idle:
            with self._wake:
                self._wake.notify()
        return await future

    def _run(self) -> None:
        while True:
            self._await_work()
            batch = [*_taken(self._waiting), *_taken(self._patient)]
            if not batch:
                break
            batch = [waiting for waiting in batch if not waiting.future.cancelled()]
            if batch:
                self._deliver(batch, self._commit([waiting.operation for waiting in batch]))
        self._database.close()

    def _await_work(self) -> None:
        """Return when there is something to do, or when this is the end and nothing is left."""
        with self._wake:
            # Before looking: whoever adds an operation after the look sees it, and wakes this thread.
            self._is_idle = True
            while not self._waiting and not self._is_stopping:
                if not self._patient:
                    self._wake.wait()
                elif not self._wake.wait(PATIENCE_S):
                    break
            self._is_idle = False

    def _commit(self, operations: Sequence[Operation]) -> list[Result]:
        """Return a result or an exception for each operation."""
        if not self._database.is_connected() and time.monotonic() < self._next_connect_at:
            return [LedgerUnavailable() for _ in operations]
        begun = time.perf_counter()
        try:
            results = self._transact(operations)
        except LedgerUnavailable as error:
            self._next_connect_at = time.monotonic() + CONNECT_PAUSE_S
            self._tell(is_up=False, why=reason_of(error))
            return [LedgerUnavailable() for _ in operations]
        except Exception as error:  # noqa: BLE001 - whatever a statement raised belongs to its caller
            if len(operations) == 1:
                return [self._try_alone(operations[0], error)]
            return [result for operation in operations for result in self._commit([operation])]
        self._tell(is_up=True)
        self._on_batch(len(operations), time.perf_counter() - begun)
        return results

    def _transact(self, operations: Sequence[Operation]) -> list[Result]:
        results: list[Result] = [None] * len(operations)
        try:
            with self._database.transaction() as transaction:
                if (lock := self._handlers.get(LockFirst)) is not None:
                    lock(transaction, operations)
                for kind, handler in self._handlers.items():
                    places = [i for i, operation in enumerate(operations) if type(operation) is kind]
                    if places:
                        outcome = handler(transaction, [operations[i] for i in places])
                        for place, result in zip(places, outcome, strict=True):
                            results[place] = result
        except CommitUnknown as error:
            # Running anything again could do it twice: ask the database first.
            if not self._resolve(error.mark):
                raise LedgerUnavailable from error
        for tell in transaction.after_commit:
            tell()
        return results

    def _try_alone(self, operation: Operation, error: Exception) -> Result:
        for _ in range(LOCK_TRIES):
            if not _is_lock_trouble(error):
                return error
            try:
                return self._transact([operation])[0]
            except Exception as again:  # noqa: BLE001 - as above
                error = again
        return LedgerUnavailable() if _is_lock_trouble(error) else error

    def _resolve(self, mark: int) -> bool:
        """Wait until the database says what became of a commit; its callers wait with it."""
        self._tell(is_up=False, why="the connection ended during a commit")
        while not self._is_stopping:
            try:
                return self._database.was_committed(mark)
            except (LedgerError, sa.exc.SQLAlchemyError):
                time.sleep(RESOLVE_PAUSE_S)
        return False

    def _deliver(self, batch: Sequence[_Waiting], results: Sequence[Result]) -> None:
        def settle() -> None:
            for waiting, result in zip(batch, results, strict=True):
                if waiting.future.done():
                    continue
                if isinstance(result, BaseException):
                    waiting.future.set_exception(result)
                else:
                    waiting.future.set_result(result)

        self._call_soon(settle)

    def _tell(self, *, is_up: bool, why: str = "") -> None:
        if is_up is not self._is_up:
            self._is_up = is_up
            self._call_soon(lambda: self._on_state(is_up, why))

    def _call_soon(self, callback: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)


def _taken(queue: deque[_Waiting]) -> list[_Waiting]:
    return [queue.popleft() for _ in range(min(len(queue), BATCH_OPERATIONS))]


def _is_lock_trouble(error: Exception) -> bool:
    """Tell deadlocks, lock time-outs and serialisation failures from refused statements."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in {"40P01", "40001", "55P03"}
