"""The sandbox's Inkeep Analytics API: upserts by id, the lookup by external id, its own kind of errors."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from worker.sandbox.server import listening
from worker.sandbox.switches import Switches
from worker.sandbox.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUESTION = {"role": "user", "content": "What are your hours?"}
ANSWER = {"role": "assistant", "content": "Nine to five.", "links": [{"url": "https://www.example.com"}]}
MIRRORED: dict[str, Any] = {
    "id": "askrelay-1",
    "type": "openai",
    "externalId": "EXT 1/é",
    "messages": [QUESTION, ANSWER],
    "userProperties": {"userId": "EXT 1/é"},
    "properties": {"ticket": "T-9"},
}


@pytest.fixture
def world() -> World:
    return make_world(Switches(latency_s=0.0, requests_per_minute=1), seed=1)


@pytest.fixture
async def api(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        listening(world, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield session


async def ask(
    api: aiohttp.ClientSession, method: str, path: str, body: Any = None, key: str = "api-key"
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    # aiohttp warns of large bodies that are no files.
    data = None if body is None else io.BytesIO(json.dumps(body).encode())
    async with api.request(method, path, data=data, headers=headers) as answer:
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json"
        return answer.status, await answer.json()


async def test_conversation_is_made_and_found_by_its_external_id(
    api: aiohttp.ClientSession, world: World
) -> None:
    status, made = await ask(api, "POST", "/conversations", MIRRORED)
    assert (status, made["id"], made["externalId"]) == (200, "askrelay-1", "EXT 1/é")
    status, found = await ask(api, "GET", "/conversations/external/EXT%201%2F%C3%A9")
    assert (status, found) == (200, made)
    assert [each["role"] for each in found["messages"]] == ["user", "assistant"]
    assert found["messagesOpenAIFormat"][1] == {"role": "assistant", "content": "Nine to five."}
    (effect,) = world.effects.page(kind="conversation_mirrored")["effects"]
    assert (effect["session_id"], effect["external_id"]) == ("askrelay-1", "EXT 1/é")


async def test_conversation_with_the_same_id_is_replaced(api: aiohttp.ClientSession) -> None:
    first = (await ask(api, "POST", "/conversations", MIRRORED))[1]
    more = {**MIRRORED, "messages": [QUESTION, ANSWER, QUESTION, ANSWER]}
    second = (await ask(api, "POST", "/conversations", more))[1]
    assert (second["id"], second["createdAt"], len(second["messages"])) == (
        first["id"],
        first["createdAt"],
        4,
    )
    listed = (await ask(api, "GET", "/conversations"))[1]
    assert (listed["total"], listed["count"], listed["pageSize"]) == (1, 1, 20)


async def test_conversation_without_an_id_is_always_another(api: aiohttp.ClientSession) -> None:
    anonymous = {name: value for name, value in MIRRORED.items() if name != "id"}
    made = [(await ask(api, "POST", "/conversations", anonymous))[1]["id"] for _ in range(2)]
    assert made[0] != made[1]
    assert (await ask(api, "GET", "/conversations/external/EXT%201%2F%C3%A9"))[1]["id"] == made[1]
    page = (await ask(api, "GET", "/conversations?limit=1&offset=1"))[1]
    assert ([each["id"] for each in page["conversations"]], page["total"]) == ([made[0]], 2)


async def test_conversation_can_be_read_and_deleted_by_its_id(api: aiohttp.ClientSession) -> None:
    await ask(api, "POST", "/conversations", MIRRORED)
    assert (await ask(api, "GET", "/conversations/askrelay-1"))[0] == 200
    assert (await ask(api, "DELETE", "/conversations/askrelay-1"))[1]["success"] is True
    assert (await ask(api, "GET", "/conversations/askrelay-1"))[0] == 404
    assert (await ask(api, "DELETE", "/conversations/askrelay-1"))[0] == 404


@pytest.mark.parametrize(
    ("request_line", "body", "key", "error"),
    [
        ("POST /conversations", {}, "api-key", (400, "bad_request")),
        ("GET /conversations?limit=x", None, "api-key", (400, "bad_request")),
        ("GET /conversations/external/x", None, "wrong", (401, "unauthorized")),
        ("GET /conversations/external/x", None, "web-key", (403, "forbidden")),
        ("GET /conversations/external/x", None, "api-key", (404, "not_found")),
        ("GET /conversations/x/y/z", None, "api-key", (404, "not_found")),
        ("PUT /conversations/x", {}, "api-key", (405, "method_not_allowed")),
        ("POST /conversations", {**MIRRORED, "messages": []}, "api-key", (422, "unprocessable_entity")),
        ("POST /conversations", {**MIRRORED, "type": "chat"}, "api-key", (422, "unprocessable_entity")),
        ("POST /conversations", {**MIRRORED, "externalId": 5}, "api-key", (422, "unprocessable_entity")),
        (
            "POST /conversations",
            {**MIRRORED, "messages": [{"role": "user", "content": None}]},
            "api-key",
            (422, "unprocessable_entity"),
        ),
    ],
)
async def test_error_is_a_problem(
    api: aiohttp.ClientSession, request_line: str, body: Any, key: str, error: tuple[int, str]
) -> None:
    method, path = request_line.split()
    (status, code), (seen, problem) = error, await ask(api, method, path, body, key)
    assert (seen, problem["status"], problem["code"]) == (status, status, code)
    assert problem["error"]["code"] == code
    assert problem["instance"] == path.partition("?")[0]


def of_bytes(size: int) -> dict[str, Any]:
    """Return a conversation whose body is so large."""
    made = {**MIRRORED, "messages": [{**QUESTION, "content": ""}]}
    return {**made, "messages": [{**QUESTION, "content": "x" * (size - len(json.dumps(made)))}]}


async def test_body_may_have_two_megabytes(api: aiohttp.ClientSession) -> None:
    status, made = await ask(api, "POST", "/conversations", of_bytes(2_000_000))
    assert (status, made["id"]) == (200, "askrelay-1")
    status, problem = await ask(api, "POST", "/conversations", of_bytes(2_000_001))
    assert (status, problem["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize(("status", "code"), [(500, "internal_server_error"), (422, "unprocessable_entity")])
async def test_fault_speaks_its_language(
    api: aiohttp.ClientSession, world: World, status: int, code: str
) -> None:
    action = {"kind": "reply", "when": "before_work", "status": status}
    world.faults.replace([{"match": {"call": "inkeep_upsert"}, "action": action}])
    seen, problem = await ask(api, "POST", "/conversations", MIRRORED)
    assert (seen, problem["code"]) == (status, code)
    assert world.mirror.conversations == {}


async def test_ticket_may_have_messages_without_content_and_a_web_key_may_write(
    api: aiohttp.ClientSession,
) -> None:
    body = {"type": "support_ticket", "messages": [{"role": "agent", "content": None}]}
    assert (await ask(api, "POST", "/conversations", body, "web-key"))[0] == 200


async def test_calls_take_no_part_in_the_pace_of_customgpt(api: aiohttp.ClientSession, world: World) -> None:
    for _ in range(3):
        assert (await ask(api, "POST", "/conversations", MIRRORED))[0] == 200
    status, _ = await ask_customgpt(api)
    assert status == 200
    summary = world.effects.summary()
    assert (summary["mirrored"], summary["open_requests"], summary["max_at_once"]) == (3, 0, 1)


async def ask_customgpt(api: aiohttp.ClientSession) -> tuple[int, Any]:
    headers = {"Authorization": "Bearer 1|key"}
    async with api.get("/api/v1/projects/123", headers=headers) as answer:
        return answer.status, await answer.json()
