"""A turn on fakes: the rules, the conversation and the question that the core's tests begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.fakes import SESSION, FakeAssistant, FakeClock, FakeLedger, Highest, Points
from worker.core.model import (
    Claim,
    Conversation,
    Intent,
    Lease,
    OutboxReply,
    Question,
    RemoteConversation,
    Reply,
    Verdict,
)
from worker.core.turn import finish, take_turn
from worker.core.world import Rules, Turn, World

PROJECT = 123
CONTACT = "EXT_1"
TEXT = "What are your support hours?"
LEASE = Lease(conversation=7, token=3)

RULES = Rules(
    lease_s=30.0,
    send_grace_s=2.0,
    request_timeout_s=120.0,
    settle_s=300.0,
    list_lag_s=30.0,
    max_attempts=12,
    on_unknown="repost",
)
#: s. A listing begun so long after the intent proves what it lacks: G + U + T_srv.
SETTLED_S = RULES.send_grace_s + RULES.user_timeout_s + RULES.settle_s
#: s. The same after the API said that its work has ended (A6): G + U + V.
ENDED_S = RULES.send_grace_s + RULES.user_timeout_s + RULES.list_lag_s
#: s. The same for a conversation that was to be created: G + H + V.
CREATED_S = RULES.send_grace_s + RULES.request_timeout_s + RULES.list_lag_s

CONVERSATION = Conversation(
    number=LEASE.conversation,
    route="default",
    contact_id=CONTACT,
    thread_id=None,
    external_id=CONTACT,
    project_id=PROJECT,
    session_id=SESSION,
    conversation_id=42,
    highest_message_id=0,
    create_intent_at=None,
)
NEW = replace(CONVERSATION, project_id=None, session_id=None, conversation_id=None)

QUESTION = Question(
    number=11,
    source="crm/test",
    event_id="evt-1",
    reply_id="reply-1",
    text=TEXT,
    lang="en",
    metadata={"ticket": "T-9"},
    asked_at="2026-11-20T20:00:00Z",
    received_at=900.0,
    expires_at=None,
    traceparent=None,
    tracestate=None,
    attempts=0,
    posts=0,
    is_redelivered=False,
    intent=None,
)


@dataclass
class Bench:
    """The fakes of one turn. ``clock`` is at 1000 s; so is the ledger's, unless a test says otherwise."""

    clock: FakeClock = field(default_factory=FakeClock)
    assistant: FakeAssistant = field(default_factory=FakeAssistant)
    points: Points = field(default_factory=Points)
    rules: Rules = RULES
    project_of: Callable[[str], int | None] = lambda _: PROJECT
    published: list[OutboxReply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.clock)

    @property
    def world(self) -> World:
        """The ports of a turn."""
        return World(
            ledger=self.ledger,
            assistant=self.assistant,
            clock=self.clock,
            randomness=Highest(),
            points=self.points,
            rules=self.rules,
            project_of=self.project_of,
            publish=self.published.append,
        )

    def turn(
        self,
        conversation: Conversation = CONVERSATION,
        probes: str | None = None,
        *,
        begun_ago_s: float | None = None,
        **asked: Any,
    ) -> Turn:
        """Return a turn that was claimed just now; keywords are fields of the question.

        ``begun_ago_s`` has the intent recorded with the claim, which was asked for so many seconds ago.
        """
        self.ledger.highest_message_id = conversation.highest_message_id
        if conversation.session_id is not None:
            self.exists(conversation.session_id)
        claim = Claim(LEASE, conversation, replace(QUESTION, **asked), self.ledger.now(), probes=probes)
        if begun_ago_s is None:
            return Turn(claim, self.world, self.clock.boottime())
        begun = Intent(self.ledger.now(), SESSION, conversation.highest_message_id)
        now = self.clock.boottime()
        return Turn(replace(claim, begun=begun), self.world, now, claim_begun_at=now - begun_ago_s)

    def exists(self, session_id: str, number: int = 42, name: str = "crm:old") -> None:
        """Have the API know a conversation."""
        self.assistant.conversations.append(RemoteConversation(number, session_id, name))

    async def taken(self, conversation: Conversation = CONVERSATION, **asked: Any) -> Verdict:
        """Take a turn and return its verdict, which is not recorded yet."""
        return await take_turn(self.turn(conversation, **asked))

    async def finished(self, conversation: Conversation = CONVERSATION, **asked: Any) -> Verdict:
        """Take a turn, record the verdict and return what was recorded."""
        turn = self.turn(conversation, **asked)
        return await finish(turn, await take_turn(turn))

    @property
    def reply(self) -> Reply:
        """The one reply that was recorded."""
        (recorded,) = [arguments[3] for arguments in self.ledger.called("finish") if arguments[3]]
        assert isinstance(recorded, Reply)
        return recorded

    @property
    def reply_data(self) -> dict[str, Any]:
        """What the reply says."""
        data: dict[str, Any] = json.loads(self.reply.body)["data"]
        return data


def in_flight(age_s: float, **fields_: Any) -> dict[str, Any]:
    """Return the fields of a question whose post was begun so long ago, outcome unknown."""
    return {"intent": replace(Intent(1_000.0 - age_s, SESSION, 0), **fields_), "posts": 1}
