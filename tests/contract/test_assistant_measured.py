"""Every HTTP request to the API is told to whoever measures: its call, its status, its time, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.servers.ports import free_port
from tests.servers_http.behaviours import answering, closing_after, own_error, response, success
from tests.servers_http.misbehaving import Behaviour, MisbehavingServer, SeenRequest, Wire
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.core.errors import AssistantError

ANSWER = success({"id": 9, "user_query": "q", "openai_response": "Yes."})
CUT_OFF = response(200, ANSWER)[:-5]

Seen = list[tuple[str, int | None]]


async def post(api: CustomGpt) -> None:
    with suppress(AssistantError):
        await api.post_question(
            1, "s", text="q", external_id="c", lang=None, traceparent=None, connect_within_s=30.0
        )


@asynccontextmanager
async def measured(api_url: str, seen: Seen) -> AsyncIterator[CustomGpt]:
    """Yield an adapter that notes each request in ``seen``."""

    def note(call: str, status: int | None, duration_s: float) -> None:
        assert duration_s >= 0
        seen.append((call, status))

    config = CustomGptConfig(api_url=api_url)
    async with CustomGpt(config, key=lambda: "k", log=lambda *_, **__: None, on_exchange=note) as api:
        yield api


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (answering(200, ANSWER), 200),
        (answering(200, b"no json"), 200),
        (closing_after(CUT_OFF), 200),
        (answering(429, own_error(429)), 429),
        (answering(502, b"<html>", content_type="text/html"), 502),
        (closing_after(b""), None),
    ],
    ids=["success", "garbage", "cut off", "429", "502 of a proxy", "no answer"],
)
async def test_a_post_is_told_with_the_status_that_came(behaviour: Behaviour, status: int | None) -> None:
    seen: Seen = []
    async with MisbehavingServer(behaviour) as server, measured(server.api_url, seen) as api:
        await post(api)
    assert seen == [("post_question", status)]


async def test_a_request_that_nobody_answers_is_told_without_a_status() -> None:
    seen: Seen = []
    async with measured(f"http://127.0.0.1:{free_port()}/api/v1", seen) as api:
        await post(api)
    assert seen == [("post_question", None)]


async def test_a_request_that_is_cut_off_by_us_is_told_without_a_status() -> None:
    seen: Seen = []
    has_come = asyncio.Event()

    async def hang(_: SeenRequest, __: Wire) -> None:
        has_come.set()
        await asyncio.get_running_loop().create_future()

    async with MisbehavingServer(hang) as server, measured(server.api_url, seen) as api:
        posting = asyncio.create_task(post(api))
        await has_come.wait()
        posting.cancel()
        await asyncio.wait([posting])
    assert seen == [("post_question", None)]


async def test_each_page_of_a_listing_is_a_request() -> None:
    seen: Seen = []

    async def page(request: SeenRequest, wire: Wire) -> None:
        is_first = request.target.endswith("page=1")
        rows = [{"id": 7 if is_first else 8, "session_id": "s", "name": "n"}]
        listing = {"data": rows, "next_page_url": "http://api.example/?page=2" if is_first else None}
        await wire.send(response(200, success(listing)))

    async with MisbehavingServer(page) as server, measured(server.api_url, seen) as api:
        await api.find_conversations(1, "n")
    assert seen == [("find_conversations", 200)] * 2
