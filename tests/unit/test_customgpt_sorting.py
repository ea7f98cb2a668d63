"""The table of PROTOCOL 5: what became of a request, and what that is called."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from worker.adapters.customgpt import sorting
from worker.adapters.customgpt.exchange import Exchange
from worker.adapters.customgpt.sorting import Call, failure_of, unclear
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

CALLS = [value for value in vars(sorting).values() if isinstance(value, Call)]
WRITES = [call for call in CALLS if call.is_write]
READS = [call for call in CALLS if not call.is_write]

DEFINITE = {
    400: (QuestionRejected, Unreachable),
    401: (CredentialsRejected, CredentialsRejected),
    403: (CredentialsRejected, CredentialsRejected),
    413: (QuestionRejected, Unreachable),
    429: (Throttled, Throttled),
}


def named(call: Call) -> str:
    return call.name


def answered(status: int, body: bytes | None = b"", **headers: str) -> Exchange:
    return Exchange(was_sent=True, status=status, headers=headers, body=body)


def envelope(code: object, message: object = "") -> bytes:
    return json.dumps({"status": "error", "url": "u", "data": {"code": code, "message": message}}).encode()


def test_every_call_of_the_port_is_sorted() -> None:
    assert {call.name for call in WRITES} == {
        "create_conversation",
        "post_question",
        "complete",
        "rate_answer",
        "rename_conversation",
        "delete_conversation",
    }
    assert len(READS) == 6


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_what_was_not_sent_is_unreachable(call: Call) -> None:
    assert type(failure_of(call, Exchange(was_sent=False, trouble="refused"))) is Unreachable


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_what_was_sent_and_got_no_status_is_unknown_for_a_write(call: Call) -> None:
    failure = failure_of(call, Exchange(was_sent=True, trouble="time-out"))
    assert type(failure) is (OutcomeUnknown if call.is_write else Unreachable)
    assert failure.detail == f"{call.name}: time-out"


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_is_definite_by_the_list_or_else_unknown(status: int) -> None:
    for call in CALLS:
        failure = failure_of(call, answered(status))
        if status == 404:
            expected: type[AssistantError] = call.not_found
        elif status in DEFINITE:
            expected = DEFINITE[status][0 if call.is_write else 1]
        elif call is sorting.RATE_ANSWER and 400 <= status < 500 and status != 408:
            expected = QuestionRejected
        else:
            expected = OutcomeUnknown if call.is_write else Unreachable
        assert type(failure) is expected, (call.name, status)
        if isinstance(failure, OutcomeUnknown):
            assert failure.is_server_error is (status >= 500)
            assert failure.has_ended is False


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429])
@pytest.mark.parametrize("call", WRITES, ids=named)
def test_status_decides_even_when_its_body_was_cut_off(call: Call, status: int) -> None:
    exchange = Exchange(was_sent=True, status=status, body=None, trouble="answer cut off")
    assert not isinstance(failure_of(call, exchange), OutcomeUnknown)


def test_not_found_means_what_the_address_names() -> None:
    assert sorting.CREATE_CONVERSATION.not_found is ProjectNotFound
    assert sorting.FIND_CONVERSATIONS.not_found is ProjectNotFound
    assert sorting.CHECK_PROJECT.not_found is ProjectNotFound
    assert sorting.POST_QUESTION.not_found is ConversationGone
    assert sorting.LIST_MESSAGES.not_found is ConversationGone


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (envelope(404), "check_project: 404"),
        (None, "check_project: 404"),
        (b'{"message": "The route projects/123 could not be found."}', "check_project: 404, not by the API"),
        (b"<html>", "check_project: 404, not by the API"),
    ],
)
def test_not_found_says_when_somebody_else_than_the_api_said_it(body: bytes | None, detail: str) -> None:
    assert failure_of(sorting.CHECK_PROJECT, answered(404, body)).detail == detail


@pytest.mark.parametrize(
    ("status", "body", "has_ended"),
    [
        (500, envelope(500), True),
        (500, envelope(503), False),
        (500, envelope("500"), False),
        (500, b"<html>", False),
        (500, b'{"message": "Server Error"}', False),
        (500, b"[" * 100_000, False),
        (500, None, False),
        (503, envelope(500), False),
        (502, envelope(502), False),
    ],
)
def test_only_the_api_itself_can_say_that_its_work_has_ended(
    status: int, body: bytes | None, has_ended: bool
) -> None:
    failure = failure_of(sorting.POST_QUESTION, answered(status, body))
    assert isinstance(failure, OutcomeUnknown)
    assert (failure.has_ended, failure.is_server_error) == (has_ended, True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (envelope(429, "You have exhausted your current query credits. Contact us."), CreditsExhausted),
        (envelope(429, "QUERY CREDITS EXHAUSTED"), CreditsExhausted),
        (b'{"message": "You have exhausted your current query credits."}', CreditsExhausted),
        (envelope(429, "Too many requests"), Throttled),
        (envelope(429, None), Throttled),
        (b'{"message": "Too Many Attempts."}', Throttled),
        (b"<html>exhausted credits", Throttled),
        (b"", Throttled),
        (None, Throttled),
    ],
)
def test_credits_are_told_from_pace_by_the_message(
    body: bytes | None, expected: type[AssistantError]
) -> None:
    for call in CALLS:
        assert type(failure_of(call, answered(429, body))) is expected


def test_pause_is_carried() -> None:
    failure = failure_of(sorting.POST_QUESTION, answered(429, b"", **{"Retry-After": "12"}))
    assert isinstance(failure, Throttled)
    assert failure.pause_s == 12


def test_success_that_cannot_be_read_is_unclear() -> None:
    assert type(unclear(sorting.POST_QUESTION, answered(200), "no JSON")) is OutcomeUnknown
    assert type(unclear(sorting.LIST_MESSAGES, answered(200), "no JSON")) is Unreachable


def test_detail_holds_nothing_that_came_by_the_wire() -> None:
    for status in range(200, 600):
        exchange = answered(status, envelope(status, "canary"), Location="canary", Server="canary")
        for call in CALLS:
            assert "canary" not in failure_of(call, exchange).detail


def test_exchange_has_no_room_for_a_url() -> None:
    assert {field.name for field in fields(Exchange)} == {
        "was_sent",
        "status",
        "headers",
        "body",
        "trouble",
        "is_stream",
    }
