"""The ledger takes each event once, in arrival order (PROTOCOL 2)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tests.contract.ledger_cases import (
    answer,
    asked,
    claim_one,
    end,
    ensured,
    in_session,
    let_pass,
    snapshot,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.core.model import Failed


async def results_of(ledger: SqlLedger, *questions: object) -> list[str]:
    return [acceptance.result for acceptance in await ledger.accept(questions)]


async def test_an_event_is_written_once(ledger: SqlLedger, ledger_url: str) -> None:
    assert await results_of(ledger, asked()) == ["new"]
    before = snapshot(ledger_url)
    assert await results_of(ledger, asked()) == ["repeat_unfinished"]
    assert snapshot(ledger_url) == before


async def test_an_event_twice_in_one_batch_is_written_once(ledger: SqlLedger, ledger_url: str) -> None:
    assert await results_of(ledger, asked(), asked()) == ["new", "repeat_unfinished"]
    assert len(snapshot(ledger_url)["questions"]) == 1


async def test_an_empty_batch_is_accepted(ledger: SqlLedger) -> None:
    assert await results_of(ledger) == []


async def test_arrival_numbers_follow_the_order_of_the_batch(ledger: SqlLedger, ledger_url: str) -> None:
    # Neither the hash of the event nor that of the contact may decide the order.
    events = [asked(f"evt-{(i * 37) % 50}", f"EXT_{(i * 11) % 7}") for i in range(50)]
    await ledger.accept(events[:20])
    await ledger.accept(events[20:])
    numbered = sql(ledger_url, "select event_id from questions order by number")
    assert [row["event_id"] for row in numbered] == [event.event_id for event in events]


async def test_the_same_id_with_other_data_is_a_conflict_and_the_first_stays(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked(text="The first?")])
    before = snapshot(ledger_url)["questions"]
    for other in (
        asked(text="Another?"),
        asked(contact_id="EXT_2", text="The first?"),
        asked(thread_id="T-1", text="The first?"),
    ):
        assert await results_of(ledger, other) == ["conflict"]
    assert snapshot(ledger_url)["questions"] == before


async def test_a_conflict_within_one_batch_goes_to_the_later_event(ledger: SqlLedger) -> None:
    assert await results_of(ledger, asked(text="One?"), asked(text="Two?"), asked(text="One?")) == [
        "new",
        "conflict",
        "repeat_unfinished",
    ]
    assert (await claim_one(ledger)).question.text == "One?"


async def test_the_same_id_from_another_source_is_another_event(ledger: SqlLedger) -> None:
    assert await results_of(ledger, asked(), asked(source="crm/other")) == ["new", "new"]


async def test_other_metadata_does_not_make_a_conflict(ledger: SqlLedger) -> None:
    assert await results_of(ledger, asked(), asked(metadata={"again": True})) == ["new", "repeat_unfinished"]


async def test_a_thread_is_a_conversation_of_its_own(ledger: SqlLedger) -> None:
    await ledger.accept([asked("a"), asked("b", thread_id="T-1"), asked("c", thread_id=""), asked("d")])
    claims = await ledger.claim(10)
    assert sorted(claim.question.event_id for claim in claims.turns) == ["a", "b", "c"]


async def test_every_field_of_the_event_reaches_the_turn(ledger: SqlLedger) -> None:
    question = asked(
        thread_id="T-9",
        text="¿Qué? \U0001f600\n\u05e9\u05dc\u05d5\u05dd " + "x" * 20_000,
        lang="es",
        metadata={"ticket": ["T-9", 1.5, None, {"deep": True}]},
        asked_at="2026-11-20T20:00:00Z",
        expires_at=1_800_000_000.123456,
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        tracestate="vendor=1",
        is_redelivered=True,
    )
    await ledger.accept([question])
    claim = await claim_one(ledger)
    for name in (
        *("source", "event_id", "reply_id", "text", "lang", "metadata", "asked_at", "expires_at"),
        *("traceparent", "tracestate", "is_redelivered"),
    ):
        assert getattr(claim.question, name) == getattr(question, name), name
    assert (claim.conversation.contact_id, claim.conversation.thread_id) == ("EXT_1", "T-9")


async def test_nul_in_question_and_metadata_is_kept(ledger: SqlLedger) -> None:
    metadata = {"no\0te": "a\0b"}
    assert await results_of(ledger, asked(text="Is\0it?", metadata=metadata)) == ["new"]
    claim = await claim_one(ledger)
    assert (claim.question.text, claim.question.metadata) == ("Is\0it?", metadata)


async def test_a_contact_id_over_the_limit_is_kept_beside_its_hash(ledger: SqlLedger) -> None:
    await ledger.accept([asked(contact_id="x" * 129)])
    conversation = (await claim_one(ledger)).conversation
    assert conversation.contact_id == "x" * 129
    assert conversation.external_id.startswith("sha256:")
    assert len(conversation.external_id) == len("sha256:") + 64


@pytest.mark.parametrize("size", [1, 2, 7, 16])
async def test_an_event_that_the_database_refuses_is_found_and_the_others_are_taken(
    ledger: SqlLedger, ledger_url: str, size: int
) -> None:
    # No number of JSON: what no parameter can carry.
    bad = size // 2
    batch = [asked(f"evt-{i}", expires_at=math.nan if i == bad else None) for i in range(size)]
    assert await results_of(ledger, *batch) == ["refused" if i == bad else "new" for i in range(size)]
    kept = sql(ledger_url, "select event_id from questions order by number")
    assert [row["event_id"] for row in kept] == [f"evt-{i}" for i in range(size) if i != bad]


async def test_what_only_postgresql_refuses_does_not_stop_the_batch(
    ledger: SqlLedger, ledger_url: str
) -> None:
    # NUL in a source: intake refuses it before; here it stands for whatever one database cannot store.
    batch = [asked("a"), asked("b", source="crm\0"), asked("c")]
    is_refused = ledger_url.startswith("postgresql")
    assert await results_of(ledger, *batch) == ["new", "refused" if is_refused else "new", "new"]


@contextmanager
def broken(url: str) -> Iterator[None]:
    """Take a table away for a while."""
    sql(url, "alter table questions rename to elsewhere")
    try:
        yield
    finally:
        sql(url, "alter table elsewhere rename to questions")


async def test_a_broken_table_is_no_fault_of_the_events(ledger: SqlLedger, ledger_url: str) -> None:
    # To call them refused would empty the queue into the rejected one.
    with broken(ledger_url), pytest.raises(sa.exc.DBAPIError):
        await ledger.accept([asked("a"), asked("b")])
    assert await results_of(ledger, asked("a"), asked("b")) == ["new", "new"]


async def published(ledger: SqlLedger) -> None:
    """Accept a question, answer it and mark its reply as published."""
    claim = await in_session(ledger, asked())
    reply = await answer(ledger, claim, 1)
    assert reply
    await ledger.mark_published([reply.number])


async def due_replies(ledger: SqlLedger) -> list[str]:
    replies, _ = await ledger.take_replies(10)
    return [entry.reply.event_id for entry in replies]


async def test_a_repeat_of_a_finished_question_makes_its_stored_reply_due(ledger: SqlLedger) -> None:
    await published(ledger)
    assert await due_replies(ledger) == []
    assert await results_of(ledger, asked()) == ["repeat_finished"]
    replies, _ = await ledger.take_replies(10)
    assert [(entry.reply.event_id, json.loads(entry.reply.body)) for entry in replies] == [
        ("reply-evt-1", {"to": "evt-1"})
    ]
    assert not (await ledger.claim(1)).turns


async def test_repeats_within_a_minute_become_one(ledger: SqlLedger, ledger_url: str) -> None:
    await published(ledger)
    for _ in range(3):
        await ledger.accept([asked(), asked()])
    replies, _ = await ledger.take_replies(10)
    assert len(replies) == 1
    await ledger.mark_published([replies[0].number])
    let_pass(ledger_url, 50)
    await ledger.accept([asked()])
    assert await due_replies(ledger) == []
    let_pass(ledger_url, 11)
    await ledger.accept([asked()])
    assert await due_replies(ledger) == ["reply-evt-1"]


async def test_a_repeat_does_not_hurry_a_reply_that_waits(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    await answer(ledger, claim, 1)  # this process owns it now and is about to publish it
    assert await results_of(ledger, asked()) == ["repeat_finished"]
    assert await due_replies(ledger) == []


async def test_a_conflict_with_a_finished_question_publishes_nothing(ledger: SqlLedger) -> None:
    await published(ledger)
    assert await results_of(ledger, asked(text="Something else?")) == ["conflict"]
    assert await due_replies(ledger) == []


async def test_a_repeat_of_a_failed_question_makes_its_reply_due_and_asks_nothing(ledger: SqlLedger) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ensured(ledger, claim)
    await end(ledger, claim, Failed("expired"))
    assert await results_of(ledger, asked()) == ["repeat_finished"]
    assert not (await ledger.claim(1)).turns


async def test_an_erased_event_is_recognised(ledger: SqlLedger, ledger_url: str) -> None:
    await published(ledger)
    let_pass(ledger_url, 31 * 86_400)
    assert (await ledger.sweep()).erased == 1
    assert snapshot(ledger_url)["questions"] == []
    assert await results_of(ledger, asked(), asked("evt-2")) == ["erased", "new"]
    assert await due_replies(ledger) == []
    assert (await claim_one(ledger)).question.event_id == "evt-2"


async def test_a_statement_error_names_no_content(ledger: SqlLedger, ledger_url: str) -> None:
    # What SQLAlchemy shows of parameters must not hold the question: errors end up in logs.
    with broken(ledger_url), pytest.raises(sa.exc.SQLAlchemyError) as raised:
        await ledger.accept([asked(text="CANARY?", contact_id="CANARY")])
    assert "CANARY" not in str(raised.value)
