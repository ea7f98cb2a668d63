"""Group commit: the loop's waiting operations run in one transaction (PROTOCOL 3).

Operations that come while a transaction runs go together in the next one; when nothing runs, an operation
starts one at once. There is no timer, but for operations that nobody hurries for. A transaction starts behind
what the loop is about to do already: turns that the last one let go on bring their next operations first, and
few large transactions cost less than many small ones, which take the interpreter from the loop in the middle
of its work.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
#: s. How long a stop waits for what is under way. Nobody waits for its outcome any more, and a thread that
#: hangs in a database which answers nobody ends with the process: it is a daemon.
STOP_S = 3.0

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
        #: To the thread; None is the end.
        self._batches: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        #: The thread has a batch, or is about to get one.
        self._is_busy = False
        self._hurry: asyncio.TimerHandle | None = None
        self._has_ended = asyncio.Event()
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
        """Run what waits, then end the thread and close the connection; after STOP_S leave it behind."""
        self._is_stopping = True
        if self._thread is None:
            return
        self._start_next()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._has_ended.wait()

    async def run(self, operation: Operation) -> Result:
        """Run one operation in the next transaction and return when it is committed."""
        if self._is_stopping or self._loop is None:
            raise LedgerUnavailable
        waiting = _Waiting(operation, self._loop.create_future())
        if type(operation) not in self._patient_kinds:
            self._waiting.append(waiting)
            self._start_next()
        else:
            self._patient.append(waiting)
            if self._hurry is None:
                self._hurry = self._loop.call_later(PATIENCE_S, self._lose_patience)
        return await waiting.future

    def _start_next(self) -> None:
        """Hand over what waits once the loop has done what it is about to do, unless a transaction runs."""
        if not self._is_busy and self._loop is not None:
            self._is_busy = True
            self._loop.call_soon(self._hand_over)

    def _lose_patience(self) -> None:
        # While a transaction runs this starts nothing; its end finds no timer then, and sets another.
        self._hurry = None
        self._start_next()

    def _hand_over(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None
        batch = [*_taken(self._waiting), *_taken(self._patient)]
        if batch:
            self._batches.put(batch)
            return
        self._is_busy = False
        if self._is_stopping:
            self._batches.put(None)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                results = self._commit([waiting.operation for waiting in batch])
            except BaseException as error:  # noqa: BLE001 - as said here
                # A bug of ours. Callers that hear nothing would wait for ever, and so would a stop.
                self._deliver(batch, [error for _ in batch])
                continue
            self._deliver(batch, results)
            self._database.between_transactions()
        self._database.close()
        self._call_soon(self._has_ended.set)

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
                places = defaultdict[type, list[int]](list)
                for place, operation in enumerate(operations):
                    places[type(operation)].append(place)
                for kind, handler in self._handlers.items():
                    if kind in places:
                        outcome = handler(transaction, [operations[place] for place in places[kind]])
                        for place, result in zip(places[kind], outcome, strict=True):
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
            self._is_busy = False
            if self._waiting or self._is_stopping:
                self._start_next()
            elif self._patient and self._hurry is None and self._loop is not None:
                self._hurry = self._loop.call_later(PATIENCE_S, self._lose_patience)

        self._call_soon(settle)

    def _tell(self, *, is_up: bool, why: str = "") -> None:
        if is_up is not self._is_up:
            self._is_up = is_up
            self._call_soon(lambda: self._on_state(is_up, why))

    def _call_soon(self, callback: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)


def _taken(waiting: deque[_Waiting]) -> list[_Waiting]:
    """Take the next of those whose callers still wait."""
    taken: list[_Waiting] = []
    while waiting and len(taken) < BATCH_OPERATIONS:
        if not (first := waiting.popleft()).future.cancelled():
            taken.append(first)
    return taken


def _is_lock_trouble(error: Exception) -> bool:
    """Tell deadlocks, lock time-outs and serialisation failures from refused statements."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in {"40P01", "40001", "55P03"}
