"""The sandbox's OpenAI-style call: plain and streamed, what it refuses, how it breaks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from worker.sandbox.answers import answer_to
from worker.sandbox.server import listening
from worker.sandbox.switches import Switches
from worker.sandbox.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/api/v1/projects/123/chat/completions"
KEY = {"Authorization": "Bearer 1|key"}
ASKED: dict[str, Any] = {
    "external_id": "EXT_1",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "What are your hours?"},
    ],
    "lang": "en",
}


@pytest.fixture
def world() -> World:
    return make_world(Switches(latency_s=0.0), seed=1)


@pytest.fixture
async def api(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        listening(world, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=KEY) as session,
    ):
        yield session


async def ask(api: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[int, Any]:
    async with api.post(PATH, json=body) as answer:
        return answer.status, await answer.json()


async def stream(api: aiohttp.ClientSession) -> list[str]:
    """Return the data of every event that came, however the stream ended."""
    seen = b""
    async with api.post(PATH, json={**ASKED, "stream": True}) as answer:
        assert answer.content_type == "text/event-stream"
        try:
            async for piece in answer.content.iter_any():
                seen += piece
        except aiohttp.ClientError:
            pass
    return [event.removeprefix("data: ") for event in seen.decode().split("\n\n") if event]


def recorded(world: World, kind: str) -> list[dict[str, Any]]:
    return list(world.effects.page(kind=kind)["effects"])


def text_of(events: list[str]) -> str:
    chunks = [json.loads(event) for event in events if event.startswith("{")]
    return "".join(each["choices"][0]["delta"].get("content", "") for each in chunks if "choices" in each)


async def test_completion_answers_the_last_question_without_an_envelope_or_a_conversation(
    api: aiohttp.ClientSession, world: World
) -> None:
    status, body = await ask(api, ASKED)
    assert status == 200
    assert list(body) == ["id", "object", "created", "model", "usage", "choices"]
    assert (body["object"], body["model"], isinstance(body["id"], str)) == ("chat.completion", None, True)
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": answer_to("What are your hours?"),
    }
    (effect,) = recorded(world, "completion")
    assert (effect["question"], effect["external_id"]) == ("What are your hours?", "EXT_1")
    assert (effect["session_id"], effect["conversation_id"]) == (None, None)
    summary = world.effects.summary()
    assert (summary["completions"], summary["billed_queries"], summary["posts"]) == (1, 1, 0)
    async with api.get("/api/v1/projects/123/reports/traffic?filters=sources") as answer:
        sources = (await answer.json())["data"]["sources"]
    assert sources == [{"request_source": "api-openai", "request_source_number": 1}]


async def test_completion_streams_chunks_and_is_done(api: aiohttp.ClientSession, world: World) -> None:
    events = await stream(api)
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {each["object"] for each in chunks} == {"chat.completion.chunk"}
    assert len({each["id"] for each in chunks}) == 1
    assert [each["choices"][0]["finish_reason"] for each in chunks[-2:]] == [None, "stop"]
    assert text_of(events) == answer_to("What are your hours?")
    assert len(recorded(world, "completion")) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"messages": []}, 400),
        ({"messages": None}, 400),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400),
        ({"messages": [{"role": "user", "content": 5}]}, 400),
        ({"messages": [{"role": "system", "content": "x"}]}, 400),
        ({"external_id": "x" * 129}, 400),
        ({"modalities": 5}, 400),
        ({"modalities": "audio"}, 400),
        ({"modalities": ["text", "audio"]}, 501),
        ({"audio": {"voice": "x"}}, 501),
    ],
)
async def test_completion_refuses_what_the_api_does_not_take(
    api: aiohttp.ClientSession, world: World, changes: dict[str, Any], status: int
) -> None:
    seen, body = await ask(api, ASKED | changes)
    assert (seen, body["data"]["code"]) == (status, status)
    assert recorded(world, "completion") == []


async def test_completion_is_refused_when_the_queries_are_used_up(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.max_queries = 0
    assert (await ask(api, ASKED))[0] == 429
    world.switches.out_of_queries = "canned_answer"
    status, body = await ask(api, ASKED)
    assert status == 200
    assert body["choices"][0]["message"]["content"] == "This account has used up its queries."
    assert world.effects.summary()["billed_queries"] == 0


@pytest.mark.parametrize(("when", "completions"), [("before_work", 0), ("after_work", 1)])
@pytest.mark.parametrize("kind", ["reset", "sse_truncated", "sse_error"])
async def test_completion_breaks_in_the_middle_of_its_stream(
    api: aiohttp.ClientSession, world: World, kind: str, when: str, completions: int
) -> None:
    action = {"kind": kind, "when": when} | ({"at": "mid_body"} if kind == "reset" else {})
    world.faults.replace([{"match": {"call": "complete"}, "action": action}])
    events = await stream(api)
    assert "[DONE]" not in events
    assert answer_to("What are your hours?").startswith(text_of(events))
    assert len(recorded(world, "completion")) == completions
    assert any("error" in json.loads(event) for event in events) is (kind == "sse_error")


async def test_completion_counts_as_a_post_under_way_and_takes_the_answer_of_a_fault(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.faults.replace([{"match": {"call": "complete"}, "action": {"kind": "answer", "answer": "null"}}])
    assert (await ask(api, ASKED))[1]["choices"][0]["message"]["content"] is None
    assert world.effects.summary()["max_posts_at_once"] == 1
