"""What an operator's calls ask of the API, read at the server, and how they end when it misbehaves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.servers_http.behaviours import own_error, response, success
from tests.servers_http.misbehaving import MisbehavingServer, SeenRequest, Wire
from worker.adapters.customgpt import CustomGptConfig
from worker.adapters.customgpt_admin import CustomGptAdmin, IndexingState, RefusedError
from worker.core.errors import (
    ConversationGone,
    CredentialsRejected,
    OutcomeUnknown,
    ProjectNotFound,
    Throttled,
    Unreachable,
)

CONVERSATION = {"id": 5, "session_id": "s-1", "name": "n"}


class Scripted:
    """Answers each request with what a function makes of it; the pauses that were kept are noted."""

    def __init__(self) -> None:
        self.answer: Callable[[SeenRequest], Any] = lambda _: CONVERSATION
        self.pauses: list[float] = []
        self.server = MisbehavingServer(self._behave)

    async def _behave(self, request: SeenRequest, wire: Wire) -> None:
        made = self.answer(request)
        await wire.send(made if isinstance(made, bytes) else response(200, success(made)))

    def api(self, key: str = "1|key") -> CustomGptAdmin:
        config = CustomGptConfig(api_url=self.server.api_url + "/", request_timeout_s=30)
        return CustomGptAdmin(config, key=lambda: key, on_pause=self.pauses.append)

    @property
    def requests(self) -> list[SeenRequest]:
        return self.server.requests


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    async with scripted.server:
        yield scripted


def query_of(request: SeenRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}


async def test_list_asks_for_every_page_with_its_filters(scripted: Scripted) -> None:
    def page(request: SeenRequest) -> Any:
        number = int(query_of(request)["page"])
        row = {"id": number, "session_id": f"s-{number}", "name": "n"}
        return {"data": [row, {"id": 9, "name": "no session"}], "last_page": "3"}

    scripted.answer = page
    async with scripted.api() as api:
        found = await api.conversations(7, name_part="a b&c", user="me")
    assert [row.session_id for row in found] == ["s-1", "s-2", "s-3"]
    assert [query_of(each)["page"] for each in scripted.requests] == ["1", "2", "3"]
    assert {query_of(each)["name"] for each in scripted.requests} == {"a b&c"}
    assert {query_of(each)["userFilter"] for each in scripted.requests} == {"me"}
    assert {each.headers["authorization"] for each in scripted.requests} == {"Bearer 1|key"}


async def test_list_refuses_a_server_that_ignores_the_page(scripted: Scripted) -> None:
    scripted.answer = lambda _: {"data": [CONVERSATION], "next_page_url": "another"}
    async with scripted.api() as api:
        with pytest.raises(Unreachable):
            await api.conversations(7)
    assert len(scripted.requests) == 2


async def test_messages_of_an_empty_conversation_still_name_it(scripted: Scripted) -> None:
    scripted.answer = lambda _: {"conversation": CONVERSATION, "messages": {"data": []}}
    async with scripted.api() as api:
        stored = await api.messages(7, "s-1")
    assert (stored.conversation.name if stored.conversation else None, stored.messages) == ("n", ())


async def test_project_is_created_with_a_form_as_documented(scripted: Scripted) -> None:
    scripted.answer = lambda _: response(
        201, success({"id": "12", "project_name": "Zoë", "is_chat_active": None})
    )
    async with scripted.api() as api:
        made = await api.create_project("Zoë\r\n--x", "https://www.example.com/sitemap.xml")
    assert (made.project_id, made.is_chat_active) == (12, None)
    (request,) = scripted.requests
    assert (request.method, urlsplit(request.target).path) == ("POST", "/api/v1/projects")
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts()
    form = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts
    }
    assert form == {
        "project_name": "Zoë\r\n--x".encode(),
        "sitemap_path": b"https://www.example.com/sitemap.xml",
    }


async def test_refusal_of_a_change_has_the_words_of_the_api(scripted: Scripted) -> None:
    body = {"status": "error", "data": {"code": 400, "message": "You have reached your agent limit\x1b[2J"}}
    scripted.answer = lambda _: response(400, json.dumps(body).encode())
    async with scripted.api() as api:
        with pytest.raises(RefusedError, match=r"^You have reached your agent limit\[2J$"):
            await api.create_project("n", "s")


@pytest.mark.parametrize(
    ("status", "error"), [(401, CredentialsRejected), (403, CredentialsRejected), (500, OutcomeUnknown)]
)
async def test_bad_end_of_a_change_has_its_name(
    scripted: Scripted, status: int, error: type[Exception]
) -> None:
    scripted.answer = lambda _: response(status, own_error(status))
    async with scripted.api() as api:
        with pytest.raises(error):
            await api.rename_conversation(7, "s-1", "new")


async def test_404_says_what_is_missing(scripted: Scripted) -> None:
    scripted.answer = lambda _: response(404, own_error(404))
    async with scripted.api() as api:
        with pytest.raises(ConversationGone):
            await api.messages(7, "s-1")
        with pytest.raises(ConversationGone):
            await api.delete_conversation(7, "s-1")
        with pytest.raises(ProjectNotFound):
            await api.conversations(7)
        with pytest.raises(ProjectNotFound):
            await api.indexing(7)


async def test_pause_is_kept_and_the_request_sent_again(scripted: Scripted) -> None:
    def answer(_: SeenRequest) -> Any:
        if len(scripted.requests) < 3:
            return response(429, b'{"message":"Too Many Attempts."}', headers={"Retry-After": "0"})
        return CONVERSATION

    scripted.answer = answer
    async with scripted.api() as api:
        assert (await api.rename_conversation(7, "s-1", "new")).session_id == "s-1"
    assert scripted.pauses == [1.0, 1.0]


async def test_pause_that_is_too_long_is_not_kept(scripted: Scripted) -> None:
    scripted.answer = lambda _: response(429, b"{}", headers={"Retry-After": "3600"})
    async with scripted.api() as api:
        with pytest.raises(Throttled):
            await api.plan()
    assert scripted.pauses == []


@pytest.mark.parametrize("session_id", ["", ".", "..", "../../1"])
async def test_session_that_is_a_path_is_never_asked_for(scripted: Scripted, session_id: str) -> None:
    async with scripted.api() as api:
        with pytest.raises(ConversationGone):
            await api.delete_conversation(7, session_id)
    assert scripted.requests == []


@pytest.mark.parametrize("key", ["", "a\nb", "ключ"])
async def test_key_that_no_header_holds_is_refused_before_anything_is_sent(
    scripted: Scripted, key: str
) -> None:
    async with scripted.api(key) as api:
        with pytest.raises(CredentialsRejected):
            await api.plan()
    assert scripted.requests == []


async def test_figures_that_the_api_leaves_out_are_none(scripted: Scripted) -> None:
    scripted.answer = lambda _: {"pages_found": "10", "pages_indexed": None}
    async with scripted.api() as api:
        assert await api.indexing(7) == IndexingState(10, None, None, None)
        plan = await api.plan()
    assert plan.queries == (None, None)


@pytest.mark.parametrize(
    ("found", "indexed", "is_done"), [(None, None, False), (0, 0, False), (5, 4, False), (5, 5, True)]
)
def test_indexing_is_done_when_all_that_was_found_is_indexed(
    found: int | None, indexed: int | None, is_done: bool
) -> None:
    assert IndexingState(found, None, indexed, None).is_done is is_done


async def test_sources_of_traffic_are_read_without_those_that_name_none(scripted: Scripted) -> None:
    rows = [{"request_source": "api", "request_source_number": "3"}, {"request_source": None}, "x"]
    scripted.answer = lambda _: {"sources": rows}
    async with scripted.api() as api:
        assert await api.traffic(7) == {"api": 3}
        assert "filters=sources" in scripted.requests[0].target
