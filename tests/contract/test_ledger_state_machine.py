"""The real ledger against a model, by a hypothesis state machine: whatever two workers do, in any order.

Every step is taken twice, and afterwards the tables must say what the model says. The promises are checked
besides, on nothing but what the ledger returned.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.contract.ledger_cases import LEASE_S, PROJECT, answered, asked, reply_to
from tests.contract.ledger_direct import START, WORKERS, DirectLedger
from tests.contract.ledger_model import LOST, LedgerModel, Thread
from worker.adapters.ledger.claims import TakeTurns
from worker.adapters.ledger.intake import REPEAT_WINDOW_S, Accept
from worker.adapters.ledger.leases import Release, Renew
from worker.adapters.ledger.outbox import MarkPublished, MarkUnpublished, TakeReplies
from worker.adapters.ledger.sessions import BeginCreate, ForgetSession, SaveSession
from worker.adapters.ledger.turns import BeginPost, Finish
from worker.core.errors import ReplyNotConfirmed, ReplyUnroutable
from worker.core.model import Claim, Failed, Halt, Intent, OutboxReply, Retry, Snooze, Verdict

CONTACTS = ("EXT_1", "EXT_2")
#: The same few for all contacts, so that two questions get hold of one message now and then.
SESSIONS = st.sampled_from(["session-1", "session-2"])
MESSAGE_IDS = st.integers(1, 6)
#: s. Pauses of a verdict, within a lease and beyond it.
CODES = st.sampled_from(["outcome_unknown", "answer_unreadable"])
PAUSES_S = st.sampled_from([1.0, 31.0])

SETTINGS = settings(
    stateful_step_count=80,
    # The same examples in every run: a failure comes back.
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
EXAMPLES = {"sqlite": 30, "postgresql": 8}


@dataclass(frozen=True)
class Held:
    """A claim and who made it; it may have been overtaken since."""

    worker: str
    claim: Claim

    @property
    def lease(self) -> tuple[str, str, int]:
        """The same as the model names it."""
        return self.worker, self.claim.conversation.contact_id, self.claim.lease.token


class LedgerMachine(RuleBasedStateMachine):
    """Two workers, a few contacts, one ledger and its model."""

    def __init__(self, ledger: DirectLedger) -> None:
        super().__init__()
        ledger.empty()
        self.ledger = ledger
        self.model = LedgerModel(START)
        self.held: list[Held] = []
        #: Replies that somebody was told to publish, by event id.
        self.handed: dict[str, int] = {}
        #: Event ids whose reply was published or returned once: they hold up nobody.
        self.settled: set[str] = set()
        #: What was seen, for the promises.
        self.accepted: dict[str, list[str]] = defaultdict(list)
        self.tokens: dict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, str] = {}

    # --- intake

    @rule(
        events=st.lists(
            st.tuples(st.integers(0, 7), st.sampled_from(["?", "?", "?", "!"])), min_size=1, max_size=3
        )
    )
    def accept(self, events: list[tuple[int, str]]) -> None:
        batch = [(f"evt-{number}", CONTACTS[number % len(CONTACTS)], text) for number, text in events]
        questions = [asked(event_id, contact, text=text) for event_id, contact, text in batch]
        results = [each.result for each in self.ledger.do(WORKERS[0], Accept(questions))]
        assert results == self.model.accept(batch)
        for (event_id, contact, _), result in zip(batch, results, strict=True):
            if result == "new":
                assert event_id not in self.accepted[contact], "an event was taken in twice"
                self.accepted[contact].append(event_id)

    # --- leases

    @rule()
    def a_moment_passes(self) -> None:
        self._let_pass(1.0)

    @rule()
    def most_of_a_lease_passes(self) -> None:
        self._let_pass(LEASE_S - 1)

    @rule()
    def a_lease_expires(self) -> None:
        self._let_pass(LEASE_S)

    @rule()
    def the_window_of_repeats_passes(self) -> None:
        self._let_pass(REPEAT_WINDOW_S + 1)

    def _let_pass(self, seconds: float) -> None:
        self.ledger.now += seconds
        self.model.now += seconds

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 2))
    def claim(self, worker: str, limit: int) -> None:
        self._claim(worker, limit, begins_posts=False)

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 2))
    def claim_and_begin_posts(self, worker: str, limit: int) -> None:
        self._claim(worker, limit, begins_posts=True)

    def _claim(self, worker: str, limit: int, *, begins_posts: bool) -> None:
        busy = {each.claim.lease.conversation for each in self.held if self._is_valid(each)}
        turns = self.ledger.do(worker, TakeTurns(limit, begins_posts)).turns
        threads = self.model.claim(worker, limit)
        assert [_seen_turn(claim) for claim in turns] == [_turn_of(thread) for thread in threads]
        for claim, thread in zip(turns, threads, strict=True):
            assert _begun(claim.begun) == (self.model.begin_claimed(thread) if begins_posts else None)
        for claim in turns:
            assert claim.lease.conversation not in busy, "two valid leases on one conversation"
            tokens = self.tokens[claim.conversation.contact_id]
            assert claim.lease.token > max(tokens, default=0), "a token did not grow"
            tokens.append(claim.lease.token)
            self.held.append(Held(worker, claim))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        held = self._one_of(data)
        lost = self.ledger.do(held.worker, Renew([held.claim.lease]))
        assert (lost == set()) is self.model.renew(*held.lease)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self._release(self._one_of(data))

    def _release(self, held: Held) -> None:
        self.ledger.do(held.worker, Release([held.claim.lease]))
        self.model.release(*held.lease)

    # --- the conversation

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def begin_create(self, data: st.DataObject) -> None:
        held = self._one_of(data)
        assert self.ledger.do(held.worker, BeginCreate(held.claim.lease, PROJECT)) == self.model.begin_create(
            *held.lease
        )

    @precondition(lambda self: self.held)
    @rule(data=st.data(), session=SESSIONS, highest=st.integers(0, 2), begins_post=st.booleans())
    def save_session(self, data: st.DataObject, session: str, highest: int, *, begins_post: bool) -> None:
        held = self._one_of(data)
        begins = held.claim.question.event_id if begins_post else None
        self._save_session(held, session, highest, begins_post_of=begins)

    def _save_session(
        self, held: Held, session: str, highest: int, *, begins_post_of: str | None = None
    ) -> None:
        number = begins_post_of and self.ledger.number_of(begins_post_of)
        operation = SaveSession(held.claim.lease, PROJECT, session, 42, highest, False, number)
        result = _begun(self.ledger.do(held.worker, operation))
        expected = self.model.save_session(*held.lease, session, highest)
        if begins_post_of is not None and expected is None:
            begun = self.model.begin_post(*held.lease, begins_post_of, session)
            expected = None if begun == LOST else begun
        assert result == expected

    @precondition(lambda self: self.held)
    @rule(data=st.data(), chance=st.integers(0, 2))
    def forget_session(self, data: st.DataObject, chance: int) -> None:
        if chance:  # seldom: a turn without a session does not get far
            return
        held = self._one_of(data)
        forgotten = self.ledger.do(held.worker, ForgetSession(held.claim.lease))
        assert forgotten == self.model.forget_session(*held.lease)

    # --- the turn

    @precondition(lambda self: self.held)
    @rule(data=st.data(), session=SESSIONS, highest=st.integers(0, 2))
    def begin_post(self, data: st.DataObject, session: str, highest: int) -> None:
        held = self._one_of(data)
        self._begin_post(held, held.claim.question.event_id, session, highest)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), session=SESSIONS)
    def begin_post_out_of_order(self, data: st.DataObject, session: str) -> None:
        """A question with a lower number may turn up later: its transaction took longer."""
        held = self._one_of(data)
        thread = self.model.threads[held.lease[1]]
        still_open = [question.event_id for question in thread.questions if question.is_open]
        if still_open:
            self._begin_post(held, still_open[-1], session, 0)
            self._release(held)

    def _begin_post(self, held: Held, event_id: str, session: str, highest: int) -> None:
        """Begin a post, in a session that is made when there is none."""
        thread = self.model.threads[held.lease[1]]
        if thread.session is None:
            self._save_session(held, session, highest)
        session = thread.session or session
        begun = self.ledger.do(
            held.worker, BeginPost(held.claim.lease, self.ledger.number_of(event_id), session_id=session)
        )
        assert _begun(begun) == self.model.begin_post(*held.lease, event_id, session)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), message_id=MESSAGE_IDS)
    def finish_answered(self, data: st.DataObject, message_id: int) -> None:
        held = self._one_of(data)
        question = self.model.events[held.claim.question.event_id]
        if question.state == "posting" and question.intent:
            self._finish(held, answered(message_id, session_id=question.intent[0]))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), code=CODES, message_id=st.none() | MESSAGE_IDS, session=SESSIONS)
    def finish_failed(self, data: st.DataObject, code: str, message_id: int | None, session: str) -> None:
        self._finish(self._one_of(data), Failed(code, "", message_id, session))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), after_s=PAUSES_S)
    def finish_retry(self, data: st.DataObject, after_s: float) -> None:
        self._finish(self._one_of(data), Retry("unreachable", after_s))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), after_s=PAUSES_S, is_look=st.booleans(), has_ended=st.booleans())
    def finish_snooze(self, data: st.DataObject, after_s: float, is_look: bool, has_ended: bool) -> None:
        held = self._one_of(data)
        is_posted = self.model.events[held.claim.question.event_id].state == "posting"
        self._finish(
            held,
            Snooze("outcome_unknown", after_s, is_posted, has_ended and is_posted, is_look and is_posted),
        )

    @precondition(lambda self: self.held)
    @rule(data=st.data(), burnt=st.none() | MESSAGE_IDS, session=SESSIONS)
    def finish_halt(self, data: st.DataObject, burnt: int | None, session: str) -> None:
        held = self._one_of(data)
        is_posted = self.model.events[held.claim.question.event_id].state == "posting"
        if self._finish(held, Halt("credits_exhausted", 900.0, is_posted, burnt, session)):
            claims = self.ledger.do(held.worker, TakeTurns(1))
            assert (claims.turns, claims.closed) == ((), "credits_exhausted")
            self.ledger.open_gate()

    def _finish(self, held: Held, verdict: Verdict) -> bool:
        """Finish the turn and tell whether that was granted."""
        claim, event_id = held.claim, held.claim.question.event_id
        is_end = verdict.__class__.__name__ in {"Answered", "Failed"}
        reply = reply_to(claim, "failed" if isinstance(verdict, Failed) else "answered") if is_end else None
        result = self.ledger.do(held.worker, Finish(claim.lease, claim.question.number, verdict, reply))
        expected = self.model.finish(*held.lease, event_id, verdict)
        if isinstance(expected, str):
            assert result == expected
            return False
        assert bool(result.reply) is expected
        assert result.has_next is self.model.has_next(held.worker)
        if reply is not None:
            assert event_id not in self.ended, "a question ended twice"
            self.ended[event_id] = reply.event_id
        if result.reply is not None:
            self._hand_out([result.reply])
        return True

    # --- the relay

    @rule(worker=st.sampled_from(WORKERS))
    def take_replies(self, worker: str) -> None:
        taken, _ = self.ledger.do(worker, TakeReplies(100))
        assert _events_of(taken) == self.model.take_replies(worker)
        self._hand_out(taken)

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def mark_published(self, data: st.DataObject, worker: str) -> None:
        event_id = data.draw(st.sampled_from(list(self.handed)))
        behind = self.ledger.do(worker, MarkPublished([self.handed[event_id]]))
        self.settled.add(event_id)
        assert _events_of(behind) == self.model.mark_published(worker, event_id)
        self._hand_out(behind)

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), is_returned=st.booleans())
    def mark_unpublished(self, data: st.DataObject, is_returned: bool) -> None:
        event_id = data.draw(st.sampled_from(list(self.handed)))
        reason = ReplyUnroutable.code if is_returned else ReplyNotConfirmed.code
        self.ledger.do(WORKERS[0], MarkUnpublished([self.handed[event_id]], reason))
        self.model.mark_unpublished(event_id, is_returned=is_returned)
        if is_returned:
            self.settled.add(event_id)

    def _hand_out(self, replies: list[OutboxReply]) -> None:
        for reply in replies:
            event_id = reply.reply.question_id
            (contact,) = (name for name, events in self.accepted.items() if event_id in events)
            ended = [each for each in self.ended if each in self.accepted[contact]]
            before = ended[: ended.index(event_id)]
            assert self.settled.issuperset(before), "a reply overtook an older one of its conversation"
            assert reply.reply.event_id == self.ended[event_id]
            assert self.handed.setdefault(event_id, reply.number) == reply.number, "a second reply"

    # --- what must hold at any time

    @invariant()
    def tables_say_what_the_model_says(self) -> None:
        assert self.ledger.conversations() == self.model.conversations()
        assert self.ledger.questions() == self.model.questions()
        assert self.ledger.replies() == self.model.recorded()

    @invariant()
    def each_finished_question_has_one_reply(self) -> None:
        finished = [event_id for event_id, each in self.model.events.items() if not each.is_open]
        assert sorted(finished) == sorted(self.ended)
        assert sorted(self.ended) == sorted(row[0] for row in self.ledger.replies())

    def _is_valid(self, held: Held) -> bool:
        thread = self.model.held(*held.lease)
        return thread is not None and thread.lease_until > self.model.now

    def _one_of(self, data: st.DataObject) -> Held:
        """Draw a claim: most often one that still holds, now and then one that was overtaken."""
        ours = [held for held in self.held if self.model.held(*held.lease)]
        is_any = not ours or data.draw(st.integers(0, 3), label="0 = any claim ever made") == 0
        return data.draw(st.sampled_from(self.held if is_any else ours))


def _turn_of(thread: Thread) -> tuple[Any, ...]:
    question = thread.next_question()
    return (
        thread.contact,
        thread.token,
        thread.session,
        question.event_id,
        question.attempts,
        question.expired_leases,
        question.is_repost,
        question.intent if question.state == "posting" else None,
    )


def _seen_turn(claim: Claim) -> tuple[Any, ...]:
    question, intent = claim.question, claim.question.intent
    return (
        claim.conversation.contact_id,
        claim.lease.token,
        claim.conversation.session_id,
        question.event_id,
        question.attempts,
        question.expired_leases,
        question.is_repost,
        None if intent is None else (intent.session_id, intent.baseline_message_id),
    )


def _begun(result: Any) -> Any:
    """Return an intent as the model says it, and anything else as it is."""
    return (result.session_id, result.baseline_message_id) if isinstance(result, Intent) else result


def _events_of(replies: list[OutboxReply]) -> list[str]:
    return [each.reply.question_id for each in replies]


def run(url: str, rewrites: Mapping[str, str] | None = None, **changes: Any) -> None:
    with closing(DirectLedger(url, rewrites)) as ledger:
        run_state_machine_as_test(lambda: LedgerMachine(ledger), settings=settings(SETTINGS, **changes))


def test_ledger_does_what_the_model_does(ledger_url: str) -> None:
    run(ledger_url, max_examples=EXAMPLES[ledger_url.partition(":")[0]])


#: Each a rule of the protocol, and its statement with that rule taken out.
MISTAKES = {
    "a lease is told by its worker alone": {
        "select c.number, c.lease_token from": "select c.number, r.token as lease_token from",
        "c.lease_token = r.token and": "",
    },
    "in flight comes not first": {"order by q.state, q.number": "order by q.number"},
    "the last to arrive comes first": {
        "order by q.state, q.number limit 1": "order by q.state, q.number desc limit 1"
    },
    "a renewed lease ends as before": {
        "set lease_until = :until, due_at = case when owner = :owner then :until": (
            "set due_at = case when owner = :owner then due_at"
        )
    },
    "a token does not grow": {"lease_token = lease_token + 1": "lease_token = lease_token + 0"},
    "a post has no baseline": {"baseline_message_id = c.highest_message_id": "baseline_message_id = 0"},
    "replies overtake each other": {"and older.number < replies.number": "and older.number > replies.number"},
    "a repeat publishes nothing": {
        "where state = 'published' and (repeated_at": "where state = 'gone' and (repeated_at"
    },
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_state_machine_finds_a_broken_rule(mistake: str, upgraded_sqlite: Path, tmp_path: Path) -> None:
    shutil.copy(upgraded_sqlite, tmp_path / "ledger.db")
    # What is to be seen failing does not have to be made small.
    with pytest.raises(AssertionError):
        run(f"sqlite:///{tmp_path}/ledger.db", MISTAKES[mistake], max_examples=800, phases=[Phase.generate])
