"""What has to be so that a worker comes by a recovery point at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.api import make_conversation
from tests.chaos.stage import Cell, Stage
from worker.core.ports import RecoveryPoint as Point

#: Contacts of one wave: enough that the victim gets some of them.
CONTACTS = 4


@dataclass(frozen=True, slots=True)
class Approach:
    """How a victim is led to its point."""

    #: It must be the one that takes events off the queue.
    is_intake: bool = False
    #: The contact can be known already; to the API only, if ``is_at_api``.
    has_known: bool = True
    is_at_api: bool = False
    #: Conversations that a new contact has at the API already.
    extras: int = 0
    #: What goes wrong with the first post of each question.
    fault: Mapping[str, Any] | None = None
    #: Something comes that is no event.
    has_refused: bool = False
    #: Every question comes again after its answer.
    comes_again: bool = False
    #: s. How long the last wave is waited for.
    patience_s: float = 20.0


#: The answer is lost, so that the post has to be read back.
LOST_ANSWER = {"kind": "reset", "when": "after_work"}
#: The request is lost: it is posted again once nothing can show up any more.
LOST_POST = {"kind": "reset", "when": "before_work"}

APPROACHES: Mapping[Point, Approach] = {
    Point.BATCH_RECEIVED: Approach(is_intake=True),
    Point.BATCH_ACCEPTED: Approach(is_intake=True),
    Point.EVENTS_REJECTED: Approach(is_intake=True, has_refused=True),
    Point.BATCH_ACKED: Approach(is_intake=True),
    Point.CLAIMED: Approach(),
    Point.CONVERSATIONS_LISTED: Approach(is_at_api=True),
    Point.CREATE_INTENDED: Approach(has_known=False),
    Point.CONVERSATION_CREATED: Approach(has_known=False),
    Point.SESSION_SAVED: Approach(is_at_api=True),
    Point.POST_INTENDED: Approach(),
    Point.QUESTION_POSTED: Approach(),
    Point.READ_BACK: Approach(fault=LOST_ANSWER),
    Point.TURN_FINISHED: Approach(),
    Point.REPLY_PUBLISHED: Approach(),
    Point.REPLY_MARKED: Approach(),
    Point.REPLIES_TAKEN: Approach(is_intake=True, comes_again=True),
    Point.HEALING_TAKEN: Approach(has_known=False, extras=2),
    Point.EXTRA_DELETED: Approach(has_known=False, extras=2),
    Point.SECOND_LOOKS_TAKEN: Approach(fault=LOST_POST, patience_s=60.0),
}


def prepare(stage: Stage, cell: Cell, approach: Approach, *, is_known: bool) -> None:
    """Make what must be there before the victim starts."""
    rules = []
    if approach.fault is not None:
        match = {"call": "post", "question_contains": f"{cell.prefix}: ", "nth": 1, "each": "question"}
        rules = [{"match": match, "action": approach.fault}]
    if is_known and not approach.is_at_api:
        stage.ask(cell, cell.questions(range(CONTACTS)))
        stage.wait_for_replies(cell)
    stage.fleet.sandbox.set_faults(*rules)


def waves(
    stage: Stage, cell: Cell, approach: Approach, *, is_known: bool, repeats: int
) -> Callable[[int], None]:
    """Return what asks the next wave of questions: of the same contacts, or of new ones."""

    def ask(wave: int) -> None:
        if is_known and not approach.is_at_api:
            questions = cell.questions(range(CONTACTS), since=wave + 1)
        else:
            contacts = range(wave * CONTACTS, (wave + 1) * CONTACTS)
            questions = cell.questions(contacts)
            for question in questions:
                for _ in range(1 if is_known else approach.extras):
                    says = "What did I ask long ago?" if is_known else None
                    make_conversation(stage.fleet.sandbox, question.contact_id, says=says)
        if approach.has_refused:
            stage.publish_garbage()
        stage.ask(cell, questions, repeats=repeats)
        if approach.comes_again:
            stage.wait_for_replies(cell)
            stage.ask(cell, questions)

    return ask
