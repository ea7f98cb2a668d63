"""A process takes as many turns as it has room for, and keeps or gives back leases (PROTOCOL 3 and 9)."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.core_cases import RULES
from tests.unit.turns_cases import NOTHING, Bench, claims
from tests.unit.virtual_time import until
from worker.adapters.ledger.leases import SOON_S
from worker.core.errors import GateClosed, LeaseLost, LedgerUnavailable
from worker.core.model import Claims, Intent, Lease, Progress, TurnEnd
from worker.runtime.turns import LOOK_S


def test_a_ring_starts_what_waits_at_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        await until(lambda: bench.limits, "the first look")
        bench.ledger.script("claim", claims(1, 2))
        begun = bench.clock.boottime()
        await bench.turns.on_ring()
        assert await until(lambda: len(bench.finished) == 2, "both are finished") - begun < 0.1

    bench.run(scenario)
    assert len(bench.published) == 2


def test_without_any_ring_questions_start_at_most_five_seconds_late() -> None:
    bench = Bench()

    async def scenario() -> None:
        await until(lambda: bench.limits, "the first look")
        bench.ledger.script("claim", claims(1))
        begun = bench.clock.boottime()
        assert await until(lambda: bench.finished, "it is finished") - begun <= LOOK_S

    bench.run(scenario)


def test_the_ledger_looks_further_ahead_than_a_process_waits() -> None:
    assert SOON_S > LOOK_S, "what became due in between would start late"


def test_what_is_due_sooner_is_looked_for_sooner() -> None:
    bench = Bench()
    bench.ledger.script("claim", Claims((), 1.2, has_more=False), claims(1))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert 1.1 < await until(lambda: bench.finished, "it is finished") - begun < 1.4

    bench.run(scenario)


def test_no_more_turns_run_than_there_is_room_for() -> None:
    bench = Bench(concurrency=3)
    bench.answer_slowly(10.0, times=3)
    bench.ledger.script("claim", claims(1, 2, 3, has_more=True), claims(4))

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way == 3, "three run")
        assert bench.limits == [3]
        await asyncio.sleep(5.0)
        assert bench.limits == [3], "nothing is claimed without room"
        await until(lambda: len(bench.finished) == 4, "all are finished")

    bench.run(scenario)
    assert max(bench.limits) <= 3


def test_a_turn_that_ends_claims_again_by_itself() -> None:
    bench = Bench(concurrency=1)
    bench.answer_slowly(1.0, times=2)
    bench.ledger.script("claim", claims(1, has_more=True), claims(2, has_more=True))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: len(bench.finished) == 2, "both are finished") - begun < 2.1

    bench.run(scenario)


def test_a_turn_that_ends_with_nothing_to_come_after_it_claims_nothing() -> None:
    bench = Bench()
    bench.answer_slowly(1.0)
    bench.ledger.script("claim", claims(1))
    bench.ledger.script("finish", TurnEnd(None, has_next=False))

    async def scenario() -> None:
        await until(lambda: bench.finished, "it is finished")
        assert len(bench.limits) == 1
        bench.ledger.script("claim", claims(2))
        begun = bench.clock.boottime()
        assert await until(lambda: len(bench.finished) == 2, "the next is finished") - begun <= LOOK_S

    bench.run(scenario)


def test_a_ring_that_waited_for_room_is_answered_when_there_is_some() -> None:
    bench = full_for_a_second()

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way == 1, "one runs")
        begun = bench.clock.boottime()
        await bench.turns.on_ring()
        assert bench.clock.boottime() - begun < 1.1

    bench.run(scenario)


def test_a_question_that_came_while_there_was_no_room_starts_when_there_is_some() -> None:
    bench = full_for_a_second()

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way == 1, "one runs")
        bench.ledger.script("claim", claims(2))
        begun = bench.clock.boottime()
        bench.turns.look()
        assert await until(lambda: len(bench.finished) == 2, "the other is finished") - begun < 1.2

    bench.run(scenario)


def full_for_a_second() -> Bench:
    """Return a process with room for one turn, whose first ends after a second and saw nobody wait."""
    bench = Bench(concurrency=1)
    bench.answer_slowly(1.0)
    bench.ledger.script("claim", claims(1))
    bench.ledger.script("finish", TurnEnd(None, has_next=False))
    return bench


@pytest.mark.parametrize("lost", [LeaseLost(), RuntimeError("a bug")], ids=["lease lost", "crash"])
def test_a_turn_that_ends_without_a_verdict_gives_its_room_back(lost: Exception) -> None:
    bench = Bench(concurrency=1)
    bench.ledger.script("claim", claims(1, has_more=True), claims(2))
    bench.ledger.script("begin_post", lost)

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: bench.finished == [2], "the other is finished") - begun < 1.0

    bench.run(scenario)


def test_more_than_there_is_room_for_is_rung_for_others() -> None:
    bench = Bench(concurrency=1)
    bench.answer_slowly(1.0)
    bench.ledger.script("claim", claims(1, has_more=True))

    async def scenario() -> None:
        await until(lambda: bench.bell.rings, "others are told")

    bench.run(scenario)


def test_a_ring_waits_while_there_is_no_room() -> None:
    bench = Bench(concurrency=1)
    bench.answer_slowly(7.0)
    bench.ledger.script("claim", claims(1))

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way == 1, "one runs")
        begun = bench.clock.boottime()
        await bench.turns.on_ring()
        assert bench.clock.boottime() - begun > 6.0

    bench.run(scenario)


def test_a_gate_that_is_closed_is_not_asked_again_before_its_time() -> None:
    bench = Bench()
    bench.ledger.script("claim", Claims((), 3.0, has_more=False, closed="throttled"))

    async def scenario() -> None:
        await until(lambda: bench.limits, "the first look")
        for _ in range(20):
            await bench.turns.on_ring()
            await asyncio.sleep(0.1)
        assert len(bench.limits) == 1
        begun = bench.clock.boottime()
        assert await until(lambda: len(bench.limits) == 2, "the next look") - begun < 1.2

    bench.run(scenario)


def test_a_ledger_that_is_away_is_asked_again_soon() -> None:
    bench = Bench()
    bench.ledger.script("claim", *[LedgerUnavailable()] * 3, claims(1))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: bench.finished, "it is finished") - begun < 5.0

    bench.run(scenario)


def test_leases_are_renewed_every_third_of_their_time() -> None:
    bench = Bench()
    bench.answer_slowly(35.0)
    bench.ledger.script("claim", claims(1))

    async def scenario() -> None:
        await until(lambda: bench.finished, "it is finished")

    bench.run(scenario)
    assert bench.ledger.called("renew") == [([Lease(1, 1)],)] * 3


def test_a_lost_lease_stops_its_turn_at_once_and_nothing_more_is_written() -> None:
    bench = Bench()
    bench.answer_slowly(60.0, times=2)
    bench.ledger.script("claim", claims(1, 2))
    bench.ledger.script("renew", {Lease(1, 1)})

    async def scenario() -> None:
        await until(lambda: bench.finished, "the other is finished")

    bench.run(scenario)
    assert bench.finished == [2]
    assert [line["question_id"] for line in bench.log.of("lease.lost")] == ["evt-1"]
    assert not bench.ledger.called("release")


def test_a_renewal_that_fails_stops_nothing() -> None:
    bench = Bench()
    bench.answer_slowly(25.0)
    bench.ledger.script("claim", claims(1))
    bench.ledger.script("renew", LedgerUnavailable(), LedgerUnavailable())

    async def scenario() -> None:
        await until(lambda: bench.finished, "it is finished")

    bench.run(scenario)


def test_a_write_under_a_lost_lease_ends_the_turn_without_a_verdict() -> None:
    bench = Bench()
    bench.ledger.script("claim", claims(1))
    bench.ledger.script("begin_post", LeaseLost())

    async def scenario() -> None:
        await until(lambda: bench.log.of("lease.lost"), "it is said so")
        assert bench.turns.under_way == 0

    bench.run(scenario)
    assert bench.finished == []


def test_a_turn_that_crashes_takes_no_other_along() -> None:
    bench = Bench()
    bench.ledger.script("claim", claims(1, 2))
    bench.assistant.script("post_question", ZeroDivisionError())

    async def scenario() -> None:
        await until(lambda: bench.finished, "the other is finished")

    bench.run(scenario)
    assert bench.finished == [2]
    assert len(bench.log.of("turn.crashed")) == 1


def test_a_suspect_runs_alone() -> None:
    bench = Bench()
    bench.answer_slowly(3.0)
    together: list[int] = []
    bench.ledger.script("claim", claims(1, has_more=True), claims(2, 3, expired_leases=2))

    async def alone(_project: int, session: str, text: str, external_id: str, *_: Any) -> Any:
        together.append(len(bench.finished))
        await asyncio.sleep(5.0)
        return bench.assistant.store(session, text, external_id)

    bench.assistant.script("post_question", alone, alone)

    async def scenario() -> None:
        await until(lambda: len(bench.finished) == 3, "all are finished")

    bench.run(scenario)
    assert together == [1, 2], "each began when all before it had ended"
    assert not [limit for limit in bench.limits[2:-1] if limit <= 0]


def test_stopping_lets_turns_end_within_the_grace() -> None:
    bench = Bench()
    bench.answer_slowly(5.0)
    bench.ledger.script("claim", claims(1))

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way, "it runs")
        await bench.turns.stop(20.0)
        assert bench.finished == [1]

    bench.run(scenario)
    assert not bench.ledger.called("release")


def test_stopping_gives_back_what_is_left_at_the_end_of_the_grace() -> None:
    bench = Bench()
    bench.answer_slowly(60.0)
    bench.ledger.script("claim", claims(1, 2))

    async def scenario() -> None:
        await until(lambda: bench.finished, "one is finished")
        begun = bench.clock.boottime()
        await bench.turns.stop(20.0)
        assert bench.clock.boottime() - begun == pytest.approx(20.0, abs=0.1)

    bench.run(scenario)
    assert bench.finished == [2]
    assert bench.ledger.called("release")[0] == ([Lease(1, 1)],)
    assert not bench.log.of("lease.lost")


def test_stopping_claims_nothing_more() -> None:
    bench = Bench()

    async def scenario() -> None:
        await until(lambda: bench.limits, "the first look")
        await bench.turns.stop(1.0)
        looks = len(bench.limits)
        await bench.turns.on_ring()
        await asyncio.sleep(30.0)
        assert len(bench.limits) == looks

    bench.run(scenario)


def test_stopping_keeps_hold_of_what_is_just_being_claimed() -> None:
    # Claimed and forgotten, it would wait for the end of its lease, and count as a crash.
    bench = Bench()

    async def slow(*_: Any) -> Claims:
        await asyncio.sleep(0.5)
        return claims(1)

    bench.ledger.script("claim", slow)
    bench.answer_slowly(60.0)

    async def scenario() -> None:
        await until(lambda: bench.limits, "the claim is under way")
        await bench.turns.stop(5.0)
        assert bench.ledger.called("release") == [([Lease(1, 1)],)]
        assert bench.turns.under_way == 0

    bench.run(scenario)


def test_stopping_answers_rings_that_wait() -> None:
    bench = Bench(concurrency=1)
    bench.answer_slowly(60.0)
    bench.ledger.script("claim", claims(1))

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way, "it runs")
        ring = asyncio.create_task(bench.turns.on_ring())
        await asyncio.sleep(1.0)
        assert not ring.done()
        await bench.turns.stop(0.0)
        await asyncio.wait_for(ring, 1.0)

    bench.run(scenario)


def test_a_stop_while_the_ledger_is_away_leaves_the_leases_to_end_by_themselves() -> None:
    bench = Bench()
    bench.answer_slowly(60.0)
    bench.ledger.script("claim", claims(1))
    bench.ledger.script("release", LedgerUnavailable())

    async def scenario() -> None:
        await until(lambda: bench.turns.under_way, "it runs")
        await bench.turns.stop(0.0)

    bench.run(scenario)


def test_the_canonical_line_says_what_happened_and_nothing_that_was_written() -> None:
    bench = Bench()
    bench.ledger.script("claim", claims(1), NOTHING, claims(2))
    bench.ledger.script("begin_post", lambda *_: _intent(bench), GateClosed("breaker", retry_in_s=3.0))

    async def scenario() -> None:
        await until(lambda: len(bench.log.of("turn.finished")) == 2, "both lines are written")

    bench.run(scenario)
    first, second = bench.log.of("turn.finished")
    assert (first["verdict"], first["outcome"], first["error_code"]) == ("answered", "posted", None)
    assert (first["question_chars"], first["attempt"], first["message_id"]) == (7, 1, 1)
    assert (second["verdict"], second["error_code"]) == ("snooze", "gate_closed")
    assert "CANARY" not in str(bench.log.lines)


def _intent(bench: Bench) -> Any:
    return Intent(bench.clock.boottime(), "session-1", 0)


class Live(Bench):
    """Turns whose answers are told while they are written: a piece every so often."""

    def __init__(self, *, pieces: int, every_s: float) -> None:
        super().__init__()
        #: When each event came, what it said, and how many turns were finished by then.
        self.told: list[tuple[float, dict[str, Any], int]] = []
        self.turns.tell = self._tell

        async def write(_project: int, session: str, text: str, external_id: str, *_: Any) -> Any:
            assert self.assistant.on_progress is not None
            for number in range(pieces):
                self.assistant.on_progress(f"{number} ")
                await asyncio.sleep(every_s)
            return self.assistant.store(session, text, external_id)

        self.assistant.script("post_question", write)
        self.ledger.script("claim", claims(1))

    def _tell(self, progress: Progress) -> None:
        event = json.loads(progress.body)
        assert (progress.event_id, progress.question_id) == (event["id"], event["data"]["question_id"])
        self.told.append((self.clock.boottime(), event["data"], len(self.finished)))

    async def finish(self) -> None:
        await until(lambda: self.finished, "it is finished")
        await asyncio.sleep(2.0)


def test_an_answer_is_told_at_most_four_times_a_second_all_of_it_each_time() -> None:
    bench = Live(pieces=100, every_s=0.02)
    bench.run(bench.finish)
    times = [at for at, _, _ in bench.told]
    assert 8 <= len(times) <= 9
    assert all(later - earlier >= 0.249 for earlier, later in pairwise(times))
    texts = [data["answer_so_far"] for _, data, _ in bench.told]
    assert texts[0] == "0 "
    assert all(later.startswith(earlier) and later != earlier for earlier, later in pairwise(texts))
    assert [data["sequence"] for _, data, _ in bench.told] == list(range(1, len(times) + 1))


def test_nothing_is_told_once_the_reply_is_being_recorded() -> None:
    # The last piece comes within the pause after the event before it, and would be told later.
    bench = Live(pieces=2, every_s=0.01)
    bench.run(bench.finish)
    assert [(data["answer_so_far"], finished) for _, data, finished in bench.told] == [("0 ", 0)]


def test_nothing_is_told_after_the_lease_may_have_ended() -> None:
    bench = Live(pieces=100, every_s=1.0)
    # Renewals fail from the beginning on: another worker may have answered by the end of the lease.
    bench.ledger.script("renew", *[LedgerUnavailable()] * 100)
    bench.run(bench.finish)
    begun = bench.told[0][0]
    assert RULES.lease_s - 3 < bench.told[-1][0] - begun < RULES.lease_s


def test_a_renewed_lease_lets_the_answer_go_on_being_told() -> None:
    bench = Live(pieces=100, every_s=1.0)
    bench.run(bench.finish)
    assert len(bench.told) == 100


def test_nothing_is_told_of_answers_where_nobody_wants_it() -> None:
    bench = Bench()
    bench.ledger.script("claim", claims(1))
    bench.answer_slowly(1.0)

    async def scenario() -> None:
        await until(lambda: bench.finished, "it is finished")

    bench.run(scenario)
    assert bench.assistant.on_progress is None
