"""Exactly one conversation per contact: looked up or created, and nothing else touched (PROTOCOL 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.unit.core_cases import CONTACT, CREATED_S, LEASE, NEW, PROJECT, RULES, SESSION, TEXT, Bench
from worker.core.conversations import name_of, tag_of
from worker.core.errors import (
    ConversationGone,
    CredentialsRejected,
    GateClosed,
    LeaseLost,
    OutcomeUnknown,
    ProjectNotFound,
    Throttled,
    Unreachable,
)
from worker.core.model import (
    Answered,
    Failed,
    Halt,
    Intent,
    RemoteConversation,
    Retry,
    Snooze,
    external_id_of,
)

NAME = name_of(PROJECT, NEW)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_new_contact_gets_one_conversation_named_by_its_tag(bench: Bench) -> None:
    verdict = await bench.finished(NEW)
    assert isinstance(verdict, Answered)
    assert [remote.name for remote in bench.assistant.conversations] == [NAME]
    assert bench.ledger.called("begin_create") == [(LEASE, PROJECT)]
    assert bench.ledger.called("save_session") == [(LEASE, "session-1", 1, 0, False, PROJECT)]
    assert bench.reply_data["project_id"] == PROJECT


async def test_a_conversation_that_began_in_a_project_stays_there(bench: Bench) -> None:
    await bench.taken(replace(NEW, project_id=99))
    assert bench.ledger.called("begin_create") == [(LEASE, 99)]
    assert bench.assistant.called("create_conversation")[0][:2] == (99, name_of(99, NEW))


async def test_a_project_that_is_not_there_is_not_kept(bench: Bench) -> None:
    # The setting can be mended while the question waits.
    bench.assistant.script("find_conversations", ConversationGone())
    await bench.taken(NEW)
    assert not {"begin_create", "save_session"} & set(bench.ledger.names())


async def test_a_route_without_a_project_waits_for_the_settings() -> None:
    bench = Bench(project_of=lambda _: None)
    verdict = await bench.taken(NEW)
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.after_s) == ("settings", 60.0)
    assert bench.assistant.names() == []


async def test_a_saved_session_is_used_without_asking(bench: Bench) -> None:
    await bench.taken()
    assert bench.assistant.names() == ["post_question", "canned_texts"]


async def test_a_conversation_that_is_listed_is_adopted_with_its_highest_message_id(bench: Bench) -> None:
    bench.exists("session-7", 7, NAME)
    for number in (3, 8, 5):
        bench.assistant.store("session-7", "Old?", "anybody", message_id=number)
    bench.assistant.script(
        "post_question", lambda *_: bench.assistant.store("session-7", TEXT, CONTACT, message_id=9)
    )
    assert isinstance(await bench.taken(NEW), Answered)
    assert bench.ledger.called("save_session")[0][:4] == (LEASE, "session-7", 7, 8)
    assert not bench.assistant.called("create_conversation")


async def test_of_several_the_lowest_number_is_adopted(bench: Bench) -> None:
    for session, number in (("session-9", 9), ("session-4", 4), ("session-6", 6)):
        bench.exists(session, number, NAME)
    await bench.taken(NEW)
    assert bench.ledger.called("save_session")[0][1] == "session-4"


async def test_one_without_a_number_is_adopted_last(bench: Bench) -> None:
    bench.assistant.conversations.append(RemoteConversation(None, "session-x", NAME))
    bench.exists("session-9", 9, NAME)
    await bench.taken(NEW)
    assert bench.ledger.called("save_session")[0][1] == "session-9"


OTHERS = {
    "deleted": RemoteConversation(1, "other", NAME, is_deleted=True),
    "with the tag inside its name": RemoteConversation(1, "other", f"{NAME} (copy)"),
    "of another thread": RemoteConversation(1, "other", name_of(PROJECT, replace(NEW, thread_id="T-1"))),
    "of another project": RemoteConversation(1, "other", name_of(99, NEW)),
    "with the contact's name only": RemoteConversation(1, "other", f"crm:{CONTACT}"),
}


@pytest.mark.parametrize("why", OTHERS)
async def test_a_conversation_that_is_not_ours_is_never_adopted(bench: Bench, why: str) -> None:
    bench.assistant.script("find_conversations", [OTHERS[why]])
    await bench.taken(NEW)
    assert bench.ledger.called("save_session")[0][1] != "other"
    assert bench.assistant.called("create_conversation")


async def test_a_forgotten_session_is_never_adopted_again(bench: Bench) -> None:
    bench.exists("session-7", 7, NAME)
    await bench.taken(replace(NEW, forgotten_session_ids=("session-7",)))
    assert bench.ledger.called("save_session")[0][1] != "session-7"


async def test_one_that_is_listed_but_gone_is_passed_over(bench: Bench) -> None:
    bench.exists("session-4", 4, NAME)
    bench.exists("session-6", 6, NAME)
    bench.assistant.script("list_messages", ConversationGone())
    await bench.taken(NEW)
    assert bench.ledger.called("save_session")[0][1] == "session-6"


async def test_the_intent_to_create_is_committed_before_the_request(bench: Bench) -> None:
    order: list[str] = []
    bench.ledger.script("begin_create", lambda *_: order.append("intent"))
    bench.assistant.script(
        "create_conversation",
        lambda *_: order.append("create") or RemoteConversation(1, SESSION, NAME),
    )
    await bench.taken(NEW)
    assert order == ["intent", "create"]


async def test_nothing_is_created_when_the_grace_passed_during_the_commit(bench: Bench) -> None:
    def stopped(*_: Any) -> None:
        bench.clock.now += RULES.send_grace_s

    bench.ledger.script("begin_create", stopped)
    verdict = await bench.taken(NEW)
    assert isinstance(verdict, Snooze)
    assert not bench.assistant.called("create_conversation")
    assert bench.ledger.called("cancel_create")


@pytest.mark.parametrize("error", [Unreachable(), Throttled(pause_s=3), CredentialsRejected()])
async def test_a_definite_failure_clears_the_intent_to_create(bench: Bench, error: Exception) -> None:
    bench.assistant.script("create_conversation", error)
    await bench.taken(NEW)
    assert bench.ledger.called("cancel_create") == [(LEASE,)]
    assert not bench.ledger.called("save_session")


async def test_an_unknown_creation_keeps_its_intent_and_looks_soon(bench: Bench) -> None:
    bench.assistant.script("create_conversation", OutcomeUnknown())
    verdict = await bench.taken(NEW)
    assert isinstance(verdict, Snooze)
    assert (verdict.after_s, verdict.keeps_intent) == (1.0, False)
    assert not bench.ledger.called("cancel_create")
    assert bench.assistant.posts == 0


@pytest.mark.parametrize("age_s", [0.0, 50.0, CREATED_S - 0.1])
async def test_a_pending_creation_is_waited_for(bench: Bench, age_s: float) -> None:
    verdict = await bench.taken(replace(NEW, create_intent_at=1_000.0 - age_s))
    assert isinstance(verdict, Snooze)
    assert verdict.code == "creation_pending"
    assert 0 < verdict.after_s <= 5.0
    assert not bench.assistant.called("create_conversation")


async def test_a_pending_creation_that_is_listed_ends_the_wait_at_once(bench: Bench) -> None:
    bench.exists("session-7", 7, NAME)
    assert isinstance(await bench.taken(replace(NEW, create_intent_at=999.0)), Answered)
    assert not bench.assistant.called("create_conversation")


async def test_a_creation_that_never_showed_up_is_made_again(bench: Bench) -> None:
    assert isinstance(await bench.taken(replace(NEW, create_intent_at=1_000.0 - CREATED_S)), Answered)
    assert len(bench.assistant.conversations) == 1


async def test_a_listing_begun_before_the_wait_is_over_proves_no_absence(bench: Bench) -> None:
    def slow(*_: Any) -> list[RemoteConversation]:
        bench.clock.now += 60.0
        return []

    bench.assistant.script("find_conversations", slow)
    verdict = await bench.taken(replace(NEW, create_intent_at=1_000.0 - CREATED_S + 1.0))
    assert isinstance(verdict, Snooze)
    assert not bench.assistant.called("create_conversation")


async def test_a_save_that_is_refused_touches_nothing(bench: Bench) -> None:
    # Whoever holds the lease now may have adopted what was just created.
    bench.ledger.script("save_session", LeaseLost())
    with pytest.raises(LeaseLost):
        await bench.finished(NEW)
    assert not bench.assistant.called("delete_conversation")
    assert bench.assistant.posts == 0
    assert bench.ledger.names()[-1] == "save_session"


async def test_a_gate_that_is_closed_creates_nothing(bench: Bench) -> None:
    bench.ledger.script("begin_create", GateClosed("throttled", retry_in_s=30.0))
    verdict = await bench.taken(NEW)
    assert isinstance(verdict, Snooze)
    assert verdict.after_s == 30.0
    assert not bench.assistant.called("create_conversation")


async def test_a_session_that_the_project_still_lists_is_tried_again_later(bench: Bench) -> None:
    bench.assistant.script("post_question", ConversationGone())
    verdict = await bench.taken()
    assert isinstance(verdict, Retry)
    assert not bench.ledger.called("forget_session")


@pytest.mark.parametrize("error", [ProjectNotFound(), ConversationGone()])
async def test_a_project_that_is_gone_halts(bench: Bench, error: Exception) -> None:
    bench.assistant.script("post_question", ConversationGone())
    bench.assistant.script("find_conversations", error)
    bench.assistant.script("check_project", ProjectNotFound())
    assert await bench.taken() == Halt("project_not_found", 60.0)
    assert not bench.ledger.called("forget_session")


async def test_a_renewed_conversation_never_adopts_the_one_that_is_gone(bench: Bench) -> None:
    turn_conversation = replace(NEW, project_id=PROJECT, session_id=SESSION, highest_message_id=50)
    gone = RemoteConversation(1, SESSION, NAME)
    bench.assistant.script("find_conversations", [gone], [gone])
    bench.assistant.script("post_question", ConversationGone())
    bench.assistant.script("list_messages", ConversationGone())
    bench.assistant.conversations.append(gone)
    bench.assistant.script("begin_post", Intent(1_000.0, "session-3", 0))
    await bench.taken(turn_conversation)
    (saved,) = bench.ledger.called("save_session")
    assert saved[1] != SESSION
    assert saved[3] == 0, "the new conversation's messages begin anew"


async def test_a_creation_refused_again_and_again_beside_a_sound_project_fails(bench: Bench) -> None:
    bench.assistant.script("create_conversation", CredentialsRejected("create_conversation: 403"))
    verdict = await bench.taken(NEW, attempts=2)
    assert isinstance(verdict, Failed)
    assert verdict.code == "question_rejected"


async def test_a_refused_listing_beside_a_sound_project_is_tried_again(bench: Bench) -> None:
    bench.assistant.script("find_conversations", CredentialsRejected("find_conversations: 401"))
    assert isinstance(await bench.taken(NEW, attempts=2), Retry)


@given(st.text(min_size=1, max_size=200))
def test_a_contact_id_up_to_128_characters_is_its_own_tag_and_a_longer_one_its_hash(contact_id: str) -> None:
    contact_id = contact_id.encode("utf-8", "replace").decode()
    external_id = external_id_of(contact_id)
    assert len(external_id) <= 128
    assert (external_id == contact_id) is (len(contact_id) <= 128)


def test_two_spellings_are_two_contacts() -> None:
    spellings = ["EXT_1", "ext_1", " EXT_1", "EXT_1 ", "caf\u00e9", "cafe\u0301"]
    tags = {tag_of(PROJECT, replace(NEW, external_id=external_id_of(each))) for each in spellings}
    assert len(tags) == len(spellings)


def test_a_tag_tells_where_one_part_ends_and_the_next_begins() -> None:
    pairs = [("a", "bc"), ("ab", "c"), ("abc", ""), ("abc", None), ("1:a", "2:bc")]
    tags = {tag_of(PROJECT, replace(NEW, external_id=a, thread_id=b)) for a, b in pairs}
    assert len(tags) == len(pairs)


def test_a_name_fits_the_api_and_ends_in_its_tag() -> None:
    longest = replace(NEW, external_id="x" * 128)
    name = name_of(PROJECT, longest)
    assert len(name) <= 255
    assert name.endswith(tag_of(PROJECT, longest))
    assert len(tag_of(PROJECT, longest)) == 32
