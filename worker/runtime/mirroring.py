"""Mirrors answered conversations, beside the turns and never in their way.

Rows of the ledger say what is due. While the other side is away or refuses everything, one conversation at a
time tries it, with growing pauses, and all others stay rows.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from worker.core.errors import (
    AskrelayError,
    CredentialsRejected,
    LedgerError,
    MirrorNotFound,
    MirrorRefused,
    OutcomeUnknown,
    Throttled,
)
from worker.core.meters import Meters, NoMeters
from worker.core.mirroring import ConversationCopy, Mirror, MirrorEnd, MirrorLedger
from worker.core.ports import Clock, Log, Randomness
from worker.runtime.vitals import Pulse

#: Requests under way at once in one process: a few keep up with a plan's pace of answers.
AT_ONCE = 4
#: s. How often each process looks for conversations that are due.
LOOK_S = 2.0
#: s. Pauses of a process while the other side is away, and the longest for which one conversation waits.
AWAY_PAUSES_S = (1.0, 60.0)
#: s. Between two probes of a mirror that refuses the key or is not where the settings say.
HALT_S = 60.0
#: s. At a stop the rows are given back within this time, or their lease runs out.
CLOSING_S = 1.0

#: Somebody has to mend these; everything else passes by itself.
_HALTS = (CredentialsRejected, MirrorNotFound)


@dataclass(slots=True)
class Mirroring:
    """Takes what is due and has it copied."""

    ledger: MirrorLedger
    mirror: Mirror
    clock: Clock
    randomness: Randomness
    log: Log
    meters: Meters = field(default_factory=NoMeters)
    _tasks: dict[asyncio.Task[None], ConversationCopy] = field(default_factory=dict)
    #: BOOTTIME of the next look into the ledger.
    _look_at: float = 0.0
    #: Why nothing gets through, and since when (BOOTTIME).
    _trouble: str | None = None
    _trouble_since: float = 0.0
    #: BOOTTIME before which nothing is tried.
    _closed_until: float = 0.0
    _failures: int = 0

    async def run(self, pulse: Pulse | None = None) -> None:
        """Mirror what is due, for ever; what is under way is given back when this is cancelled."""
        pulse = pulse or Pulse(self.clock)
        try:
            while True:
                pulse.beat()
                await self._take()
                await self._wait()
        finally:
            await self._give_back()

    async def _take(self) -> None:
        now = self.clock.boottime()
        free = (1 if self._trouble else AT_ONCE) - len(self._tasks)
        if free < 1 or now < max(self._look_at, self._closed_until):
            return
        pause_s = self.randomness.uniform(LOOK_S * 0.7, LOOK_S)
        try:
            copies, next_due_s = await self.ledger.take_copies(free)
        except LedgerError:
            copies, next_due_s = [], None
        if len(copies) == free:
            pause_s = 0.0
        elif next_due_s is not None:
            pause_s = min(pause_s, next_due_s)
        self._look_at = self.clock.boottime() + pause_s
        for copy in copies:
            self._tasks[asyncio.create_task(self._copy(copy), name="mirror copy")] = copy

    async def _wait(self) -> None:
        """Wait for the next look, or for a place to become free."""
        until = max(self._look_at, self._closed_until)
        is_full = len(self._tasks) >= (1 if self._trouble else AT_ONCE)
        pause_s = LOOK_S if is_full else min(max(until - self.clock.boottime(), 0.01), LOOK_S)
        if not self._tasks:
            await self.clock.sleep(pause_s)
            return
        done, _ = await asyncio.wait(self._tasks, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._tasks[task]
            task.result()

    async def _copy(self, copy: ConversationCopy) -> None:
        try:
            if copy.answers:
                await self.mirror.copy(copy)
        except MirrorRefused as refused:
            # It was understood, so the other side is there.
            self._is_through()
            self.log(
                "mirror.refused",
                project_id=copy.project_id,
                session_id=copy.session_id,
                error_code=refused.code,
                detail=refused.detail,
            )
            await self._end(copy, "aside", refused)
        except AskrelayError as failure:
            self._is_away(failure)
            await self._end(copy, "put_off", failure, again_in_s=self._row_pause_s(copy, failure))
        else:
            self._is_through()
            await self._end(copy, "mirrored")

    async def _end(
        self,
        copy: ConversationCopy,
        end: MirrorEnd,
        failure: AskrelayError | None = None,
        *,
        again_in_s: float = 0.0,
    ) -> None:
        code = failure.code if failure else None
        self.meters.copy_ended(end, error_code=code or "")
        is_unknown = isinstance(failure, OutcomeUnknown)
        # Without the ledger its lease runs out, and it is sent again: to the copy that makes no difference.
        with suppress(LedgerError):
            await self.ledger.end_copy(copy, end, code=code, again_in_s=again_in_s, is_unknown=is_unknown)

    def _is_through(self) -> None:
        if self._trouble is not None:
            away_s = round(self.clock.boottime() - self._trouble_since, 1)
            self.log("mirror.restored", error_code=self._trouble, away_s=away_s)
        self._trouble, self._failures, self._closed_until = None, 0, 0.0

    def _is_away(self, failure: AskrelayError) -> None:
        now = self.clock.boottime()
        if now < self._closed_until and failure.code == self._trouble:
            return  # One of those that were under way together: it tells nothing new.
        shortest, longest = AWAY_PAUSES_S
        self._failures += 1
        pause_s = min(longest, shortest * 2.0 ** min(self._failures - 1, 10))
        pause_s = self.randomness.uniform(pause_s / 2, pause_s)
        if isinstance(failure, Throttled):
            pause_s = failure.pause_s
        elif isinstance(failure, _HALTS):
            pause_s = HALT_S
        self._closed_until = now + pause_s
        if failure.code == self._trouble:
            return
        if self._trouble is None:
            self._trouble_since = now
        self._trouble = failure.code
        event = "mirror.halted" if isinstance(failure, _HALTS) else "mirror.lost"
        self.log(event, error_code=failure.code, detail=failure.detail, retry_in_s=round(pause_s, 1))

    def _row_pause_s(self, copy: ConversationCopy, failure: AskrelayError) -> float:
        """Return how long this conversation stands back, so that another one is the next to try."""
        if isinstance(failure, Throttled):
            return failure.pause_s
        longest = AWAY_PAUSES_S[1]
        return self.randomness.uniform(0.5, 1.0) * min(longest, 2.0 ** min(copy.tries, 10))

    async def _give_back(self) -> None:
        """Cut off what is under way and let others send it again at once."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        cut_off = [copy for task, copy in tasks.items() if task.cancelled()]
        try:
            async with asyncio.timeout(CLOSING_S):
                for copy in cut_off:
                    await self.ledger.end_copy(copy, "put_off", code=OutcomeUnknown.code, is_unknown=True)
        except (LedgerError, TimeoutError):
            pass  # Their leases run out.
