"""A conversation that waits for a person after a question of it failed (ASKRELAY_AFTER_FAILURE=block)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.ledger_cases import (
    SESSION,
    address,
    answer,
    asked,
    claim_one,
    end,
    ensured,
    in_session,
    let_pass,
    opened,
    snapshot,
)
from worker.adapters.ledger import SqlLedger
from worker.adapters.ledger.operators import unblock
from worker.core.model import Failed, Retry, Snooze, Verdict

REJECTED = Failed("question_rejected")


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, blocks_on_failure=True) as ledger:
        yield ledger


async def block(ledger: SqlLedger, *waiting: str) -> None:
    """Let question ``a`` fail before those that wait behind it."""
    await ledger.accept([asked("a"), *[asked(event_id) for event_id in waiting]])
    await end(ledger, await claim_one(ledger), REJECTED)


async def test_failed_question_holds_up_its_contact_and_nobody_else(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await block(ledger, "b")
    await ledger.accept([asked("c"), asked("d", "EXT_2")])
    let_pass(ledger_url, 100_000)
    assert [claim.question.event_id for claim in (await ledger.claim(9)).turns] == ["d"]


async def test_unblocked_conversation_goes_on_in_order(ledger: SqlLedger, ledger_url: str) -> None:
    await block(ledger, "b", "c")
    assert unblock(address(ledger_url), "crm/test", "a") == "unblocked"
    claim = await claim_one(ledger)
    assert claim.question.event_id == "b"
    await ensured(ledger, claim)
    await answer(ledger, claim, 6)
    assert (await claim_one(ledger)).question.event_id == "c"


async def test_next_failure_blocks_again(ledger: SqlLedger, ledger_url: str) -> None:
    await block(ledger, "b", "c")
    unblock(address(ledger_url), "crm/test", "a")
    await end(ledger, await claim_one(ledger), REJECTED)
    assert (await ledger.claim(9)).turns == ()


async def test_unblocked_conversation_with_nothing_waiting_takes_the_next_question(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await block(ledger)
    assert unblock(address(ledger_url), "crm/test", "a") == "unblocked"
    claims = await ledger.claim(9)
    assert (claims.turns, claims.next_due_in_s) == ((), None)
    await ledger.accept([asked("b")])
    assert (await claim_one(ledger)).question.event_id == "b"


async def test_any_question_of_a_conversation_names_it(ledger: SqlLedger, ledger_url: str) -> None:
    await block(ledger, "b")
    assert unblock(address(ledger_url), "crm/test", "b") == "unblocked"


async def test_failed_question_stays_failed(ledger: SqlLedger, ledger_url: str) -> None:
    await block(ledger, "b")
    before = snapshot(ledger_url, ["questions"])
    unblock(address(ledger_url), "crm/test", "a")
    assert snapshot(ledger_url, ["questions"]) == before


@pytest.mark.parametrize(("source", "event_id"), [("crm/test", "nobody"), ("crm/other", "a"), ("", "")])
async def test_unknown_question_unblocks_nothing(
    ledger: SqlLedger, ledger_url: str, source: str, event_id: str
) -> None:
    await block(ledger, "b")
    before = snapshot(ledger_url)
    assert unblock(address(ledger_url), source, event_id) == "unknown"
    assert snapshot(ledger_url) == before


async def test_conversation_that_is_not_blocked_is_left_alone(ledger: SqlLedger, ledger_url: str) -> None:
    # A turn is under way: what it holds must not become due for somebody else.
    await ledger.accept([asked("a")])
    await claim_one(ledger)
    before = snapshot(ledger_url)
    assert unblock(address(ledger_url), "crm/test", "a") == "not_blocked"
    assert snapshot(ledger_url) == before


@pytest.mark.parametrize(
    "verdict", [Retry("unreachable", 0.0), Snooze("outcome_unknown", 0.0, keeps_intent=True)]
)
async def test_question_that_is_tried_again_blocks_nothing(ledger: SqlLedger, verdict: Verdict) -> None:
    claim = await in_session(ledger, asked("a"))
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, verdict)
    assert (await claim_one(ledger)).question.event_id == "a"


async def test_without_the_setting_the_next_question_goes_on(ledger_url: str) -> None:
    async with opened(ledger_url) as ledger:
        await block(ledger, "b")
        assert (await claim_one(ledger)).question.event_id == "b"
        assert unblock(address(ledger_url), "crm/test", "a") == "not_blocked"
