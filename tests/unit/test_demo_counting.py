"""The sums of the demo: right when all is well, and each broken promise is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from worker.demo.counting import Summary, count
from worker.demo.questions import Asked
from worker.demo.record import Record

ASKED = (Asked("e1", "ann", "Why?"), Asked("e2", "ann", "Why?"), Asked("e3", "bob", "When?"))


class World:
    """What the outside saw: two contacts, three questions, one of them asked twice in the same words."""

    def __init__(self) -> None:
        self.effects: list[dict[str, Any]] = []
        self.replies: list[tuple[float, dict[str, Any]]] = []
        self._requests = 0
        self.create("s-ann")
        self.create("s-bob")
        self.post("ann", "Why?", 1, begun=10.0)
        self.post("ann", "Why?", 2, begun=11.5)
        self.post("bob", "When?", 3, begun=10.2)
        self.reply("e1", 1, at=11.1)
        self.reply("e2", 2, at=12.7)
        self.reply("e3", 3, at=11.5)

    def create(self, session: str, **fields: Any) -> None:
        self._request("create", "conversation_created", session_id=session, **fields)

    def post(self, contact: str, question: str, message: int, *, begun: float = 10.0, **fields: Any) -> None:
        session = fields.pop("session", f"s-{contact}")
        facts = {"external_id": contact, "question": question, "message_id": message, "session_id": session}
        self._request("post", "message", begun=begun, **facts, **fields)

    def reply(self, event_id: str, message: int, *, at: float, **changes: Any) -> None:
        asked = next(each for each in ASKED if each.event_id == event_id)
        data = {
            "question_id": event_id,
            "session_id": f"s-{asked.contact_id}",
            "message_id": message,
            "outcome": changes.pop("outcome", "posted"),
        }
        kind = changes.pop("type", "contact.question.answered")
        self.replies.append((at, {"id": f"r-{event_id}", "type": kind, "data": data, **changes}))

    def summary(self) -> Summary:
        record = Record(ASKED)
        for asked in ASKED:
            record.hand_in(asked.event_id, 9.9)
        record.take_effects(self.effects)
        for at, event in self.replies:
            record.take_reply(json.dumps(event).encode(), at)
        return count(record)

    def _request(self, call: str, kind: str, *, begun: float = 10.0, **fields: Any) -> None:
        self._requests += 1
        facts = {
            "request": self._requests,
            "call": call,
            "begun": begun,
            "ended": begun + 1.0,
            "status": 200,
            "fault": None,
            "caller_gone": False,
            "external_id": None,
            "question": None,
            "session_id": None,
            "message_id": None,
            **fields,
        }
        self.effects += [{**facts, "kind": kind}, {**facts, "kind": "request"}]


def test_all_is_well_when_each_question_has_a_post_and_a_reply() -> None:
    summary = World().summary()
    assert summary.is_good
    assert (summary.questions, summary.contacts, summary.conversations) == (3, 2, 2)
    assert (summary.posts, summary.replies, summary.answered, summary.failed) == (3, 3, 3, 0)


def test_copy_of_a_reply_with_the_same_id_is_no_second_reply() -> None:
    world = World()
    world.reply("e1", 1, at=20.0)
    summary = world.summary()
    assert summary.is_good
    assert (summary.replies, summary.reply_copies) == (3, 1)


def second_post(world: World) -> None:
    world.post("bob", "When?", 4)


def lost_post(world: World) -> None:
    world.effects = [each for each in world.effects if each["message_id"] != 3]


def lost_reply(world: World) -> None:
    del world.replies[2]


def second_reply(world: World) -> None:
    world.reply("e3", 3, at=20.0, id="another")


def differing_copy(world: World) -> None:
    world.reply("e3", 3, at=20.0, subject="changed")


def second_conversation(world: World) -> None:
    world.create("s-extra")


def split_contact(world: World) -> None:
    for effect in world.effects:
        if effect["message_id"] == 2:
            effect["session_id"] = "s-bob"


def swapped_answer(world: World) -> None:
    world.replies[1][1]["data"]["message_id"] = 1


def failed_unposted(world: World) -> None:
    lost_post(world)
    world.replies[2] = (11.5, {**world.replies[2][1], "type": "contact.question.failed"})


@pytest.mark.parametrize(
    ("breaks", "names"),
    [
        (second_post, {"double_posts": 1}),
        (lost_post, {"missing_posts": 1}),
        (lost_reply, {"missing_replies": 1}),
        (second_reply, {"double_replies": 1}),
        (differing_copy, {"double_replies": 1}),
        (second_conversation, {"conversations": 3}),
        (split_contact, {"split_contacts": 1}),
        (swapped_answer, {"wrong_answers": 1}),
        (failed_unposted, {"failed": 1, "missing_posts": 1}),
    ],
)
def test_broken_promise_is_seen(breaks: Callable[[World], None], names: dict[str, int]) -> None:
    world = World()
    breaks(world)
    summary = world.summary()
    assert not summary.is_good
    assert {name: getattr(summary, name) for name in names} == names


def test_added_latency_leaves_out_the_api_and_the_wait_for_the_earlier_answer() -> None:
    spread = World().summary().added_latency_s
    # e1: 9.9 to 11.1 less 1 s; e2: from e1's reply, 11.1 to 12.7 less 1 s; e3: 9.9 to 11.5 less 1 s.
    assert (spread.questions, spread.p50, spread.p95) == (3, 0.6, 0.6)


def test_questions_that_were_hit_are_measured_apart() -> None:
    world = World()
    world.effects[-1]["fault"] = "reset"
    world.replies[2] = (15.0, world.replies[2][1])
    summary = world.summary()
    assert (summary.added_latency_s.questions, summary.added_latency_hit_s.questions) == (2, 1)
    assert summary.added_latency_hit_s.p50 == 4.1
    assert summary.faults == 1


def test_question_under_way_when_a_worker_was_killed_counts_as_hit() -> None:
    world = World()
    record = Record(ASKED, killed_at=[11.3])
    for asked in ASKED:
        record.hand_in(asked.event_id, 9.9)
    record.take_effects(world.effects)
    for at, event in world.replies:
        record.take_reply(json.dumps(event).encode(), at)
    summary = count(record)
    # e1 had its reply before; e2 and e3 had not.
    assert (summary.added_latency_s.questions, summary.added_latency_hit_s.questions) == (1, 2)


def test_duplicates_are_counted_apart_from_questions() -> None:
    record = Record(ASKED)
    for event_id in ("e1", "e1", "e2"):
        record.hand_in(event_id, 1.0)
    assert record.duplicates == 1
    assert [asked.event_id for asked in record.waiting()] == ["e1", "e2"]


def test_summary_of_a_demo_without_any_reply_is_bad_and_still_a_summary() -> None:
    summary = count(Record(ASKED))
    assert not summary.is_good
    assert summary.missing_replies == 3
    assert json.loads(json.dumps(summary.as_json()))["added_latency_s"]["p50"] is None
