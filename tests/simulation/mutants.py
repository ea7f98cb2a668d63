"""The real code with one rule off each, to show that the simulation would find it missing.

A mutant replaces functions or SQL of the real modules while it is switched on, in this process only. Each
names the faults that bring it out; everything else stays as chance has it unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from tests.simulation.simulation import Scenario
from worker.adapters.ledger import outbox
from worker.adapters.ledger.claims import ClaimStatements
from worker.adapters.ledger.leases import LeaseStatements
from worker.adapters.ledger.outbox import OutboxStatements
from worker.adapters.ledger.turns import TurnStatements
from worker.core import conversations, reconcile, turn as turns
from worker.core.errors import LeaseLost
from worker.core.healing import Healer
from worker.core.model import Intent, MessageListing, OutboxReply, RemoteMessage
from worker.core.ports import PublishResult
from worker.core.world import Rules, Turn
from worker.runtime.intake import Intake
from worker.runtime.relay import Relay
from worker.runtime.turns import Turns

#: Beyond every time that a run has.
FOR_EVER_S = 1e9

Patch = Callable[[ExitStack], None]


@dataclass(frozen=True)
class Mutant:
    """One rule off."""

    name: str
    #: Where PROTOCOL.md states the rule.
    rule: str
    patch: Patch
    #: The promises of which at least one has to break.
    breaks: frozenset[str]
    rates: Mapping[str, float] = field(default_factory=dict)
    is_only: bool = False
    broken_assumption: str | None = None

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Run the code without the rule."""
        with ExitStack() as stack:
            self.patch(stack)
            yield

    def scenario(self) -> Scenario:
        """Return the faults that bring it out."""
        return Scenario(rates=self.rates, is_only=self.is_only, broken_assumption=self.broken_assumption)


def _swap(owner: object, name: str, value: object) -> Patch:
    return lambda stack: stack.enter_context(patch.object(owner, name, value))


def _sql(owner: type, statement: str, *changes: tuple[str, str]) -> Patch:
    """Change a statement's text, whenever the class is made."""

    def apply(stack: ExitStack) -> None:
        begin = owner.__init__

        def changed(self: Any, dialect: Any) -> None:
            begin(self, dialect)
            text = getattr(self, statement).text
            for old, new in changes:
                if old not in text:
                    raise AssertionError(f"the mutant is out of date: {statement} does not say {old!r}")
                text = text.replace(old, new)
            setattr(self, statement, sa.text(text))

        stack.enter_context(patch.object(owner, "__init__", changed))

    return apply


def _all(*patches: Patch) -> Patch:
    return lambda stack: [apply(stack) for apply in patches] and None


async def _repost_at_once(turn: Turn, _intent: Intent) -> None:
    turn.is_repost = True


def _never_wait(_turn: Turn, _intent: Intent, *, trusts_end: bool = True) -> float:
    return float("-inf") if trusts_end else float("inf")


_settled_at = reconcile._settled_at


def _settled_by_now(turn: Turn, intent: Intent, *, trusts_end: bool = True) -> float:
    """Compare the end of the listing instead of its beginning."""
    is_settled = turn.ledger_time() >= _settled_at(turn, intent, trusts_end=trusts_end)
    return float("-inf") if is_settled else float("inf")


_save = conversations._save


async def _save_with_no_baseline(
    turn: Turn, session_id: str, conversation_id: int | None, _highest: int, **more: Any
) -> None:
    await _save(turn, session_id, conversation_id, 0, **more)


async def _save_or_delete(
    turn: Turn, session_id: str, conversation_id: int | None, highest: int, **more: Any
) -> None:
    try:
        await _save(turn, session_id, conversation_id, highest, **more)
    except LeaseLost:
        await turn.world.assistant.delete_conversation(turn.project_id, session_id)
        raise


async def _find_nothing(_turn: Turn) -> list[Any]:
    return []


_candidates = reconcile._candidates


async def _any_tag(turn: Turn, intent: Intent, listing: MessageListing) -> list[RemoteMessage]:
    """Take every message for one with the right tag."""
    tag = turn.conversation.external_id
    tagged = tuple(replace(message, external_id=tag) for message in listing.messages)
    return await _candidates(turn, intent, replace(listing, messages=tagged))


_begin_post = Turn.begin_post


async def _begin_with_late_grace(self: Turn, session_id: str) -> tuple[float, Intent]:
    begun_at, intent = await _begin_post(self, session_id)
    return begun_at + FOR_EVER_S, intent


async def _send_first(turn: Turn, session_id: str) -> Any:
    """Send, and record the intent when the answer is there."""
    message = await turn.timed(
        turn.world.assistant.post_question(
            turn.project_id,
            session_id,
            text=turn.question.text,
            external_id=turn.conversation.external_id,
            lang=None,
            traceparent=turn.question.traceparent,
            connect_within_s=turn.world.rules.send_grace_s,
        )
    )
    await turn.begin_post(session_id)
    return await turns.accept_answer(turn, message, session_id, "posted")


_take_batch = Intake.take_batch


async def _ack_first(self: Intake, deliveries: Any) -> None:
    self.bus.ack(deliveries)
    await _take_batch(self, deliveries)


async def _never_renew(self: Turns) -> None:
    await self.world.clock.sleep(FOR_EVER_S)


_reply_of = outbox.reply_of


def _renamed_reply(row: Any) -> OutboxReply:
    found = _reply_of(row)
    old = found.reply.event_id
    new = f"{old[:-1]}{'0' if old[-1] != '0' else '1'}"
    body = found.reply.body.replace(old.encode(), new.encode())
    return replace(found, reply=replace(found.reply, event_id=new, body=body))


_mark = Relay._mark


async def _mark_all(self: Relay, by_result: Mapping[PublishResult, list[OutboxReply]]) -> None:
    await _mark(
        self, {PublishResult.CONFIRMED: [entry for entries in by_result.values() for entry in entries]}
    )


def _blind_healer(stack: ExitStack) -> None:
    """Let the healer take every conversation for empty."""
    read: Callable[..., Awaitable[Any]] = Healer._read

    async def changed(self: Healer, lease: Any, call: Any) -> Any:
        result = await read(self, lease, call)
        if hasattr(result, "messages"):
            return type(result)((), result.conversation_id)
        return result

    stack.enter_context(patch.object(Healer, "_read", changed))


async def _heal_nothing(_self: Healer) -> bool:
    return False


_NO_TOKEN = _sql(
    LeaseStatements,
    "lock_leases",
    ("select c.number, c.lease_token", "select c.number, r.token as lease_token"),
    ("and c.lease_token = r.token and c.owner in (:owner, :healer)", ""),
)
_UNKNOWN = {"response_lost": 0.3, "error_after": 0.2, "slow": 0.2, "message_lag": 0.5}

MUTANTS = (
    Mutant(
        "unknown is retried without reading back",
        "6",
        _swap(turns, "read_back", _repost_at_once),
        frozenset({"double_post"}),
        _UNKNOWN,
    ),
    Mutant(
        "no wait until an unknown outcome has settled",
        "6",
        _swap(reconcile, "_settled_at", _never_wait),
        frozenset({"double_post"}),
        _UNKNOWN,
    ),
    Mutant(
        "the end of a listing decides, not its beginning",
        "6",
        _swap(reconcile, "_settled_at", _settled_by_now),
        frozenset({"double_post"}),
        {"response_lost": 0.7, "message_lag": 0.9, "slow": 0.4},
    ),
    Mutant(
        "the text is not compared",
        "6",
        _swap(reconcile, "evened_out", lambda _text: ""),
        frozenset({"wrong_answer"}),
        {"request_lost": 0.3, "response_lost": 0.3, "somebody_else": 25},
    ),
    Mutant(
        "the external_id is not compared",
        "6",
        _swap(reconcile, "_candidates", _any_tag),
        frozenset({"wrong_answer"}),
        {"request_lost": 0.3, "response_lost": 0.3, "somebody_else": 25},
    ),
    Mutant(
        "no baseline",
        "5.1",
        _sql(
            TurnStatements,
            "begin_post",
            ("baseline_message_id = c.highest_message_id", "baseline_message_id = 0"),
        ),
        frozenset({"wrong_answer"}),
        {"old_conversations": 1, "same_text": 0.9, "request_lost": 0.4},
    ),
    Mutant(
        "a baseline of 0 on adoption",
        "4.2",
        _swap(conversations, "_save", _save_with_no_baseline),
        frozenset({"wrong_answer"}),
        {"old_conversations": 1, "same_text": 0.9, "request_lost": 0.4},
    ),
    Mutant(
        "no lookup before a conversation is created",
        "4.2",
        _swap(conversations, "_listed", _find_nothing),
        frozenset({"second_conversation", "split_conversation"}),
    ),
    Mutant(
        "no wait for a conversation that may have been created",
        "4.3",
        _swap(conversations, "_pending_until", lambda _turn: None),
        frozenset({"second_conversation"}),
        {"list_lag": 0.8, "response_lost": 0.3, "crash_at_point": 0.1},
    ),
    Mutant(
        "a lost save deletes what it had created",
        "4.4",
        _swap(conversations, "_save", _save_or_delete),
        frozenset({"deleted_messages"}),
        {"pause at conversation_created": 0.4, "commit_failed": 0.3, "ledger_away": 6},
    ),
    Mutant(
        "the healer takes every conversation for empty",
        "4.5",
        _blind_healer,
        frozenset({"deleted_messages"}),
        {"old_conversations": 1},
        broken_assumption="A3",
    ),
    Mutant(
        "no healing",
        "4.5",
        _swap(Healer, "heal_one", _heal_nothing),
        frozenset({"extra_conversation"}),
        {"response_lost": 0.4, "crash_at_point": 0.1},
        broken_assumption="A3",
    ),
    Mutant(
        "no fencing token",
        "3.2",
        _NO_TOKEN,
        frozenset({"double_post"}),
        {"pause at session_saved": 0.5, "response_lost": 0.6, "message_lag": 0.9},
    ),
    Mutant(
        "no lease",
        "3.1",
        _all(
            _NO_TOKEN,
            _sql(
                ClaimStatements,
                "lease",
                ("lease_until = :until, due_at = :until", "lease_until = 0, due_at = :until - 6.0"),
            ),
        ),
        frozenset({"double_post", "posted_out_of_order", "wrong_answer"}),
        {"pause at session_saved": 0.5, "response_lost": 0.6, "message_lag": 0.9},
    ),
    Mutant(
        "leases are not renewed",
        "3.4",
        _swap(Turns, "renew_leases", _never_renew),
        frozenset({"needless_recovery"}),
        {"long_answer": 0.5},
        is_only=True,
    ),
    Mutant(
        "what is in flight does not come first",
        "3.3",
        _sql(
            ClaimStatements,
            "next_questions",
            ("order by q.state,", "order by q.state desc,"),
        ),
        frozenset({"lost", "posted_out_of_order", "replied_out_of_order", "stuck"}),
        {"request_lost": 0.4},
    ),
    Mutant(
        "the send grace is ignored",
        "5.2",
        _swap(Turn, "begin_post", _begin_with_late_grace),
        frozenset({"double_post"}),
        {"pause at post_intended": 0.3},
    ),
    Mutant(
        "a post that is known to be taken is made again",
        "5",
        _sql(TurnStatements, "accepted", ("is_accepted = true", "is_accepted = false")),
        frozenset({"accepted_posted_again"}),
        {"streamed": 1.0, "response_lost": 0.5},
        broken_assumption="A1",
    ),
    Mutant(
        "the intent is recorded after the send",
        "5.1",
        _all(_swap(Rules, "begins_posts_early", False), _swap(turns, "_post", _send_first)),
        frozenset({"double_post"}),
        {"response_lost": 0.3, "crash_at_point": 0.1},
    ),
    Mutant(
        "events are acked before they are written",
        "2.3",
        _swap(Intake, "take_batch", _ack_first),
        frozenset({"lost"}),
        {"crash_at_point": 0.15},
    ),
    Mutant(
        "a repeated reply gets a new id",
        "8",
        _swap(outbox, "reply_of", _renamed_reply),
        frozenset({"second_reply_id"}),
        {"confirm_lost": 0.3},
    ),
    Mutant(
        "a reply that was not confirmed counts as published",
        "8",
        _swap(Relay, "_mark", _mark_all),
        frozenset({"lost"}),
        {"publish_lost": 0.3},
    ),
    Mutant(
        "replies do not wait for older ones",
        "8",
        _all(
            _sql(TurnStatements, "older_replies", ("order by number", "order by number desc")),
            _sql(OutboxStatements, "due", ("and replies.state = 'waiting'", "and replies.state = 'never'")),
        ),
        frozenset({"replied_out_of_order"}),
        {"publish_lost": 0.4},
    ),
)
