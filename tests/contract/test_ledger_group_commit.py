"""Operations that wait go together in the next transaction, and only the culprit fails (PROTOCOL 3)."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.contract.ledger_cases import asked, claim_one, end, opened, snapshot, sql
from worker.adapters.ledger import SqlLedger, commit, database
from worker.adapters.ledger.commit import PATIENCE_S
from worker.core.errors import LeaseLost, LedgerUnavailable
from worker.core.model import Failed, Lease, TurnEnd


class Batches:
    """Notes the size of every transaction, and can hold the ledger's thread after one."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._is_held = threading.Event()

    def __call__(self, size: int, seconds: float) -> None:
        assert seconds >= 0
        self.sizes.append(size)
        if not self._may_go_on.is_set():
            self._is_held.set()
            assert self._may_go_on.wait(30)

    async def hold(self, ledger: SqlLedger) -> asyncio.Task[object]:
        """Keep the thread busy with one transaction until ``go_on``; returns its operation."""
        self._may_go_on.clear()
        self._is_held.clear()
        running = asyncio.create_task(ledger.take_replies(1))
        assert await asyncio.to_thread(self._is_held.wait, 30)
        self.sizes.clear()
        return running

    def go_on(self) -> None:
        self._may_go_on.set()


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.fixture
async def ledger(ledger_url: str, batches: Batches) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, on_batch=batches) as ledger:
        yield ledger


async def together(ledger: SqlLedger, batches: Batches, *operations: object) -> list[object]:
    """Run operations that all wait while a transaction runs; returns their results or errors."""
    running = await batches.hold(ledger)
    waiting = [asyncio.ensure_future(operation) for operation in operations]
    await asyncio.sleep(0)  # each has put itself in the queue
    batches.go_on()
    await running
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_operation_alone_runs_at_once(ledger: SqlLedger, batches: Batches) -> None:
    await ledger.accept([asked()])
    assert batches.sizes == [1]


async def test_operations_that_wait_share_one_transaction(
    ledger: SqlLedger, batches: Batches, ledger_url: str
) -> None:
    results = await together(
        ledger, batches, *(ledger.accept([asked(f"evt-{i}", f"c-{i}")]) for i in range(40))
    )
    assert batches.sizes == [40]
    assert all(result[0].result == "new" for result in results)
    assert len(sql(ledger_url, "select number from questions")) == 40


async def test_what_the_results_of_one_transaction_bring_goes_together_in_the_next(
    ledger: SqlLedger, batches: Batches
) -> None:
    # As turns do: whoever gets a result comes with its next operation. None is to begin a transaction alone
    # while the others are about to come.
    async def two_in_a_row(number: int) -> None:
        await ledger.accept([asked(f"evt-{number}", f"c-{number}")])
        await ledger.accept([asked(f"next-{number}", f"c-{number}")])

    await together(ledger, batches, *(two_in_a_row(number) for number in range(40)))
    assert batches.sizes == [40, 40]


async def test_what_the_loop_is_about_to_do_joins_an_operation_that_finds_the_thread_idle(
    ledger: SqlLedger, batches: Batches
) -> None:
    await asyncio.gather(*(ledger.accept([asked(f"evt-{i}", f"c-{i}")]) for i in range(10)))
    assert batches.sizes == [10]


async def test_a_patient_operation_goes_along_or_soon_by_itself(ledger: SqlLedger, batches: Batches) -> None:
    await asyncio.wait_for(ledger.mark_published([1]), 30)
    assert batches.sizes == [1]
    await asyncio.gather(ledger.mark_published([1]), ledger.mark_published([2]), ledger.take_replies(1))
    assert batches.sizes == [1, 3]


async def test_a_patient_operation_that_came_during_a_transaction_is_not_forgotten(
    ledger: SqlLedger, batches: Batches
) -> None:
    await together(ledger, batches, ledger.mark_published([1]))
    assert batches.sizes == [1]


async def test_a_patient_operation_that_lost_its_patience_during_a_transaction_is_not_forgotten(
    ledger: SqlLedger, batches: Batches
) -> None:
    running = await batches.hold(ledger)
    patient = asyncio.create_task(ledger.mark_published([1]))
    await asyncio.sleep(3 * PATIENCE_S)
    batches.go_on()
    await running
    await asyncio.wait_for(patient, 30)
    # And its patience is what it was before.
    await asyncio.wait_for(ledger.mark_published([2]), 30)
    assert batches.sizes == [1, 1]


async def test_a_bug_in_the_ledgers_thread_is_told_and_does_not_hold_up_the_stop(ledger_url: str) -> None:
    def broken(_size: int, _seconds: float) -> None:
        raise RuntimeError("a bug")

    async with asyncio.timeout(30), opened(ledger_url, on_batch=broken) as ledger:
        with pytest.raises(RuntimeError, match="a bug"):
            await ledger.take_replies(1)
        with pytest.raises(RuntimeError, match="a bug"):
            await ledger.take_replies(1)


async def test_each_caller_gets_its_own_result(ledger: SqlLedger, batches: Batches) -> None:
    await ledger.accept([asked("known")])
    results = await together(
        ledger,
        batches,
        ledger.accept([asked("a", "a"), asked("known")]),
        ledger.claim(0),
        ledger.accept([asked("known", text="Other?"), asked("b", "b")]),
        ledger.take_replies(5),
        ledger.unclaimed("s", [1, 2]),
    )
    assert batches.sizes == [5]
    first, _, second, replies, unclaimed = results
    assert [a.result for a in first] == ["new", "repeat_unfinished"]
    assert [a.result for a in second] == ["conflict", "new"]
    assert replies == ([], None)
    assert unclaimed == {1, 2}


async def test_a_claim_sees_what_its_own_transaction_accepted(ledger: SqlLedger, batches: Batches) -> None:
    claims, _ = await together(ledger, batches, ledger.claim(5), ledger.accept([asked()]))
    assert batches.sizes == [2]
    assert len(claims.turns) == 1


async def test_the_same_event_in_two_batches_of_one_transaction_is_new_once(
    ledger: SqlLedger, batches: Batches
) -> None:
    results = await together(ledger, batches, ledger.accept([asked()]), ledger.accept([asked()]))
    assert [result[0].result for result in results] == ["new", "repeat_unfinished"]


async def test_two_claims_of_one_transaction_share_nothing(ledger: SqlLedger, batches: Batches) -> None:
    await ledger.accept([asked(f"evt-{i}", f"c-{i}") for i in range(6)])
    results = await together(ledger, batches, ledger.claim(4), ledger.claim(4))
    claimed = [claim.lease.conversation for claims in results for claim in claims.turns]
    assert len(claimed) == len(set(claimed)) == 6


async def test_an_operation_that_the_database_refuses_fails_alone(
    ledger: SqlLedger, batches: Batches, ledger_url: str
) -> None:
    results = await together(
        ledger,
        batches,
        ledger.accept([asked("a", "a")]),
        ledger.accept([asked("bad", "bad", expires_at=math.nan)]),
        ledger.accept([asked("b", "b")]),
        ledger.cancel_create(Lease(99, 1)),
    )
    assert [result[0].result for result in results[:3]] == ["new", "refused", "new"]
    assert isinstance(results[3], LeaseLost)
    assert len(sql(ledger_url, "select number from questions")) == 2


async def test_a_lost_lease_fails_alone_and_its_transaction_commits(
    ledger: SqlLedger, batches: Batches
) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    results = await together(
        ledger, batches, ledger.cancel_create(Lease(99, 1)), ledger.cancel_create(claim.lease)
    )
    assert batches.sizes == [2]
    assert isinstance(results[0], LeaseLost)
    assert results[1] is None


async def test_an_operation_whose_caller_is_gone_is_not_begun(
    ledger: SqlLedger, batches: Batches, ledger_url: str
) -> None:
    running = await batches.hold(ledger)
    waiting = asyncio.ensure_future(ledger.accept([asked()]))
    await asyncio.sleep(0)
    waiting.cancel()
    batches.go_on()
    await running
    await ledger.take_replies(1)
    assert snapshot(ledger_url)["questions"] == []


async def test_stopping_runs_what_waits(ledger_url: str) -> None:
    async with opened(ledger_url) as ledger:
        waiting = asyncio.ensure_future(ledger.accept([asked()]))
        await asyncio.sleep(0)
    assert (await waiting)[0].result == "new"
    with pytest.raises(LedgerUnavailable):
        await ledger.accept([asked("late")])
    assert len(sql(ledger_url, "select number from questions")) == 1


async def test_a_database_that_answers_nobody_does_not_hold_up_the_stop(
    ledger: SqlLedger, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "STOP_S", 0.1)
    running = await batches.hold(ledger)
    await ledger.stop()
    assert not running.done()
    batches.go_on()
    assert await running == ([], None), "what was under way is told once it has come to its end"


async def test_a_lock_that_somebody_holds_for_too_long_delays_only_its_own_operation(
    postgres_ledger_url: str, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.1)
    async with opened(postgres_ledger_url, on_batch=batches) as ledger:
        await ledger.accept([asked("a", "a"), asked("b", "b")])
        first, second = (await ledger.claim(2)).turns
        with psycopg.connect(postgres_ledger_url) as guest:
            guest.execute(
                "select 1 from conversations where number = %s for update", (first.lease.conversation,)
            )
            results = await together(
                ledger,
                batches,
                ledger.finish(first.lease, first.question.number, Failed("expired"), None),
                ledger.finish(second.lease, second.question.number, Failed("expired"), None),
            )
        assert isinstance(results[0], LedgerUnavailable)
        assert isinstance(results[1], TurnEnd)
        # Nothing of the first was committed: it can be done again, and is done once.
        await end(ledger, first, Failed("expired"))
    states = sql(postgres_ledger_url, "select state from questions")
    assert [row["state"] for row in states] == ["failed", "failed"]


async def test_two_processes_on_one_database_wait_for_each_other(
    ledger_url: str,
) -> None:
    async with opened(ledger_url) as first, opened(ledger_url, worker_id="worker-b") as second:
        await asyncio.gather(
            *((first, second)[i % 2].accept([asked(f"evt-{i}", f"c-{i % 7}")]) for i in range(60))
        )
    numbers = [row["number"] for row in sql(ledger_url, "select number from questions")]
    assert len(numbers) == 60
