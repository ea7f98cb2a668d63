"""Every call to the API against every way in which a server can misbehave (PROTOCOL 5 and 10).

A write must end in a definite error only when nothing can have been done, and exactly one request may arrive.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.servers_http.behaviours import (
    answering,
    closing_after,
    own_error,
    resetting_after,
    response,
    sending,
    silent_after,
    success,
    trickling,
)
from tests.servers_http.misbehaving import Behaviour, MisbehavingServer
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
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

#: Seconds; for the cells in which the deadline is what ends the call.
SHORT_S = 0.3
#: Seconds; for the others, where it must not be reached on a busy machine.
LONG_S = 30.0

CANARY = "canary-7f3a"
KEY = "1|canary-key-91c2"

CONVERSATION = {"id": 7, "session_id": "s-1", "name": "n"}
MESSAGE = {"id": 9, "user_query": CANARY, "openai_response": "Yes.", "metadata": {"external_id": CANARY}}
#: Fits every call: what each of them looks at is in it.
GOOD = success(
    {
        **CONVERSATION,
        **MESSAGE,
        "data": [CONVERSATION],
        "conversation": CONVERSATION,
        "messages": {"data": [MESSAGE]},
        "deleted": True,
    }
)
GOOD_RESPONSE = response(200, GOOD)
HALF = GOOD_RESPONSE[: -len(GOOD) // 2]
HEAD_ONLY = GOOD_RESPONSE[: -len(GOOD)]
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
HTML = b"<!doctype html><title>Welcome</title>"
OUT_OF_CREDITS = "You have exhausted your current query credits. Please contact customer service."

Invoke = Callable[[CustomGpt], Awaitable[object]]


@dataclass(frozen=True)
class Called:
    """A call of the port as the cells make it."""

    invoke: Invoke
    is_write: bool
    not_found: type[AssistantError]


CALLS = {
    "create": Called(
        lambda api: api.create_conversation(1, CANARY, connect_within_s=LONG_S),
        is_write=True,
        not_found=ProjectNotFound,
    ),
    "post": Called(
        lambda api: api.post_question(
            1,
            "s-1",
            text=CANARY,
            external_id=CANARY,
            lang="en",
            traceparent=None,
            connect_within_s=LONG_S,
        ),
        is_write=True,
        not_found=ConversationGone,
    ),
    "rename": Called(
        lambda api: api.rename_conversation(1, "s-1", CANARY), is_write=True, not_found=ConversationGone
    ),
    "delete": Called(
        lambda api: api.delete_conversation(1, "s-1"), is_write=True, not_found=ConversationGone
    ),
    "list": Called(lambda api: api.find_conversations(1, CANARY), is_write=False, not_found=ProjectNotFound),
    "list messages": Called(
        lambda api: api.list_messages(1, "s-1", above=0), is_write=False, not_found=ConversationGone
    ),
    "check": Called(lambda api: api.check_project(1), is_write=False, not_found=ProjectNotFound),
}


@dataclass(frozen=True)
class Cell:
    """A behaviour and what a write or a read makes of it."""

    behaviour: Behaviour
    #: None: unknown for a write, unreachable for a read. Otherwise definite for both.
    definite: type[AssistantError] | None = None
    #: What a read makes of it, where that differs from a write's definite end.
    of_read: type[AssistantError] | None = None
    has_ended: bool = False
    is_server_error: bool = False
    deadline_s: float = LONG_S
    pause_s: float | None = None


def throttled(pause_s: float, **headers: str) -> Cell:
    """A 429 about pace, as Laravel writes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"message": "Too Many Attempts."}).encode()
    return Cell(answering(429, body, headers=named), Throttled, pause_s=pause_s)


CELLS = {
    # the connection
    "silent": Cell(silent_after(), deadline_s=SHORT_S),
    "reset before headers": Cell(resetting_after(b"")),
    "closed before headers": Cell(closing_after(b"")),
    "reset inside headers": Cell(resetting_after(GOOD_RESPONSE[:30])),
    "reset after headers": Cell(resetting_after(HEAD_ONLY)),
    "reset inside body": Cell(resetting_after(HALF)),
    "silent after headers": Cell(silent_after(HEAD_ONLY), deadline_s=SHORT_S),
    "silent inside body": Cell(silent_after(HALF), deadline_s=SHORT_S),
    "one byte a second": Cell(trickling(GOOD_RESPONSE), deadline_s=SHORT_S),
    "only 100 Continue": Cell(silent_after(b"HTTP/1.1 100 Continue\r\n\r\n"), deadline_s=SHORT_S),
    "truncated": Cell(closing_after(HALF)),
    "truncated chunk": Cell(closing_after(CHUNKED_HEAD + b"ff\r\n" + GOOD[:20])),
    "truncated without a length": Cell(closing_after(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD[:-9])),
    "truncated gzip": Cell(
        answering(200, b"\x1f\x8b\x08\x00\x00\x00\x00\x00", headers={"Content-Encoding": "gzip"})
    ),
    # what came is not HTTP, not JSON, or not the API's
    "garbage": Cell(closing_after(b"\x16\x03\x01\x02\x00\x01\x00garbage\r\n\r\n")),
    "garbage in the chunks": Cell(closing_after(CHUNKED_HEAD + b"zz\r\nnot a chunk")),
    "endless headers": Cell(closing_after(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n")),
    "garbled gzip": Cell(answering(200, b"no gzip at all", headers={"Content-Encoding": "gzip"})),
    "HTML with 200": Cell(answering(200, HTML, content_type="text/html")),
    "empty body": Cell(answering(200, b"")),
    "no content": Cell(sending(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "accepted only": Cell(answering(202, GOOD)),
    "JSON cut short": Cell(answering(200, GOOD[:-3])),
    "bad UTF-8": Cell(answering(200, GOOD.replace(b"Yes", b"\xff\xfe\xff"))),
    "nested too deep": Cell(answering(200, b"[" * 100_000)),
    "data is null": Cell(answering(200, success(None))),
    "data is a text": Cell(answering(200, success("created"))),
    "a list": Cell(answering(200, b"[1, 2]")),
    "an error with 200": Cell(answering(200, own_error(500))),
    "larger than 8 MiB": Cell(answering(200, b" " * (8 * 1024 * 1024) + GOOD)),
    # redirects
    **{
        f"redirect {status}": Cell(answering(status, HTML, headers={"Location": "/elsewhere"}))
        for status in (301, 302, 303, 307, 308)
    },
    # 4xx
    "400": Cell(answering(400, own_error(400)), QuestionRejected, of_read=Unreachable),
    "413": Cell(answering(413, HTML), QuestionRejected, of_read=Unreachable),
    "401": Cell(answering(401, own_error(401)), CredentialsRejected),
    "401 and then reset": Cell(resetting_after(response(401, own_error(401))[:-20]), CredentialsRejected),
    "403": Cell(answering(403, own_error(403)), CredentialsRejected),
    "405": Cell(answering(405, own_error(405))),
    "408": Cell(answering(408, b"")),
    "409": Cell(answering(409, own_error(409))),
    "422": Cell(answering(422, own_error(422))),
    # 429
    "429 about credits": Cell(answering(429, own_error(429, OUT_OF_CREDITS)), CreditsExhausted),
    "429 in the envelope": Cell(
        answering(429, own_error(429, "Slow down"), headers={"Retry-After": "7"}), Throttled, pause_s=7
    ),
    "429 in HTML": Cell(answering(429, HTML), Throttled, pause_s=30),
    "429 and then silence": Cell(
        silent_after(response(429, HTML, headers={"Retry-After": "7"})[:-5]),
        Throttled,
        pause_s=7,
        deadline_s=SHORT_S,
    ),
    "429 in seconds": throttled(12, Retry_After="12"),
    "429 with a date": throttled(
        90, Date="Fri, 20 Nov 2026 20:00:00 GMT", Retry_After="Fri, 20 Nov 2026 20:01:30 GMT"
    ),
    "429 negative": throttled(1, Retry_After="-5"),
    "429 absurd": throttled(3600, Retry_After="99999999999999999999"),
    "429 absent": throttled(30),
    "429 unreadable": throttled(30, Retry_After="soon"),
    # 5xx
    "500 of the API's own": Cell(answering(500, own_error(500)), has_ended=True, is_server_error=True),
    "500 without envelope": Cell(answering(500, HTML), is_server_error=True),
    "500 and then reset": Cell(resetting_after(response(500, own_error(500))[:-20]), is_server_error=True),
    "503 in a 500": Cell(answering(500, own_error(503)), is_server_error=True),
    **{
        f"{status} {'with' if body is not HTML else 'without'} envelope": Cell(
            answering(status, body), is_server_error=True
        )
        for status in (501, 502, 503, 504)
        for body in (own_error(status), HTML)
    },
}


def config(api_url: str, deadline_s: float = LONG_S) -> CustomGptConfig:
    return CustomGptConfig(api_url=api_url, request_timeout_s=deadline_s)


async def failure_of(invoke: Invoke, config: CustomGptConfig) -> AssistantError:
    async with CustomGpt(config, key=lambda: KEY, log=lambda *_, **__: None) as api:
        with pytest.raises(AssistantError) as caught:
            await invoke(api)
    return caught.value


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("called", CALLS.values(), ids=CALLS)
async def test_misbehaviour_is_sorted_into_definite_or_unknown(called: Called, cell: Cell) -> None:
    async with MisbehavingServer(cell.behaviour) as server:
        failure = await failure_of(called.invoke, config(server.api_url, cell.deadline_s))
        arrived = len(server.requests)

    if called.is_write:
        assert type(failure) is (cell.definite or OutcomeUnknown), failure.detail
    else:
        assert type(failure) is (cell.of_read or cell.definite or Unreachable), failure.detail
    if isinstance(failure, OutcomeUnknown):
        assert (failure.has_ended, failure.is_server_error) == (cell.has_ended, cell.is_server_error)
    if isinstance(failure, Throttled):
        assert failure.pause_s == cell.pause_s
    assert arrived == 1
    assert_tells_nothing(failure)


@pytest.mark.parametrize("body", [own_error(404), HTML], ids=["own", "html"])
@pytest.mark.parametrize("called", [pytest.param(CALLS[name], id=name) for name in CALLS if name != "delete"])
async def test_not_found_is_sorted_by_what_the_address_names(called: Called, body: bytes) -> None:
    async with MisbehavingServer(answering(404, body)) as server:
        failure = await failure_of(called.invoke, config(server.api_url))
        assert len(server.requests) == 1
    assert type(failure) is called.not_found
    assert_tells_nothing(failure)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("called", CALLS.values(), ids=CALLS)
async def test_redirect_is_the_end_of_a_call(called: Called, status: int) -> None:
    """Following one would send the question, and the key, to wherever it points."""
    behaviour = answering(status, b"", headers={"Location": "/api/v1/elsewhere"})
    async with MisbehavingServer(behaviour) as server:
        failure = await failure_of(called.invoke, config(server.api_url))
    assert failure.detail.endswith(f": {status}, no success")


EMPTY_ANSWERS = {
    "empty": {**MESSAGE, "openai_response": ""},
    "blank": {**MESSAGE, "openai_response": " \n"},
    "null": {**MESSAGE, "openai_response": None},
    "missing": {"id": 9, "user_query": CANARY},
    "of another type": {**MESSAGE, "openai_response": 5},
    "without an id": {**MESSAGE, "id": None},
    "with a truth as id": {**MESSAGE, "id": True},
    "with an id that fits no column": {**MESSAGE, "id": 2**63},
}


@pytest.mark.parametrize("data", EMPTY_ANSWERS.values(), ids=EMPTY_ANSWERS)
async def test_answer_that_is_none_leaves_the_outcome_unknown(data: object) -> None:
    async with MisbehavingServer(answering(200, success(data))) as server:
        failure = await failure_of(CALLS["post"].invoke, config(server.api_url))
        assert len(server.requests) == 1
    assert type(failure) is OutcomeUnknown


@pytest.mark.parametrize("data", [{}, {"id": 5}, {"session_id": ""}, {"session_id": 5}, []])
async def test_created_conversation_without_a_session_is_unknown(data: object) -> None:
    async with MisbehavingServer(answering(201, success(data))) as server:
        failure = await failure_of(CALLS["create"].invoke, config(server.api_url))
    assert type(failure) is OutcomeUnknown


async def test_message_without_an_id_makes_the_listing_unreadable_and_is_not_skipped() -> None:
    data = {"messages": {"data": [MESSAGE, {**MESSAGE, "id": None}]}}
    async with MisbehavingServer(answering(200, success(data))) as server:
        failure = await failure_of(CALLS["list messages"].invoke, config(server.api_url))
    assert type(failure) is Unreachable


@pytest.mark.parametrize("called", CALLS.values(), ids=CALLS)
async def test_the_good_response_satisfies_every_call(called: Called) -> None:
    """Without it the cells above could fail for another reason than the one they are named after."""
    async with (
        MisbehavingServer(sending(GOOD_RESPONSE)) as server,
        CustomGpt(config(server.api_url), key=lambda: KEY, log=lambda *_, **__: None) as api,
    ):
        await called.invoke(api)
        assert len(server.requests) == 1


def assert_tells_nothing(failure: AssistantError) -> None:
    told = f"{failure!s} {failure!r} {failure.__cause__!r} {failure.__context__!r}"
    assert "canary" not in told
    assert "127.0.0.1" not in told
