"""Healing on fakes: which conversations are deleted, and which second posts are reported."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.unit.core_cases import CONTACT, CONVERSATION, LEASE, NEW, PROJECT, TEXT
from tests.unit.fakes import SESSION, FakeAssistant, FakeClock, FakeLedger, Log, Points
from worker.core.conversations import name_of
from worker.core.errors import (
    AssistantError,
    ConversationGone,
    CreditsExhausted,
    GateClosed,
    LeaseLost,
    OutcomeUnknown,
    Throttled,
    Unreachable,
)
from worker.core.healing import AGAIN_S, FRESH_S, LOOKS, Healer
from worker.core.model import Conversation, GateNews, MessageListing, RemoteConversation, SecondLook
from worker.core.policy import CREDITS_PROBE_S
from worker.core.ports import RecoveryPoint

NAME = name_of(PROJECT, CONVERSATION)
LOOK = SecondLook(
    question=11,
    source="crm/test",
    event_id="evt-1",
    text=TEXT,
    project_id=PROJECT,
    session_id=SESSION,
    external_id=CONTACT,
    baseline_message_id=4,
    message_id=9,
)


@dataclass
class Ward:
    """A healer, and the API and the ledger it works on."""

    assistant: FakeAssistant = field(default_factory=FakeAssistant)
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: FakeLedger = field(default_factory=lambda: FakeLedger(FakeClock()))
    log: Log = field(default_factory=Log)
    points: Points = field(default_factory=Points)

    def listed(self, session_id: str, name: str = NAME, *, is_deleted: bool = False) -> None:
        """Have the API list one more conversation."""
        number = len(self.assistant.conversations) + 42
        self.assistant.conversations.append(RemoteConversation(number, session_id, name, is_deleted))

    async def heals(self, conversation: Conversation = CONVERSATION) -> bool:
        """Make this conversation due and heal it."""
        self.ledger.script("take_healing", (LEASE, conversation))
        return await self.healer.heal_one()

    async def looks(self, *looks: SecondLook) -> None:
        """Make these looks due and take them."""
        self.ledger.script("take_second_looks", list(looks))
        await self.healer.look_again()

    @property
    def healer(self) -> Healer:
        return Healer(self.ledger, self.assistant, self.clock, self.log, self.points)

    @property
    def deleted(self) -> list[str]:
        """The sessions that the healer had deleted."""
        return [session_id for _, session_id in self.assistant.called("delete_conversation")]

    @property
    def recorded(self) -> list[tuple[Any, ...]]:
        """What became of each look: its question and the message that was found."""
        return self.ledger.called("record_second_look")


@pytest.fixture
def ward() -> Ward:
    ward = Ward()
    ward.listed(SESSION)
    return ward


async def test_healer_with_nothing_due_asks_nobody_anything(ward: Ward) -> None:
    assert not await ward.healer.heal_one()
    assert ward.assistant.calls == []
    assert ward.points.seen == []


async def test_empty_extra_is_deleted_and_told(ward: Ward) -> None:
    ward.listed("extra-1")
    ward.listed("extra-2")
    assert await ward.heals()
    assert ward.deleted == ["extra-1", "extra-2"]
    assert [line["session_id"] for line in ward.log.of("conversation.healed")] == ["extra-1", "extra-2"]
    assert ward.ledger.called("finish_healing") == [(LEASE, None)]
    assert ward.points.seen == [
        RecoveryPoint.HEALING_TAKEN,
        RecoveryPoint.EXTRA_DELETED,
        RecoveryPoint.EXTRA_DELETED,
    ]


async def test_extra_with_messages_is_left_alone(ward: Ward) -> None:
    ward.listed("extra")
    ward.assistant.store("extra", "Somebody talks in here", CONTACT)
    await ward.heals()
    assert ward.deleted == []
    assert ward.ledger.called("finish_healing") == [(LEASE, None)]


@pytest.mark.parametrize(("took_s", "is_deleted"), [(FRESH_S, True), (FRESH_S + 0.1, False)])
async def test_extra_is_deleted_only_on_what_was_seen_of_it_just_now(
    ward: Ward, took_s: float, is_deleted: bool
) -> None:
    ward.listed("extra")
    ward.listed("extra that is looked at in time")

    def slow(*_: Any) -> MessageListing:
        ward.clock.now += took_s
        return MessageListing(())

    ward.assistant.script("list_messages", slow)
    await ward.heals()
    assert ("extra" in ward.deleted) is is_deleted
    assert "extra that is looked at in time" in ward.deleted
    assert ward.ledger.called("finish_healing") == [(LEASE, None if is_deleted else AGAIN_S)]


async def test_saved_conversation_is_never_deleted_though_it_is_empty(ward: Ward) -> None:
    await ward.heals()
    assert ward.deleted == []


@pytest.mark.parametrize("name", ["crm:EXT_1", f"{NAME} (copy)", NAME[:-1] + "!"])
async def test_conversation_whose_name_does_not_end_in_the_tag_is_not_ours(ward: Ward, name: str) -> None:
    ward.assistant.script("find_conversations", [RemoteConversation(43, "other", name)])
    await ward.heals()
    assert ward.deleted == []


async def test_extra_that_is_on_its_way_out_is_not_deleted_again(ward: Ward) -> None:
    ward.listed("listed-as-deleted", is_deleted=True)
    ward.listed("gone")
    ward.assistant.script("list_messages", ConversationGone())
    await ward.heals()
    assert ward.deleted == []
    assert ward.ledger.called("finish_healing") == [(LEASE, None)]


@pytest.mark.parametrize("conversation", [NEW, replace(CONVERSATION, session_id=None)])
async def test_nothing_is_deleted_while_no_session_is_saved(ward: Ward, conversation: Conversation) -> None:
    ward.listed("extra")
    await ward.heals(conversation)
    assert ward.assistant.calls == []
    assert ward.ledger.called("finish_healing") == [(LEASE, None)]


@pytest.mark.parametrize("call", ["find_conversations", "list_messages", "delete_conversation"])
@pytest.mark.parametrize("error", [Unreachable(), OutcomeUnknown()])
async def test_api_that_fails_is_asked_again_later(ward: Ward, call: str, error: Exception) -> None:
    ward.listed("extra")
    ward.assistant.script(call, error)
    assert await ward.heals()
    assert ward.ledger.called("finish_healing") == [(LEASE, AGAIN_S)]
    assert ward.log.of("conversation.healed") == []


async def test_closed_gate_puts_the_healing_off_and_nothing_is_sent(ward: Ward) -> None:
    ward.listed("extra")
    ward.ledger.script("admit_read", GateClosed(reason="breaker", retry_in_s=5.0))
    assert await ward.heals()
    assert ward.assistant.calls == []
    assert ward.ledger.called("finish_healing") == [(LEASE, 5.0)]
    assert ward.ledger.names()[-1] == "end_healing"


@pytest.mark.parametrize(
    ("reason", "retry_in_s", "again_in_s"), [("pace", 50.0, 4.0), ("throttled", 900.0, AGAIN_S)]
)
async def test_healing_asks_again_while_the_gate_holds_a_place_back(
    ward: Ward, reason: str, retry_in_s: float, again_in_s: float
) -> None:
    ward.listed("extra")
    ward.ledger.script("admit_read", GateClosed(reason=reason, retry_in_s=retry_in_s))
    assert await ward.heals()
    assert ward.ledger.called("finish_healing") == [(LEASE, again_in_s)]


async def test_healer_that_lost_its_lease_deletes_nothing(ward: Ward) -> None:
    # It slept for long after it looked: another turn may have adopted the extra meanwhile.
    ward.listed("extra")
    ward.ledger.script("renew", {LEASE})
    assert await ward.heals()
    assert ward.deleted == []
    assert ward.ledger.called("finish_healing") == []


async def test_every_deletion_proves_the_lease_first(ward: Ward) -> None:
    ward.listed("extra-1")
    ward.listed("extra-2")
    ward.ledger.script("renew", set(), {LEASE})
    await ward.heals()
    assert ward.deleted == ["extra-1"]


async def test_lease_that_is_lost_at_the_end_is_no_error(ward: Ward) -> None:
    ward.ledger.script("finish_healing", LeaseLost())
    assert await ward.heals()


async def test_healing_that_is_cut_off_gives_its_lease_back(ward: Ward) -> None:
    ward.assistant.script("find_conversations", asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await ward.heals()
    assert ward.ledger.called("finish_healing") == [(LEASE, AGAIN_S)]
    assert ward.ledger.names()[-1] == "end_healing"


async def test_every_call_of_a_healing_counts_against_the_pace(ward: Ward) -> None:
    ward.listed("extra")
    await ward.heals()
    assert ward.ledger.called("admit_read") == [(LEASE, "healing")] * len(ward.assistant.calls)
    assert [name for name, _ in ward.assistant.calls] == [
        "find_conversations",
        "list_messages",
        "delete_conversation",
    ]


async def test_second_look_that_finds_the_first_post_reports_it(ward: Ward) -> None:
    for number in (9, 5, 7):
        ward.assistant.store(SESSION, TEXT, CONTACT, message_id=number)
    await ward.looks(LOOK)
    assert ward.recorded == [(LOOK.question, 5)]
    assert ward.log.of("duplicate_post.found") == [
        {
            "question_id": LOOK.event_id,
            "event_source": LOOK.source,
            "project_id": PROJECT,
            "session_id": SESSION,
            "message_id": 5,
        }
    ]
    assert ward.points.seen == [RecoveryPoint.SECOND_LOOKS_TAKEN]


@pytest.mark.parametrize(
    "other",
    [
        {"message_id": LOOK.baseline_message_id},
        {"external_id": "EXT_2"},
        {"external_id": None},
        {"text": "Another question?"},
    ],
)
async def test_message_that_is_another_is_no_second_post(ward: Ward, other: dict[str, Any]) -> None:
    stored = {"session_id": SESSION, "text": TEXT, "external_id": CONTACT, "message_id": 7, **other}
    ward.assistant.store(SESSION, TEXT, CONTACT, message_id=LOOK.message_id)
    ward.assistant.store(**stored)
    await ward.looks(LOOK)
    assert ward.recorded == [(LOOK.question, None)]
    assert ward.log.lines == []


async def test_message_that_answers_another_question_is_no_second_post(ward: Ward) -> None:
    # The contact asked the same thing twice.
    ward.assistant.store(SESSION, TEXT, CONTACT, message_id=7)
    ward.ledger.claimed_messages.add(7)
    await ward.looks(LOOK)
    assert ward.recorded == [(LOOK.question, None)]


async def test_message_that_may_be_a_question_on_its_way_is_looked_at_later(ward: Ward) -> None:
    # The contact asks the same thing again: posted, and not recorded yet.
    ward.assistant.store(SESSION, TEXT, CONTACT, message_id=11)
    ward.ledger.script("has_outstanding_post", True)
    await ward.looks(LOOK)
    assert ward.recorded == []
    assert ward.log.lines == []
    assert ward.ledger.called("put_off_second_look") == [(LOOK.question, AGAIN_S)]


async def test_question_that_ends_during_a_look_has_claimed_its_message(ward: Ward) -> None:
    ward.assistant.store(SESSION, TEXT, CONTACT, message_id=11)

    def ends(*_: Any) -> bool:
        ward.ledger.claimed_messages.add(11)
        return False

    ward.ledger.script("has_outstanding_post", ends)
    await ward.looks(LOOK)
    assert ward.recorded == [(LOOK.question, None)]


async def test_conversation_that_goes_on_does_not_put_off_a_look_without_a_match(ward: Ward) -> None:
    ward.ledger.script("has_outstanding_post", True)
    await ward.looks(LOOK)
    assert ward.recorded == [(LOOK.question, None)]


async def test_second_post_is_known_by_its_text_evened_out(ward: Ward) -> None:
    ward.assistant.store(SESSION, f"  {TEXT.replace(' ', '  ')}\n", CONTACT, message_id=7)
    await ward.looks(LOOK)
    assert ward.recorded == [(LOOK.question, 7)]


@pytest.mark.parametrize("error", [Unreachable(), OutcomeUnknown(), ConversationGone()])
async def test_look_that_failed_stays_due_and_the_next_one_goes_on(ward: Ward, error: Exception) -> None:
    ward.assistant.script("list_messages", error)
    await ward.looks(LOOK, replace(LOOK, question=12))
    assert ward.recorded == [(12, None)]


async def test_closed_gate_leaves_a_look_due(ward: Ward) -> None:
    ward.ledger.script("admit_read", GateClosed(reason="breaker", retry_in_s=5.0))
    await ward.looks(LOOK)
    assert ward.recorded == []
    assert ward.assistant.calls == []
    assert ward.ledger.called("put_off_second_look") == [(LOOK.question, 5.0)]
    assert ward.ledger.names()[-1] == "end_healing"


async def test_looks_are_taken_a_few_at_a_time(ward: Ward) -> None:
    await ward.looks()
    assert ward.ledger.called("take_second_looks") == [(LOOKS,)]
    assert ward.points.seen == []


@pytest.mark.parametrize(
    ("error", "news"),
    [
        (Throttled(pause_s=30.0), GateNews("pause", "throttled", 30.0)),
        (CreditsExhausted(), GateNews("pause", "credits_exhausted", CREDITS_PROBE_S)),
    ],
)
async def test_what_holds_up_the_fleet_is_told_the_gate(
    ward: Ward, error: AssistantError, news: GateNews
) -> None:
    ward.assistant.script("find_conversations", error)
    await ward.heals()
    ward.assistant.script("list_messages", error)
    await ward.looks(LOOK)
    assert ward.ledger.called("report") == [(news, None)] * 2
