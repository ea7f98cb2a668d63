"""What the adapter asks of the API, read at the server, and what it makes of pages and fixed texts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.servers_http.behaviours import answering, own_error, response, success
from tests.servers_http.misbehaving import MisbehavingServer, SeenRequest, Wire
from worker.adapters.customgpt import CustomGpt, CustomGptConfig, PlanUsage, ProjectFacts, canned
from worker.core.errors import (
    AssistantError,
    CredentialsRejected,
    CreditsExhausted,
    Throttled,
    Unreachable,
)
from worker.core.model import CannedTexts, MessageOptions

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ANSWER = {"id": 9, "user_query": "q", "openai_response": "Yes.", "conversation_id": 7}


class Scripted:
    """Answers each request with what a function makes of it, and keeps what the adapter logged."""

    def __init__(self, answer: Callable[[SeenRequest], Any]) -> None:
        self.answer = answer
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.key = "1|first"
        self.server = MisbehavingServer(self._behave)

    async def _behave(self, request: SeenRequest, wire: Wire) -> None:
        made = self.answer(request)
        await wire.send(made if isinstance(made, bytes) else response(200, success(made)))

    def api(self) -> CustomGpt:
        config = CustomGptConfig(api_url=self.server.api_url + "/", request_timeout_s=30)
        return CustomGpt(
            config, key=lambda: self.key, log=lambda event, **fields: self.logged.append((event, fields))
        )

    @property
    def requests(self) -> list[SeenRequest]:
        return self.server.requests


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    scripted = Scripted(lambda _: ANSWER)
    async with scripted.server:
        yield scripted


def query_of(request: SeenRequest) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.target).query, keep_blank_values=True)


def page_number(request: SeenRequest) -> int:
    return int(query_of(request)["page"][0])


def paginator(rows: list[Any], *, next_page: bool) -> dict[str, Any]:
    return {"data": rows, "next_page_url": "http://elsewhere.example/?page=2" if next_page else None}


async def post(api: CustomGpt, **changed: Any) -> Any:
    asked = {
        "text": "q",
        "external_id": "c",
        "lang": None,
        "traceparent": None,
        "connect_within_s": 30.0,
    }
    return await api.post_question(1, "s-1", **(asked | changed))


async def test_post_carries_the_question_and_its_tag_unaltered(scripted: Scripted) -> None:
    text = 'Où? "1 + 1"\n\u202e مرحبا \U0001f600 \x00 ' + "x" * 20_000
    external_id = "a&b=c #1/2?%20+é"
    async with scripted.api() as api:
        await post(api, text=text, external_id=external_id, lang="pt-BR&x=1", traceparent=TRACEPARENT)
    (request,) = scripted.requests
    assert request.method == "POST"
    assert urlsplit(request.target).path == "/api/v1/projects/1/conversations/s-1/messages"
    assert query_of(request) == {"stream": ["false"], "external_id": [external_id], "lang": ["pt-BR&x=1"]}
    assert json.loads(request.body) == {"prompt": text}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["cache-control"] == "no-cache"
    assert request.headers["authorization"] == "Bearer 1|first"
    assert request.headers["traceparent"] == TRACEPARENT
    assert "cookie" not in request.headers


async def test_post_names_no_language_and_no_trace_unless_told(scripted: Scripted) -> None:
    async with scripted.api() as api:
        await post(api)
        await post(api, traceparent="00-x\r\nX-Evil: 1")
    for request in scripted.requests:
        assert query_of(request) == {"stream": ["false"], "external_id": ["c"]}
        assert "traceparent" not in request.headers
        assert "x-evil" not in request.headers


async def test_strange_session_id_stays_one_part_of_the_path(scripted: Scripted) -> None:
    async with scripted.api() as api:
        await api.post_question(
            1, "../9/x?y#z", text="q", external_id="c", lang=None, traceparent=None, connect_within_s=30
        )
    assert scripted.requests[0].target.startswith(
        "/api/v1/projects/1/conversations/..%2F9%2Fx%3Fy%23z/messages?"
    )


async def test_new_key_is_used_at_the_next_request(scripted: Scripted) -> None:
    async with scripted.api() as api:
        await post(api)
        scripted.key = "2|second"
        await post(api)
    assert [request.headers["authorization"] for request in scripted.requests] == [
        "Bearer 1|first",
        "Bearer 2|second",
    ]


@pytest.mark.parametrize("key", ["", "a\r\nX-Evil: 1", "clé", "a\x00"])
async def test_key_that_no_header_can_hold_is_rejected_and_not_told(scripted: Scripted, key: str) -> None:
    scripted.key = key
    async with scripted.api() as api:
        with pytest.raises(CredentialsRejected) as caught:
            await post(api)
    assert scripted.requests == []
    assert not key or key not in caught.value.detail


async def test_answer_about_another_question_is_returned_as_it_is(scripted: Scripted) -> None:
    scripted.answer = lambda _: ANSWER | {"user_query": "another", "metadata": {"external_id": "x"}}
    async with scripted.api() as api:
        message = await post(api)
    assert (message.question, message.external_id, message.conversation_id) == ("another", "x", 7)


async def test_create_sends_the_name(scripted: Scripted) -> None:
    scripted.answer = lambda _: response(201, success({"id": 5, "session_id": "s", "name": "crm:é #1"}))
    async with scripted.api() as api:
        made = await api.create_conversation(1, "crm:é #1", connect_within_s=30)
    assert (made.conversation_id, made.session_id) == (5, "s")
    assert scripted.requests[0].target == "/api/v1/projects/1/conversations"
    assert json.loads(scripted.requests[0].body) == {"name": "crm:é #1"}


async def test_all_pages_of_conversations_are_read_by_number(scripted: Scripted) -> None:
    def answer(request: SeenRequest) -> Any:
        number = page_number(request)
        rows = [
            {"id": number, "session_id": f"s{number}", "name": "n", "deleted_at": None},
            "malformed",
            {"id": 0},
        ]
        if number == 2:
            rows.append({"id": 1, "session_id": "s1", "name": "n", "deleted_at": None})
            rows.append({"id": 9, "session_id": "gone", "name": "n", "deleted_at": "2026-01-01 00:00:00"})
        return paginator(rows, next_page=number < 3)

    scripted.answer = answer
    async with scripted.api() as api:
        found = await api.find_conversations(1, "a b&c")
    assert [(one.session_id, one.is_deleted) for one in found] == [
        ("s1", False),
        ("s2", False),
        ("gone", True),
        ("s3", False),
    ]
    assert [query_of(request) for request in scripted.requests] == [
        {"userFilter": ["all"], "name": ["a b&c"], "page": [str(number)]} for number in (1, 2, 3)
    ]


async def test_last_page_alone_leads_on_as_well(scripted: Scripted) -> None:
    scripted.answer = lambda request: {"data": [{"session_id": f"s{page_number(request)}"}], "last_page": 2}
    async with scripted.api() as api:
        assert len(await api.find_conversations(1, "n")) == 2


async def test_listing_without_an_end_is_refused(scripted: Scripted) -> None:
    scripted.answer = lambda _: paginator([{"session_id": "s", "name": "n"}], next_page=True)
    async with scripted.api() as api:
        with pytest.raises(Unreachable, match="pages without end"):
            await api.find_conversations(1, "n")
    assert len(scripted.requests) == 2


async def test_endless_pages_of_new_rows_are_refused(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.adapters.customgpt.requests.MAX_PAGES", 5)
    scripted.answer = lambda request: paginator([{"session_id": f"s{page_number(request)}"}], next_page=True)
    async with scripted.api() as api:
        with pytest.raises(Unreachable, match="pages without end"):
            await api.find_conversations(1, "n")
    assert len(scripted.requests) == 5


def messages_descending(request: SeenRequest) -> Any:
    """Serve the messages 60 to 1, newest first, twenty a page."""
    top = 60 - 20 * (page_number(request) - 1)
    rows = [{"id": number, "user_query": f"q{number}"} for number in range(top, top - 20, -1)]
    return {"conversation": {"id": 7}, "messages": paginator(rows, next_page=top > 20)}


@pytest.mark.parametrize(
    ("above", "pages", "expected"),
    [
        (-1, 1, range(60, 40, -1)),
        (45, 1, range(60, 45, -1)),
        (40, 2, range(60, 40, -1)),
        (0, 3, range(60, 0, -1)),
    ],
)
async def test_messages_are_listed_until_ids_fall_to_the_baseline(
    scripted: Scripted, above: int, pages: int, expected: range
) -> None:
    scripted.answer = messages_descending
    async with scripted.api() as api:
        listing = await api.list_messages(1, "s-1", above=above)
    assert [message.message_id for message in listing.messages] == list(expected)
    assert listing.conversation_id == 7
    assert [query_of(request) for request in scripted.requests] == [
        {"order": ["desc"], "page": [str(number + 1)]} for number in range(pages)
    ]


async def test_messages_of_an_empty_conversation_are_none(scripted: Scripted) -> None:
    scripted.answer = lambda _: {"conversation": {"id": 7}, "messages": paginator([], next_page=False)}
    async with scripted.api() as api:
        listing = await api.list_messages(1, "s-1", above=-1)
    assert (listing.messages, listing.conversation_id) == ((), 7)


async def test_delete_of_what_is_gone_is_no_error(scripted: Scripted) -> None:
    scripted.answer = lambda _: response(404, own_error(404))
    async with scripted.api() as api:
        await api.delete_conversation(1, "s-1")
    assert scripted.requests[0].method == "DELETE"


async def test_rename_puts_the_name(scripted: Scripted) -> None:
    scripted.answer = lambda _: {"id": 5, "session_id": "s-1", "name": "new"}
    async with scripted.api() as api:
        assert (await api.rename_conversation(1, "s-1", "new")).name == "new"
    assert (scripted.requests[0].method, json.loads(scripted.requests[0].body)) == ("PUT", {"name": "new"})


async def test_project_and_plan_can_be_asked(scripted: Scripted) -> None:
    def answer(request: SeenRequest) -> Any:
        if request.target == "/api/v1/limits/usage":
            return {"max_queries": 500, "current_queries": "17", "max_projects_num": 10}
        return {"id": 1, "project_name": "Help", "is_chat_active": 1}

    scripted.answer = answer
    async with scripted.api() as api:
        assert await api.project(1) == ProjectFacts(project_id=1, name="Help", is_chat_active=True)
        await api.check_project(1)
        assert await api.limits() == PlanUsage(
            max_queries=500, current_queries=17, max_projects=10, current_projects=None
        )
    assert [request.target for request in scripted.requests[:2]] == ["/api/v1/projects/1"] * 2


SETTINGS = {"no_answer_message": "No idea.", "chatbot_siesta_msg": "Oops.", "account_out_of_queries_msg": " "}
TEXTS = CannedTexts(no_answer="No idea.", agent_problem="Oops.", out_of_queries=None)


async def test_canned_texts_are_fetched_once_for_everybody(scripted: Scripted) -> None:
    scripted.answer = lambda _: SETTINGS
    async with scripted.api() as api:
        assert await asyncio.gather(*(api.canned_texts(1) for _ in range(50))) == [TEXTS] * 50
        assert await api.canned_texts(1) == TEXTS
    assert [request.target for request in scripted.requests] == ["/api/v1/projects/1/settings"]


async def test_canned_texts_that_cannot_be_had_are_empty_and_asked_for_again_later(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answer = lambda _: response(503, b"")
    monkeypatch.setattr(canned, "FIRST_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(canned, "TRY_AGAIN_S", (600.0, 600.0))
    async with scripted.api() as api:
        assert await api.canned_texts(1) == CannedTexts()
        assert await api.canned_texts(1) == CannedTexts()
        assert len(scripted.requests) == 3, "the first fetch is tried more than once"
        assert scripted.logged == [("canned_texts.missed", {"project_id": 1, "error_code": "unreachable"})]

        scripted.answer = lambda _: SETTINGS
        api._canned._shelves[1].look_at = 0.0
        async with asyncio.timeout(30):
            while await api.canned_texts(1) != TEXTS:  # noqa: ASYNC110 - fetched behind the caller's back
                await asyncio.sleep(0.01)
    assert len(scripted.requests) == 4


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (response(429, b"", headers={"Retry-After": "30"}), Throttled),
        (response(429, own_error(429, "You have exhausted your current query credits.")), CreditsExhausted),
    ],
)
async def test_refusal_of_canned_texts_that_holds_up_the_fleet_is_told_to_who_asked(
    scripted: Scripted, refusal: bytes, kind: type[AssistantError]
) -> None:
    scripted.answer = lambda _: refusal
    async with scripted.api() as api:
        told = await asyncio.gather(*(api.canned_texts(1) for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in told] == [kind, *[CannedTexts] * 4]
        assert await api.canned_texts(1) == CannedTexts()
    assert len(scripted.requests) == 1


async def test_canned_texts_survive_a_caller_that_is_cancelled(scripted: Scripted) -> None:
    scripted.answer = lambda _: SETTINGS
    async with scripted.api() as api:
        first = asyncio.create_task(api.canned_texts(1))
        second = asyncio.create_task(api.canned_texts(1))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == TEXTS
        assert first.cancelled()
    assert len(scripted.requests) == 1


async def test_canned_texts_do_not_hold_an_answer_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: SeenRequest, __: Wire) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(canned, "WITHIN_S", 0.1)
    async with MisbehavingServer(never) as server:
        config = CustomGptConfig(api_url=server.api_url)
        async with CustomGpt(config, key=lambda: "k", log=lambda *_, **__: None) as api:
            assert await api.canned_texts(1) == CannedTexts()


async def test_closing_gives_up_a_fetch_of_canned_texts() -> None:
    async def never(_: SeenRequest, __: Wire) -> None:
        is_here.set()
        await asyncio.Event().wait()

    is_here = asyncio.Event()
    async with MisbehavingServer(never) as server:
        config = CustomGptConfig(api_url=server.api_url)
        async with CustomGpt(config, key=lambda: "k", log=lambda *_, **__: None) as api:
            asking = asyncio.create_task(api.canned_texts(1))
            await is_here.wait()
        assert await asking == CannedTexts()


async def test_settings_that_are_none_leave_the_texts_empty() -> None:
    async with MisbehavingServer(answering(200, success([]))) as server:
        config = CustomGptConfig(api_url=server.api_url)
        async with CustomGpt(config, key=lambda: "k", log=lambda *_, **__: None) as api:
            assert await api.canned_texts(1) == CannedTexts()


async def test_post_names_the_options_that_are_set_and_no_others(scripted: Scripted) -> None:
    options = MessageOptions(custom_persona="A guide.", response_source="own_content")
    async with scripted.api() as api:
        await post(api, options=options)
        await post(api)
    bodies = [json.loads(request.body) for request in scripted.requests]
    assert bodies[0] == {"prompt": "q", "custom_persona": "A guide.", "response_source": "own_content"}
    assert bodies[1] == {"prompt": "q"}
