"""Each fault as it arrives at a caller, and what was really done meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from worker.sandbox.server import listening
from worker.sandbox.switches import Switches
from worker.sandbox.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIST = "/api/v1/projects/123/conversations"
POST = f"{LIST}/s1/messages"
HEAD = (
    f"POST {POST}{{query}} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer k\r\n"
    "Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
)


@pytest.fixture
def world() -> World:
    return make_world(Switches(latency_s=0.0, unknown_session="create"), seed=1)


@pytest.fixture
async def port(world: World) -> AsyncIterator[int]:
    async with listening(world, host="127.0.0.1", port=0) as port:
        yield port


async def post_raw(port: int, *, query: str = "", prompt: str = "Why?") -> tuple[bytes, str]:
    """Post over a bare socket; gives the bytes that came and how the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"prompt": prompt}).encode()
    writer.write(HEAD.format(query=query, size=len(body)).encode() + body)
    received = b""
    try:
        async with asyncio.timeout(10):
            while chunk := await reader.read(65536):
                received += chunk
    except ConnectionResetError:
        return received, "reset"
    finally:
        writer.close()
    return received, "closed"


async def post(port: int, **query: str) -> tuple[int, str, dict[str, str]]:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer k"}) as session,
        session.post(POST, json={"prompt": "Why?"}, params=query, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text(errors="replace"), dict(answer.headers)


def break_posts(world: World, **action: Any) -> None:
    world.faults.replace([{"match": {"call": "post"}, "action": action}])


@pytest.mark.parametrize(("when", "posts"), [("before_work", 0), ("after_work", 1)])
@pytest.mark.parametrize(
    ("at", "has_head", "has_body"),
    [("before_headers", False, False), ("after_headers", True, False), ("mid_body", True, True)],
)
@pytest.mark.parametrize(("kind", "end"), [("reset", "reset"), ("close", "closed")])
async def test_cut_happens_where_it_should_and_the_work_is_done_or_not(
    port: int,
    world: World,
    *,
    kind: str,
    end: str,
    at: str,
    has_head: bool,
    has_body: bool,
    when: str,
    posts: int,
) -> None:
    break_posts(world, kind=kind, at=at, when=when)
    received, ended = await post_raw(port)
    head, _, body = received.partition(b"\r\n\r\n")
    assert ended == end
    assert bool(head) is has_head
    assert bool(body) is has_body
    if has_head:
        assert f"Content-Length: {len(body)}".encode() not in head
    assert world.effects.summary()["posts"] == posts
    last = world.effects.page()["effects"][-1]
    assert (last["kind"], last["fault"], last["status"]) == ("request", kind, 200 if has_head else None)
    assert world.effects.summary()["open_requests"] == 0


async def test_third_post_to_a_session_is_done_and_then_reset(port: int, world: World) -> None:
    world.faults.replace(
        [
            {
                "match": {"call": "post", "session_id": "s1", "nth": 3},
                "action": {"kind": "reset", "when": "after_work"},
            }
        ]
    )
    assert [(await post(port))[0] for _ in range(2)] == [200, 200]
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(port)
    assert (await post(port))[0] == 200
    assert world.effects.summary()["posts"] == 4


@pytest.mark.parametrize(
    ("action", "status", "content_type"),
    [
        ({"kind": "reply", "status": 401}, 401, "application/json"),
        ({"kind": "reply", "status": 403}, 403, "application/json"),
        ({"kind": "reply", "status": 404}, 404, "application/json"),
        ({"kind": "reply", "status": 422}, 422, "application/json"),
        ({"kind": "reply", "status": 500}, 500, "application/json"),
        ({"kind": "reply", "status": 502}, 502, "text/html"),
        ({"kind": "reply", "status": 503, "body": "envelope"}, 503, "application/json"),
        ({"kind": "reply", "status": 504}, 504, "text/html"),
        ({"kind": "reply", "status": 200, "body": "html"}, 200, "text/html"),
        ({"kind": "reply", "status": 500, "body": "empty"}, 500, "text/html"),
        ({"kind": "credits"}, 429, "application/json"),
        ({"kind": "throttle"}, 429, "application/json"),
    ],
)
@pytest.mark.parametrize(("when", "posts"), [("before_work", 0), ("after_work", 1)])
async def test_other_reply_is_sent_and_the_work_is_done_or_not(
    port: int, world: World, *, action: dict[str, Any], status: int, content_type: str, when: str, posts: int
) -> None:
    break_posts(world, **action, when=when)
    got, text, headers = await post(port)
    assert (got, headers["Content-Type"].partition(";")[0]) == (status, content_type)
    if content_type == "application/json":
        json.loads(text)
    assert world.effects.summary()["posts"] == posts


async def test_other_reply_names_its_own_text_and_retry_after(port: int, world: World) -> None:
    break_posts(world, kind="reply", status=503, body="envelope", message="Busy", retry_after=7)
    status, text, headers = await post(port)
    assert (status, json.loads(text)["data"]["message"], headers["Retry-After"]) == (503, "Busy", "7")


async def test_redirect_names_where_to_go(port: int, world: World) -> None:
    break_posts(world, kind="reply", status=302)
    status, _, headers = await post(port)
    assert (status, headers["Location"]) == (302, "/login")


@pytest.mark.parametrize("body", ["garbage", "truncated"])
async def test_unreadable_200_is_no_json(port: int, world: World, body: str) -> None:
    break_posts(world, kind="reply", status=200, body=body, when="after_work")
    status, text, _ = await post(port)
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert world.effects.summary()["posts"] == 1


async def test_wrong_schema_is_json_of_another_shape(port: int, world: World) -> None:
    break_posts(world, kind="reply", status=200, body="wrong_schema")
    assert isinstance(json.loads((await post(port))[1])["data"], list)


async def test_answer_of_one_call_is_canned(port: int, world: World) -> None:
    world.faults.replace([{"match": {"nth": 1}, "action": {"kind": "answer", "answer": "empty"}}])
    answers = [json.loads((await post(port))[1])["data"]["openai_response"] for _ in range(2)]
    assert answers[0] == ""
    assert answers[1]


@pytest.mark.parametrize(("when", "posts"), [("before_work", 0), ("after_work", 1)])
async def test_hang_stays_silent_and_then_ends_without_a_byte(
    port: int, world: World, when: str, posts: int
) -> None:
    break_posts(world, kind="hang", seconds=0.1, when=when)
    assert await post_raw(port) == (b"", "closed")
    assert world.effects.summary()["posts"] == posts


async def test_hang_without_end_lasts_until_the_caller_leaves(port: int, world: World) -> None:
    break_posts(world, kind="hang", when="after_work")
    calling = asyncio.create_task(post_raw(port))
    async with asyncio.timeout(10):
        while world.effects.summary()["posts"] == 0:  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.005)
        assert world.effects.summary()["open_requests"] == 1
        calling.cancel()
        while world.effects.summary()["open_requests"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    last = world.effects.page()["effects"][-1]
    assert (last["status"], last["caller_gone"]) == (None, True)


async def test_trickle_sends_the_true_answer_byte_by_byte(port: int, world: World) -> None:
    break_posts(world, kind="trickle", seconds=0.0001)
    status, text, _ = await post(port)
    assert (status, json.loads(text)["data"]["user_query"]) == (200, "Why?")


async def test_delay_adds_to_the_latency(port: int, world: World) -> None:
    break_posts(world, kind="delay", seconds=0.1)
    assert (await post(port))[0] == 200
    last = world.effects.page()["effects"][-1]
    assert last["ended"] - last["begun"] >= 0.1


@pytest.mark.parametrize(("when", "posts"), [("before_work", 0), ("after_work", 1)])
async def test_stream_ends_before_finish(port: int, world: World, when: str, posts: int) -> None:
    break_posts(world, kind="sse_truncated", when=when)
    _, text, _ = await post(port, stream="1")
    assert "event: progress" in text
    assert "event: finish" not in text
    assert world.effects.summary()["posts"] == posts


async def test_stream_ends_with_an_error_event(port: int, world: World) -> None:
    break_posts(world, kind="sse_error")
    _, text, _ = await post(port, stream="1")
    assert text.rstrip().split("\n")[-2] == "event: error"
    assert world.effects.summary()["posts"] == 0


@pytest.mark.parametrize(("at", "has_start"), [("after_headers", False), ("mid_body", True)])
async def test_stream_is_reset_in_the_middle(port: int, world: World, at: str, *, has_start: bool) -> None:
    break_posts(world, kind="reset", at=at, when="after_work")
    received, ended = await post_raw(port, query="?stream=true")
    assert ended == "reset"
    assert (b"event: start" in received) is has_start
    assert b"event: finish" not in received
    assert world.effects.summary()["posts"] == 1


async def test_streamed_post_can_get_a_plain_error(port: int, world: World) -> None:
    break_posts(world, kind="reply", status=500, when="after_work")
    assert (await post(port, stream="1"))[0] == 500
    assert world.effects.summary()["posts"] == 1


async def test_other_calls_can_be_broken_too(port: int, world: World) -> None:
    world.faults.replace(
        [{"match": {"call": "create"}, "action": {"kind": "reply", "status": 500, "when": "after_work"}}]
    )
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer k"}) as session,
        session.post(LIST, json={"name": "made all the same"}) as answer,
    ):
        assert answer.status == 500
    assert world.effects.summary()["conversations"] == 1


async def test_faults_are_set_shown_and_cleared_over_http(port: int, world: World) -> None:
    rule = {"match": {"call": "post", "nth": 1}, "action": {"kind": "throttle", "retry_after": "5"}}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.put("/_faults", json=[rule]) as answer:
            assert answer.status == 200
        assert (await post(port))[0] == 429
        async with session.get("/_faults") as answer:
            (shown,) = await answer.json()
        assert shown["match"] == rule["match"]
        assert (shown["seen"], shown["fired"]) == (1, 1)
        async with session.put("/_faults", json=[{"action": {"kind": "rest"}}]) as answer:
            assert answer.status == 400
            assert "Did you mean 'reset'" in (await answer.json())["error"]
        async with session.delete("/_faults") as answer:
            assert await answer.json() == []
