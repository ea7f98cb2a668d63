"""One gate for the whole fleet: pace, requests at once, pauses, and probes by exactly one (PROTOCOL 7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.contract.ledger_cases import (
    LEASE_S,
    PROJECT,
    REQUEST_TIMEOUT_S,
    SESSION,
    answer,
    answered,
    asked,
    claim_one,
    end,
    ensured,
    in_session,
    let_pass,
    opened,
    sql,
)
from worker.adapters.ledger import GateChange, SqlLedger
from worker.adapters.ledger.gate import ANSWERS_WITHIN_S
from worker.core.errors import GateClosed
from worker.core.model import Claim, Failed, GateNews, Halt, Retry, Snooze, Verdict
from worker.core.pace import Pace

FAILURE = GateNews("failure")
OK = GateNews("ok")
TEN_A_MINUTE = Pace(10, 0)
THREE_AT_ONCE = Pace(0, 3)


@pytest.fixture
async def fleet(ledger_url: str) -> AsyncIterator[list[SqlLedger]]:
    """Return three workers' ledgers without a pace."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(ledger_url, worker_id=f"worker-{i}")) for i in range(3)]


async def admitted(ledger: SqlLedger) -> bool:
    try:
        await ledger.admit_read()
    except GateClosed:
        return False
    return True


async def waiting(ledger: SqlLedger, count: int) -> None:
    await ledger.accept([asked(f"evt-{i}", f"c-{i}") for i in range(count)])


async def test_the_pace_counts_the_requests_of_all_workers_together(ledger_url: str) -> None:
    async with (
        opened(ledger_url, pace=TEN_A_MINUTE) as first,
        opened(ledger_url, pace=TEN_A_MINUTE, worker_id="worker-b") as second,
    ):
        results = await asyncio.gather(*(admitted((first, second)[i % 2]) for i in range(30)))
        assert sum(results) == TEN_A_MINUTE.burst
        let_pass(ledger_url, 7)
        assert sum([await admitted((first, second)[i % 2]) for i in range(12)]) == 1, "the even pace"
        for _ in range(6):
            let_pass(ledger_url, 6)
            assert await admitted(second)
        let_pass(ledger_url, 6)
        assert not await admitted(first), "ten in this minute"
        let_pass(ledger_url, 15)
        assert await admitted(first)


async def test_intents_and_creations_count_against_the_pace_too(ledger_url: str) -> None:
    async with opened(ledger_url, pace=Pace(3, 0)) as ledger:
        await ledger.accept([asked()])
        claim = await claim_one(ledger)
        await ledger.begin_create(claim.lease, PROJECT)
        await ensured(ledger, claim)
        await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        await ledger.admit_read(claim.lease)
        with pytest.raises(GateClosed) as raised:
            await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        assert raised.value.reason == "pace"
        assert 55 < raised.value.retry_in_s < 65


async def test_a_request_that_is_refused_is_not_counted(ledger_url: str) -> None:
    async with opened(ledger_url, pace=TEN_A_MINUTE) as ledger:
        await ledger.report(GateNews("pause", "throttled", 30.0))
        for _ in range(20):
            assert not await admitted(ledger)
        let_pass(ledger_url, 31)
        assert sum([await admitted(ledger) for _ in range(20)]) == TEN_A_MINUTE.burst


async def test_no_more_turns_start_than_the_pace_allows(ledger_url: str) -> None:
    async with opened(ledger_url, pace=TEN_A_MINUTE) as ledger:
        await waiting(ledger, 20)
        await ledger.admit_read()
        # Two may begin, and two more come in time: a new contact needs three.
        claims = await ledger.claim(20)
        assert (len(claims.turns), claims.closed) == (1, "pace")
        assert (await ledger.claim(20)).turns == (), "what that one has yet to send is its own"


async def test_contacts_that_are_known_need_one_request_each(ledger_url: str) -> None:
    async with opened(ledger_url, pace=TEN_A_MINUTE) as ledger:
        await waiting(ledger, 20)
        sql(ledger_url, "update conversations set project_id = 1, session_id = 'session-' || number")
        assert len((await ledger.claim(20)).turns) == TEN_A_MINUTE.burst


async def test_a_used_up_pace_tells_the_claimer_when_to_come_back(ledger_url: str) -> None:
    async with opened(ledger_url, pace=TEN_A_MINUTE) as ledger:
        await waiting(ledger, 20)
        for _ in range(TEN_A_MINUTE.burst):
            await ledger.admit_read()
        claims = await ledger.claim(20)
        assert (claims.turns, claims.closed) == ((), "pace")
        assert claims.next_due_in_s == pytest.approx(6, abs=3)


async def test_no_more_turns_run_at_once_than_allowed_in_all_workers_together(ledger_url: str) -> None:
    async with (
        opened(ledger_url, pace=THREE_AT_ONCE) as first,
        opened(ledger_url, pace=THREE_AT_ONCE, worker_id="worker-b") as second,
    ):
        await waiting(first, 10)
        turns = (await first.claim(2)).turns + (await second.claim(9)).turns
        assert len(turns) == 3
        claims = await second.claim(9)
        assert (claims.turns, claims.closed, claims.next_due_in_s) == ((), "at_once", None)
        await end(first, turns[0], Failed("expired"))
        assert len((await second.claim(9)).turns) == 1


async def test_a_crashed_workers_request_may_still_run_until_its_deadline(ledger_url: str) -> None:
    async with opened(ledger_url, pace=Pace(0, 1)) as ledger:
        await waiting(ledger, 2)
        claim = await claim_one(ledger)
        await ensured(ledger, claim)
        await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        let_pass(ledger_url, LEASE_S + 1)
        assert (await ledger.claim(9)).closed == "at_once"
        let_pass(ledger_url, REQUEST_TIMEOUT_S)
        assert len((await ledger.claim(9)).turns) == 1


async def test_a_throttle_seen_by_one_holds_all(fleet: list[SqlLedger], ledger_url: str) -> None:
    await waiting(fleet[0], 3)
    claim = await claim_one(fleet[0])
    await end(fleet[0], claim, Snooze("throttled", 40.0, news=GateNews("pause", "throttled", 40.0)))
    for ledger in fleet:
        claims = await ledger.claim(9)
        assert (claims.turns, claims.closed) == ((), "throttled")
        assert claims.next_due_in_s == pytest.approx(40, abs=3)
        assert not await admitted(ledger)
    let_pass(ledger_url, 41)
    assert len((await fleet[1].claim(9)).turns) == 3


async def test_five_failures_in_a_row_across_the_fleet_open_the_breaker(fleet: list[SqlLedger]) -> None:
    for place in range(5):
        assert await admitted(fleet[0])
        await fleet[place % 3].report(FAILURE)
    assert not await admitted(fleet[1])


async def test_a_success_in_between_keeps_the_breaker_shut(fleet: list[SqlLedger]) -> None:
    for news in [FAILURE] * 4 + [OK] + [FAILURE] * 4:
        await fleet[0].report(news)
    assert await admitted(fleet[1])


async def test_failures_in_one_transaction_count_each(fleet: list[SqlLedger]) -> None:
    await asyncio.gather(*(fleet[0].report(FAILURE) for _ in range(5)))
    assert not await admitted(fleet[1])


async def probing(fleet: list[SqlLedger], url: str, reason: str = "credits_exhausted") -> Claim:
    """Close the gate, let its time pass, and return the one turn that goes as a probe."""
    await waiting(fleet[0], 4)
    await fleet[0].report(GateNews("pause", reason, 900.0))
    let_pass(url, 901)
    claims = await asyncio.gather(*(ledger.claim(9) for ledger in fleet))
    probes = [claim for each in claims for claim in each.turns]
    assert len(probes) == 1
    assert probes[0].probes == reason
    return probes[0]


@pytest.mark.parametrize(
    "reason", ["breaker", "credits_exhausted", "credentials_rejected", "project_not_found"]
)
async def test_exactly_one_worker_probes(fleet: list[SqlLedger], ledger_url: str, reason: str) -> None:
    probe = await probing(fleet, ledger_url, reason)
    await asyncio.gather(*(ledger.admit_read(probe.lease) for ledger in fleet))
    for ledger in fleet:
        assert (await ledger.claim(9)).turns == ()
        assert not await admitted(ledger)


async def probing_alone(fleet: list[SqlLedger], url: str) -> tuple[SqlLedger, Claim]:
    """As ``probing``, by the first worker."""
    await waiting(fleet[0], 4)
    await fleet[0].report(GateNews("pause", "credits_exhausted", 900.0))
    let_pass(url, 901)
    return fleet[0], await claim_one(fleet[0])


async def test_a_probe_that_is_answered_opens_the_gate_for_all(
    fleet: list[SqlLedger], ledger_url: str
) -> None:
    worker, probe = await probing_alone(fleet, ledger_url)
    await ensured(worker, probe)
    await answer(worker, probe, 1)
    assert len((await fleet[2].claim(9)).turns) == 3


async def test_a_probe_that_halts_again_keeps_the_gate_shut_for_as_long(
    fleet: list[SqlLedger], ledger_url: str
) -> None:
    worker, probe = await probing_alone(fleet, ledger_url)
    await end(worker, probe, Halt("credits_exhausted", 900.0))
    claims = await fleet[1].claim(9)
    assert (claims.turns, claims.next_due_in_s) == ((), pytest.approx(900, abs=3))


async def test_a_probe_that_asked_nothing_is_followed_by_another_soon(
    fleet: list[SqlLedger], ledger_url: str
) -> None:
    worker, probe = await probing_alone(fleet, ledger_url)
    await end(worker, probe, Failed("expired"))
    assert (await fleet[1].claim(9)).turns == ()
    let_pass(ledger_url, 6)
    assert (await claim_one(fleet[1])).probes == "credits_exhausted"


async def test_a_probe_that_failed_is_followed_by_another_soon(
    fleet: list[SqlLedger], ledger_url: str
) -> None:
    worker, probe = await probing_alone(fleet, ledger_url)
    await end(worker, probe, Snooze("unreachable", 1.0, news=FAILURE))
    let_pass(ledger_url, 6)
    assert (await claim_one(fleet[1])).probes == "credits_exhausted"


async def test_a_probe_whose_worker_died_is_followed_by_another(
    fleet: list[SqlLedger], ledger_url: str
) -> None:
    _, probe = await probing_alone(fleet, ledger_url)
    let_pass(ledger_url, LEASE_S + 1)
    assert (await fleet[1].claim(9)).turns == (), "its request may still run"
    let_pass(ledger_url, REQUEST_TIMEOUT_S)
    again = await claim_one(fleet[1])
    assert again.probes == "credits_exhausted"
    assert again.lease != probe.lease


async def test_a_gate_that_is_closed_stops_no_intake(fleet: list[SqlLedger]) -> None:
    await fleet[0].report(GateNews("pause", "credentials_rejected", 60.0))
    assert (await fleet[0].accept([asked()]))[0].result == "new"


async def test_a_gate_that_is_closed_does_not_stop_the_end_of_a_turn(fleet: list[SqlLedger]) -> None:
    claim = await in_session(fleet[0], asked())
    await fleet[0].begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await fleet[1].report(GateNews("pause", "throttled", 60.0))
    await end(fleet[0], claim, Retry("unreachable", 1.0, FAILURE))


async def test_changes_of_the_gate_are_told(ledger_url: str) -> None:
    changes: list[GateChange] = []
    async with opened(ledger_url, on_gate_change=changes.append) as ledger:
        await ledger.accept([asked()])
        await ledger.report(GateNews("pause", "credits_exhausted", 900.0))
        let_pass(ledger_url, 901)
        claim = await claim_one(ledger)
        await ensured(ledger, claim)
        await answer(ledger, claim, 1)
    assert [(change.reason, change.was) for change in changes] == [
        ("credits_exhausted", None),
        (None, "credits_exhausted"),
    ]


@pytest.mark.parametrize("pace", [Pace(0, 0), TEN_A_MINUTE])
async def test_the_end_of_a_throttle_is_told_too(ledger_url: str, pace: Pace) -> None:
    changes: list[GateChange] = []
    async with opened(ledger_url, pace=pace, on_gate_change=changes.append) as ledger:
        await ledger.accept([asked()])
        await ledger.report(GateNews("pause", "throttled", 30.0))
        let_pass(ledger_url, 31)
        await claim_one(ledger)
        await ledger.claim(1)
    assert [(change.reason, change.was) for change in changes] == [("throttled", None), (None, "throttled")]


async def test_a_worker_that_finds_the_gate_closed_tells_it_once(ledger_url: str) -> None:
    changes: list[GateChange] = []
    async with opened(ledger_url) as first:
        await first.accept([asked("a"), asked("b", "EXT_2")])
        await first.report(GateNews("pause", "credentials_rejected", 60.0))
        async with opened(ledger_url, worker_id="later", on_gate_change=changes.append) as later:
            for _ in range(3):
                assert (await later.claim(1)).turns == ()
            assert changes == [GateChange("credentials_rejected", None, pytest.approx(60.0, abs=5.0))]
            # A probe that is refused changes nothing, whoever makes it.
            for prober in (first, later):
                let_pass(ledger_url, 61)
                await end(prober, await claim_one(prober), Halt("credentials_rejected", 60.0))
                await later.claim(1)
            assert len(changes) == 1
            let_pass(ledger_url, 61)
            claim = await claim_one(first)
            await ensured(first, claim)
            await answer(first, claim, 1)
            await claim_one(later)
            assert changes[1:] == [GateChange(None, "credentials_rejected", 0.0)]
            await first.report(GateNews("pause", "credentials_rejected", 60.0))
            await later.claim(1)
    assert [change.reason for change in changes] == ["credentials_rejected", None, "credentials_rejected"]


async def test_a_pace_that_is_used_up_is_no_closed_gate(ledger_url: str) -> None:
    changes: list[GateChange] = []
    async with opened(ledger_url, pace=Pace(3, 1), on_gate_change=changes.append) as ledger:
        await waiting(ledger, 9)
        await ledger.claim(9)
        assert (await ledger.claim(9)).closed in {"pace", "at_once"}
    assert changes == []


async def test_a_change_that_is_rolled_back_is_not_told(ledger_url: str) -> None:
    changes: list[GateChange] = []
    async with opened(ledger_url, on_gate_change=changes.append) as ledger:
        # Together in one transaction, which the other one breaks; the report is then done alone, once more.
        results = await asyncio.gather(
            *(ledger.report(OK) for _ in range(9)),
            ledger.report(GateNews("pause", "throttled", 30.0)),
            ledger.mark_published([float("nan")]),  # type: ignore[list-item]
            return_exceptions=True,
        )
        assert [type(result) for result in results if result is not None] == [ValueError]
    assert [change.reason for change in changes] == ["throttled"]


async def test_read_backs_come_within_five_turns_of_a_backlog(ledger_url: str) -> None:
    async with opened(ledger_url, pace=Pace(600, 0)) as ledger:
        await waiting(ledger, 30)
        sql(ledger_url, "update conversations set project_id = 1, session_id = 'session-' || number")
        (claim,) = (await ledger.claim(1)).turns
        session = f"session-{claim.lease.conversation}"
        await ledger.begin_post(claim.lease, claim.question.number, session_id=session)
        await end(ledger, claim, Snooze("outcome_unknown", 0.0, keeps_intent=True))
        taken = []
        for _ in range(5):
            (turn,) = (await ledger.claim(1)).turns
            taken.append(turn.question.number)
            if turn.question.number != claim.question.number:
                await ledger.begin_post(
                    turn.lease, turn.question.number, session_id=f"session-{turn.lease.conversation}"
                )
        assert claim.question.number in taken
        assert claim.question.number != taken[0], "posts come first"


async def test_what_nobody_waits_for_may_be_read_back_although_all_places_are_taken(ledger_url: str) -> None:
    async with opened(ledger_url, pace=Pace(0, 2)) as ledger:
        await waiting(ledger, 9)
        sql(ledger_url, "update conversations set project_id = 1, session_id = 'session-' || number")
        claims = (await ledger.claim(9)).turns
        for claim in claims:
            session = f"session-{claim.lease.conversation}"
            await ledger.begin_post(claim.lease, claim.question.number, session_id=session)
            await end(ledger, claim, Snooze("outcome_unknown", 0.0, keeps_intent=True))
        for _ in claims:
            # One for each claim: the API may still be at work on all of them.
            (turn,) = (await ledger.claim(9)).turns
            assert turn.question.intent is not None
            await end(ledger, turn, Snooze("outcome_unknown", 9.0, keeps_intent=True, is_look=True))
        # Answers take a while: having been looked for once, the posts still hold their places.
        assert (await ledger.claim(9)).turns == ()
        sql(ledger_url, f"update questions set intent_at = intent_at - {ANSWERS_WITHIN_S}")
        assert len((await ledger.claim(9)).turns) == 2


@pytest.mark.parametrize(
    "verdict",
    [
        Snooze("throttled", 0.0),
        Retry("unreachable", 0.0),
        Halt("credits_exhausted", 0.0),
        Snooze("outcome_unknown", 0.0, keeps_intent=True),
    ],
    ids=["snooze", "retry", "halt", "unknown"],
)
async def test_only_a_question_that_waited_for_another_one_follows(ledger_url: str, verdict: Verdict) -> None:
    follows = (
        "select count(*) as found from conversations c join questions q on q.conversation = c.number"
        " where q.state in ('waiting', 'posting') and q.received_at < c.ended_at"
    )
    async with opened(ledger_url) as ledger:
        await ledger.accept([asked("evt-1"), asked("evt-2")])
        await end(ledger, await claim_one(ledger), verdict)
        assert sql(ledger_url, follows) == [{"found": 0}]
        await ledger.report(OK)
        await end(ledger, await claim_one(ledger), answered(9))
        assert sql(ledger_url, follows) == [{"found": 1}]


async def test_healing_takes_a_place_among_the_requests_at_once(ledger_url: str) -> None:
    async with opened(ledger_url, pace=THREE_AT_ONCE) as ledger:
        await waiting(ledger, 9)
        await ledger.admit_read(None, "healing")
        assert len((await ledger.claim(9)).turns) == 2
        await ledger.end_healing()
        assert len((await ledger.claim(9)).turns) == 1
        with pytest.raises(GateClosed) as raised:
            await ledger.admit_read(None, "healing")
        assert raised.value.reason == "at_once"
