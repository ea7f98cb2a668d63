"""The mirroring loop: what is due goes out beside everything else; what is away is probed, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.fakes import Highest, Log, LoopClock
from tests.unit.virtual_time import in_virtual_time, until
from worker.core.errors import (
    CredentialsRejected,
    LedgerUnavailable,
    MirrorNotFound,
    MirrorRefused,
    OutcomeUnknown,
    Throttled,
    Unreachable,
)
from worker.core.mirroring import ConversationCopy, MirroredAnswer
from worker.runtime.mirroring import AT_ONCE, HALT_S, Mirroring

ANSWER = MirroredAnswer("crm/test", "evt-1", "?", "!", "2026-11-20T20:00:00Z", "2026-11-20T20:00:01Z", 1)


def copy_of(number: int, *, tries: int = 0, answers: tuple[MirroredAnswer, ...] = (ANSWER,)) -> Any:
    return ConversationCopy(
        number, 1, f"copy-{number}", "EXT", None, 123, "session", 42, False, tries, answers
    )


class Rows:
    """A ledger of copies: those that are due now, and what was said of their ends."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.due: dict[int, float] = {}
        self.tries: dict[int, int] = {}
        self.answers = (ANSWER,)
        self.ends: list[tuple[int, str, str | None, bool]] = []
        self.failure: Exception | None = None

    def add(self, count: int) -> None:
        self.due |= dict.fromkeys(range(count), 0.0)

    async def take_copies(self, limit: int) -> tuple[list[ConversationCopy], float | None]:
        if self.failure is not None:
            raise self.failure
        now = self.clock.boottime()
        taken = [number for number, at in sorted(self.due.items(), key=lambda item: item[1]) if at <= now]
        for number in taken[:limit]:
            del self.due[number]
        copies = [
            copy_of(number, tries=self.tries.get(number, 0), answers=self.answers) for number in taken[:limit]
        ]
        return copies, min((at - now for at in self.due.values() if at > now), default=None)

    async def end_copy(
        self,
        copy: ConversationCopy,
        end: str,
        *,
        code: str | None = None,
        again_in_s: float = 0.0,
        is_unknown: bool = False,
    ) -> None:
        self.ends.append((copy.number, end, code, is_unknown))
        if end == "put_off":
            self.due[copy.number] = self.clock.boottime() + again_in_s
            self.tries[copy.number] = copy.tries + 1

    def mirrored(self) -> list[int]:
        return [number for number, end, *_ in self.ends if end == "mirrored"]


class Copies:
    """A mirror that does what it is told."""

    def __init__(self) -> None:
        self.failure: Callable[[ConversationCopy], Exception | None] = lambda _: None
        self.hangs = False
        self.under_way = 0
        self.most = 0
        self.calls: list[int] = []

    async def copy(self, conversation: ConversationCopy) -> None:
        self.calls.append(conversation.number)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(10_000 if self.hangs else 0.1)
        finally:
            self.under_way -= 1
        if failure := self.failure(conversation):
            raise failure


class Bench:
    def __init__(self) -> None:
        self.clock, self.log, self.copies = LoopClock(), Log(), Copies()
        self.rows = Rows(self.clock)
        self.loop = Mirroring(self.rows, self.copies, self.clock, Highest(), self.log)

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def both() -> None:
            running = asyncio.create_task(self.loop.run())
            try:
                await scenario()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        in_virtual_time(both())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_everything_that_is_due_goes_out_a_few_at_a_time(bench: Bench) -> None:
    async def scenario() -> None:
        bench.rows.add(40)
        await until(lambda: len(bench.rows.mirrored()) == 40, "all mirrored")

    bench.run(scenario)
    assert sorted(bench.rows.mirrored()) == list(range(40))
    assert bench.copies.most == AT_ONCE
    assert bench.log.of("mirror.lost") == []


def test_what_was_erased_meanwhile_is_done_without_a_call(bench: Bench) -> None:
    async def scenario() -> None:
        bench.rows.answers = ()
        bench.rows.add(1)
        await until(lambda: bench.rows.mirrored() == [0], "done")

    bench.run(scenario)
    assert bench.copies.calls == []


@pytest.mark.parametrize("failure", [Unreachable("copy: ECONNREFUSED"), OutcomeUnknown("copy: 500")])
def test_a_mirror_that_is_away_is_probed_one_at_a_time_with_growing_pauses(
    bench: Bench, failure: Exception
) -> None:
    async def scenario() -> None:
        bench.copies.failure = lambda _: failure
        bench.rows.add(40)
        await asyncio.sleep(600)
        calls = len(bench.copies.calls)
        assert AT_ONCE < calls < 25, "10 minutes of pauses that grow to one"
        bench.copies.failure = lambda _: None
        await until(lambda: len(bench.rows.mirrored()) == 40, "all mirrored")

    bench.run(scenario)
    assert sorted(bench.rows.mirrored()) == list(range(40))
    (lost,) = bench.log.of("mirror.lost")
    assert (lost["error_code"], lost["detail"]) == (failure.code, failure.detail)  # type: ignore[attr-defined]
    (restored,) = bench.log.of("mirror.restored")
    assert restored["away_s"] > 590
    unknown = {end[3] for end in bench.rows.ends if end[1] == "put_off"}
    assert unknown == {isinstance(failure, OutcomeUnknown)}


@pytest.mark.parametrize("failure", [CredentialsRejected("copy: 401"), MirrorNotFound("copy: 404")])
def test_what_a_person_must_mend_halts_and_is_probed_once_a_minute(bench: Bench, failure: Exception) -> None:
    async def scenario() -> None:
        bench.rows.add(1)
        bench.copies.failure = lambda _: failure
        await asyncio.sleep(10 * HALT_S)
        assert 9 <= len(bench.copies.calls) <= 11
        bench.copies.failure = lambda _: None
        await until(lambda: bench.rows.mirrored() == [0], "mirrored")

    bench.run(scenario)
    (halted,) = bench.log.of("mirror.halted")
    assert halted["error_code"] == failure.code  # type: ignore[attr-defined]
    assert len(bench.log.of("mirror.restored")) == 1


def test_a_pause_that_the_mirror_asks_for_is_kept(bench: Bench) -> None:
    async def scenario() -> None:
        bench.rows.add(1)
        bench.copies.failure = lambda _: Throttled("copy: 429", pause_s=100)
        await until(lambda: bench.rows.ends, "a refusal")
        begun = bench.clock.boottime()
        bench.copies.failure = lambda _: None
        ended = await until(lambda: bench.rows.mirrored() == [0], "mirrored")
        assert 100 <= ended - begun < 105

    bench.run(scenario)


def test_one_that_is_refused_holds_up_nobody(bench: Bench) -> None:
    def failure(copy: ConversationCopy) -> Exception | None:
        return MirrorRefused("copy: 422 unprocessable_entity") if copy.number == 3 else None

    async def scenario() -> None:
        bench.copies.failure = failure
        bench.rows.add(10)
        await until(lambda: len(bench.rows.ends) == 10, "all ended")

    bench.run(scenario)
    assert (3, "aside", "mirror_refused", False) in bench.rows.ends
    assert len(bench.rows.mirrored()) == 9
    (refused,) = bench.log.of("mirror.refused")
    assert refused["session_id"] == "session"


def test_one_that_always_fails_does_not_keep_the_others_from_getting_through(bench: Bench) -> None:
    async def scenario() -> None:
        bench.copies.failure = lambda copy: OutcomeUnknown("copy: 500") if copy.number == 0 else None
        bench.rows.add(30)
        await until(lambda: len(bench.rows.mirrored()) == 29, "all but one mirrored")
        assert bench.clock.boottime() < 1_000 + 120

    bench.run(scenario)


def test_a_ledger_that_is_away_is_looked_at_again(bench: Bench) -> None:
    async def scenario() -> None:
        bench.rows.add(1)
        bench.rows.failure = LedgerUnavailable()
        await asyncio.sleep(30)
        bench.rows.failure = None
        await until(lambda: bench.rows.mirrored() == [0], "mirrored")

    bench.run(scenario)


def test_what_is_cut_off_by_a_stop_is_given_back_at_once(bench: Bench) -> None:
    async def scenario() -> None:
        bench.copies.hangs = True
        bench.rows.add(6)
        await until(lambda: bench.copies.under_way == AT_ONCE, "all places taken")

    bench.run(scenario)
    assert sorted(end[0] for end in bench.rows.ends) == [0, 1, 2, 3]
    assert {end[1:] for end in bench.rows.ends} == {("put_off", "outcome_unknown", True)}
