"""The story of one question, as far as the tables keep it.

The ledger keeps how things stand, not every turn: of several attempts it knows how many there were and the
last one. The log has a ``turn.finished`` line for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.cli.spans import span_text
from worker.core.model import NO_SESSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.adapters.ledger.report import QuestionReport, ReplyReport


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, or that is so now."""

    #: Epoch seconds of the ledger's clock; None when the time is not kept.
    at: float | None
    what: str
    detail: str = ""


def story_of(found: QuestionReport) -> list[Step]:
    """Return the steps in the order in which they happened; what is so now comes last."""
    return [
        *_arrival(found),
        *_conversation(found),
        *_work(found),
        *_end(found.question),
        *_doubts(found.question),
        *(step for reply in found.replies for step in _reply(reply)),
        *_now(found),
    ]


def is_without_conversation(row: Mapping[str, Any]) -> bool:
    """Tell whether a question was asked by chat completions: it has no conversation and no message number."""
    return bool(row["intent_session_id"] == NO_SESSION)


def _arrival(found: QuestionReport) -> Iterator[Step]:
    row = found.question
    detail = f"asked {found.content['time']}" if found.content["time"] else ""
    if row["is_redelivered"]:
        detail = f"{detail}, delivered again by the broker".lstrip(", ")
    yield Step(row["received_at"], "received", detail)
    if row["is_over_limit"]:
        yield Step(row["received_at"], "over the limit", "ASKRELAY_CONTACT_DAILY_LIMIT")


def _conversation(found: QuestionReport) -> Iterator[Step]:
    conversation = found.conversation
    if is_without_conversation(found.question):
        return  # The contact may have one, but this question is not in it.
    if conversation["session_id"] is not None:
        times = conversation["epoch"]
        renewed = f", renewed {times}x because the API lost it" if times else ""
        number = conversation["conversation_id"]
        what = f"conversation {number}" if number is not None else "a conversation without a number"
        yield Step(None, "conversation", f"{what}, session {conversation['session_id']}{renewed}")
    elif conversation["create_intent_at"] is not None:
        detail = "its outcome is not known yet; it is looked for before another is made"
        yield Step(conversation["create_intent_at"], "conversation being created", detail)


def _work(found: QuestionReport) -> Iterator[Step]:
    row = found.question
    if row["expired_leases"]:
        times = row["expired_leases"]
        yield Step(None, "leases expired", f"{times} in a row: a worker died or stood still")
    if row["intent_at"] is not None:
        has_message = row["message_id"] is not None or row["state"] == "answered"
        first = "posted" if has_message else "post begun"
        is_alone = is_without_conversation(row)
        detail = "by chat completions" if is_alone else f"above message {row['baseline_message_id']}"
        if row["posts"] > 1:
            detail += f"; the last of {row['posts']} posts begun"
        yield Step(row["intent_at"], first, detail)
    if row["looks"]:
        yield Step(None, "read back", f"{row['looks']}x since, because nobody knew what became of the post")
    if row["has_ended"] and row["state"] == "posting":
        yield Step(None, "ended at the API", "it said that its work on the post has ended")


def _doubts(row: Mapping[str, Any]) -> Iterator[Step]:
    """Say what broke, or may have broken, an assumption of PROTOCOL 1."""
    if row["late_post_at"] is not None:
        yield Step(row["late_post_at"], "late post", "its bytes left later than ASKRELAY_SEND_GRACE_S allows")
    if row["duplicate_message_id"] is not None:
        yield Step(None, "posted twice", f"message {row['duplicate_message_id']} is the other one")
    if row["second_look_at"] is not None:
        detail = "whether the first post showed up after all"
        yield Step(row["second_look_at"], "to be looked at again", detail)


def _end(row: Mapping[str, Any]) -> Iterator[Step]:
    if row["state"] == "answered":
        message = "" if is_without_conversation(row) else f"message {row['message_id']}, "
        yield Step(row["finished_at"], "answered", f"{message}{row['outcome']}")
    if row["state"] == "failed":
        detail = f": {row['detail']}" if row["detail"] else ""
        yield Step(row["finished_at"], "failed", f"{row['code']}{detail}")


def _reply(reply: ReplyReport) -> Iterator[Step]:
    yield Step(reply.recorded_at, "reply recorded", f"{reply.kind}, {reply.event_id}")
    tries = f"after {reply.tries} fruitless tries" if reply.tries else ""
    if reply.published_at is not None:
        yield Step(reply.published_at, "reply published", tries)
    if reply.state != "published":
        why = "no queue takes it" if reply.state == "aside" else "not confirmed yet"
        yield Step(reply.due_at, "reply to be published", f"{why}{f', {tries}' if tries else ''}")


def _now(found: QuestionReport) -> Iterator[Step]:
    """Say how an open question stands."""
    row, conversation, now = found.question, found.conversation, found.now
    if row["state"] not in {"waiting", "posting"}:
        return
    last = f"; the last turn ended with {row['code']}" if row["code"] else ""
    if row["state"] == "waiting" and found.ahead:
        yield Step(now, "waiting", f"{found.ahead} of its conversation come before it{last}")
    elif conversation["lease_until"] > now:
        yield Step(now, "in work", f"claimed by {conversation['owner']}{last}")
    elif conversation["due_at"] is not None and conversation["due_at"] > now:
        yield Step(now, "waiting", f"next turn in {span_text(conversation['due_at'] - now)}{last}")
    else:
        yield Step(now, "waiting", f"due for a worker{last}")
