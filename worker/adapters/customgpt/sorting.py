"""Turn what became of a request into an error with a name: definite or unknown (PROTOCOL 5).

| seen                                                  | write            | read             |
|-------------------------------------------------------|------------------|------------------|
| no byte was sent: refused, DNS, TLS, connect time-out | Unreachable      | Unreachable      |
| 400, 413                                              | QuestionRejected | Unreachable      |
| 401, 403                                              | CredentialsRejected                ||
| 404                                                   | what the call's address names is gone ||
| 429 about credits                                     | CreditsExhausted                   ||
| any other 429                                         | Throttled                          ||
| everything else                                       | OutcomeUnknown   | Unreachable      |

A status is enough for a definite failure, even when its body is cut off. "Everything else" is open on
purpose: 3xx, 408, 422, 5xx, a success that cannot be read, a time-out or a reset after the first byte.
Of a rating, which may be set again and again, every 4xx but 408 and those above is QuestionRejected.
A read has no effect, so there is nothing to be unsure of; what a read refused with 400 says is nothing about
the question, and must not fail it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from worker.adapters.customgpt.exchange import Exchange
from worker.adapters.customgpt.moments import pause_of
from worker.core.errors import (
    AssistantError,
    ConversationGone,
    CredentialsRejected,
    CreditsExhausted,
    OutcomeUnknown,
    ProjectNotFound,
    QuestionRejected,
    Throttled,
    Unreachable,
)

#: Statuses that say for certain that nothing was done and never will be.
_REFUSALS = frozenset({400, 413})
#: Where a repeat changes nothing, nothing hangs on whether it was done all the same, and what is refused once
#: is refused the next time too. 408 says no more than that the time was up.
_REFUSALS_OF_REPEATABLE = frozenset(range(400, 500)) - {401, 403, 404, 408, 429}
#: In the detail of a 404 that the API did not write itself: its address is wrong, or a proxy answered.
FOREIGN = "not by the API"


@dataclass(frozen=True, slots=True)
class Call:
    """A kind of request."""

    name: str
    method: str
    is_write: bool
    #: What a 404 means.
    not_found: type[AssistantError]
    success: frozenset[int] = frozenset({200})
    #: What refuses a write for good.
    refusals: frozenset[int] = _REFUSALS
    #: The end of its address with names for values, for traces.
    path: str = ""


_PROJECT = "/projects/{project_id}"
_CONVERSATIONS = f"{_PROJECT}/conversations"
_CONVERSATION = f"{_CONVERSATIONS}/{{session_id}}"
_MESSAGES = f"{_CONVERSATION}/messages"

FIND_CONVERSATIONS = Call(
    "find_conversations", "GET", is_write=False, not_found=ProjectNotFound, path=_CONVERSATIONS
)
LIST_MESSAGES = Call("list_messages", "GET", is_write=False, not_found=ConversationGone, path=_MESSAGES)
GET_MESSAGE = Call(
    "get_message",
    "GET",
    is_write=False,
    not_found=ConversationGone,
    path=f"{_MESSAGES}/{{message_id}}",
)
CHECK_PROJECT = Call("check_project", "GET", is_write=False, not_found=ProjectNotFound, path=_PROJECT)
READ_SETTINGS = Call(
    "canned_texts", "GET", is_write=False, not_found=ProjectNotFound, path=f"{_PROJECT}/settings"
)
READ_LIMITS = Call("limits", "GET", is_write=False, not_found=Unreachable, path="/limits/usage")
CREATE_CONVERSATION = Call(
    "create_conversation",
    "POST",
    is_write=True,
    not_found=ProjectNotFound,
    success=frozenset({200, 201}),
    path=_CONVERSATIONS,
)
POST_QUESTION = Call(
    "post_question",
    "POST",
    is_write=True,
    not_found=ConversationGone,
    success=frozenset({200, 201}),
    path=_MESSAGES,
)
COMPLETE = Call(
    "complete",
    "POST",
    is_write=True,
    not_found=ProjectNotFound,
    success=frozenset({200, 201}),
    path=f"{_PROJECT}/chat/completions",
)
RENAME_CONVERSATION = Call(
    "rename_conversation", "PUT", is_write=True, not_found=ConversationGone, path=_CONVERSATION
)
RATE_ANSWER = Call(
    "rate_answer",
    "PUT",
    is_write=True,
    not_found=ConversationGone,
    success=frozenset({200, 201}),
    refusals=_REFUSALS_OF_REPEATABLE,
    path=f"{_MESSAGES}/{{message_id}}/feedback",
)
DELETE_CONVERSATION = Call(
    "delete_conversation", "DELETE", is_write=True, not_found=ConversationGone, path=_CONVERSATION
)


def failure_of(call: Call, exchange: Exchange) -> AssistantError:
    """Return the error for a request that did not succeed."""
    status = exchange.status
    detail = f"{call.name}: {exchange.trouble if status is None else status}"
    failure: AssistantError
    match status:
        case None if not exchange.was_sent:
            failure = Unreachable(detail)
        case 401 | 403:
            failure = CredentialsRejected(detail)
        case 404:
            is_foreign = exchange.body is not None and not _is_own_error(exchange.body, 404)
            failure = call.not_found(f"{detail}, {FOREIGN}" if is_foreign else detail)
        case 429 if _is_about_credits(exchange.body):
            failure = CreditsExhausted(detail)
        case 429:
            failure = Throttled(detail, pause_s=pause_of(exchange.headers))
        case _ if call.is_write and status in call.refusals:
            failure = QuestionRejected(detail)
        case _:
            failure = unclear(call, exchange, exchange.trouble or "no success")
    return failure


def unclear(call: Call, exchange: Exchange, kind: str) -> AssistantError:
    """Return the error for an end that does not tell what the API did."""
    detail = f"{call.name}: {kind}" if exchange.status is None else f"{call.name}: {exchange.status}, {kind}"
    if not call.is_write:
        return Unreachable(detail)
    status = exchange.status or 0
    return OutcomeUnknown(
        detail,
        has_ended=status == 500 and _is_own_error(exchange.body, 500),
        is_server_error=status >= 500,
    )


def _is_own_error(body: bytes | None, status: int) -> bool:
    """Tell whether an error was written by the API itself and not by something in front of it (A6)."""
    match _tree(body):
        case {"status": "error", "data": {"code": int() as code}}:
            return code == status
        case _:
            return False


def _is_about_credits(body: bytes | None) -> bool:
    """Tell "You have exhausted your current query credits" from "slow down".

    When in doubt it is the pace: a wrong halt stops the fleet for a quarter of an hour, a wrong pause for
    half a minute.
    """
    match _tree(body):
        case {"data": {"message": str() as message}} | {"message": str() as message}:
            words = message.lower()
            return "exhausted" in words and "credit" in words
        case _:
            return False


def _tree(body: bytes | None) -> Any:
    try:
        return json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
