"""The sandbox as a caller sees it: endpoints, envelopes, oddities, switches, and what its ledger says."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from worker.sandbox import server
from worker.sandbox.answers import answer_to
from worker.sandbox.server import listening
from worker.sandbox.switches import Switches
from worker.sandbox.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIST = "/api/v1/projects/123/conversations"
KEY = {"Authorization": "Bearer 1|key"}


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


async def ask(
    api: aiohttp.ClientSession, method: str, path: str, body: Any = None, **more: Any
) -> tuple[int, Any]:
    async with api.request(method, path, json=body, **more) as answer:
        return answer.status, await answer.json()


async def create(api: aiohttp.ClientSession, name: str = "n") -> str:
    status, body = await ask(api, "POST", LIST, {"name": name})
    assert status == 201
    return str(body["data"]["session_id"])


async def post(
    api: aiohttp.ClientSession, session: str, prompt: str = "Why?", **query: Any
) -> tuple[int, Any]:
    return await ask(api, "POST", f"{LIST}/{session}/messages", {"prompt": prompt}, params=query)


async def messages(api: aiohttp.ClientSession, session: str, **query: Any) -> list[dict[str, Any]]:
    status, body = await ask(api, "GET", f"{LIST}/{session}/messages", params=query)
    assert status == 200
    return list(body["data"]["messages"]["data"])


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.005)


def recorded(world: World, kind: str) -> list[dict[str, Any]]:
    return list(world.effects.page(kind=kind)["effects"])


async def test_create_answers_201_in_the_key_order_seen(api: aiohttp.ClientSession) -> None:
    async with api.post(LIST, json={"name": "crm:E1 #ab"}) as answer:
        assert answer.status == 201
        assert answer.content_type == "application/json"
        body = json.loads(await answer.text())
    assert list(body) == ["data", "status"]
    assert list(body["data"]) == [
        "project_id",
        "name",
        "created_by",
        "session_id",
        "updated_at",
        "created_at",
        "id",
    ]
    assert (body["data"]["project_id"], body["data"]["name"], body["status"]) == (
        123,
        "crm:E1 #ab",
        "success",
    )


async def test_create_twice_with_one_name_makes_two_conversations(
    api: aiohttp.ClientSession, world: World
) -> None:
    assert await create(api, "same") != await create(api, "same")
    assert world.effects.summary()["conversations"] == 2


async def test_create_refuses_a_name_over_255_letters(api: aiohttp.ClientSession, world: World) -> None:
    assert (await ask(api, "POST", LIST, {"name": "x" * 255}))[0] == 201
    assert (await ask(api, "POST", LIST, {"name": "x" * 256}))[0] == 400
    assert world.effects.summary()["conversations"] == 1


@pytest.mark.parametrize("key", [None, "Bearer wrong", "Bearer ", "Basic abc"])
async def test_wrong_or_missing_key_gets_the_401_envelope(
    api: aiohttp.ClientSession, world: World, key: str | None
) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": key} if key else {}) as stranger:
        url = f"{str(api._base_url).rstrip('/')}{LIST}?page=1"
        async with stranger.get(url) as answer:
            assert answer.status == 401
            assert await answer.json() == {
                "status": "error",
                "url": url,
                "data": {"code": 401, "message": "API Token is either missing or invalid"},
            }
    assert world.effects.summary()["requests_by_status"] == {"401": 1}


async def test_project_that_is_not_there_gets_the_404_envelope(api: aiohttp.ClientSession) -> None:
    status, body = await ask(api, "GET", "/api/v1/projects/999")
    assert (status, body["data"]) == (404, {"code": 404, "message": "Agent with id 999 not found"})


async def test_project_id_that_is_no_number_gets_400(api: aiohttp.ClientSession) -> None:
    status, body = await ask(api, "GET", "/api/v1/projects/abc/conversations")
    assert (status, body["data"]["message"]) == (400, "Agent id must be integer")


async def test_path_that_is_not_there_gets_a_404_without_envelope(
    api: aiohttp.ClientSession, world: World
) -> None:
    status, body = await ask(api, "GET", "/api/v1/nothing")
    assert (status, list(body)) == (404, ["message"])
    assert [each["call"] for each in recorded(world, "request")] == ["unknown"]


async def test_post_answers_its_question_and_keeps_tag_and_language(api: aiohttp.ClientSession) -> None:
    session = await create(api)
    status, body = await post(api, session, "Where? 😀 \u202e\x00", external_id="E 1", lang="de")
    data = body["data"]
    assert status == 200
    assert data["user_query"] == "Where? 😀 \u202e\x00"
    assert data["openai_response"] == answer_to("Where? 😀 \u202e\x00")
    assert (data["metadata"]["external_id"], data["metadata"]["lang"]) == ("E 1", "de")
    assert data["conversation_id"] == (await ask(api, "GET", LIST))[1]["data"]["data"][0]["id"]


async def test_post_takes_urlencoded_and_multipart_bodies(api: aiohttp.ClientSession, world: World) -> None:
    path = f"{LIST}/{await create(api)}/messages"
    form = aiohttp.FormData({"prompt": "multi"})
    form.add_field("file", b"text", filename="a.txt")
    for data in ({"prompt": "url & coded"}, form):
        async with api.post(path, data=data) as answer:
            assert answer.status == 200
    assert [each["question"] for each in recorded(world, "message")] == ["url & coded", "multi"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"prompt":""}', b'{"prompt":7}', b"[" * 100_000])
async def test_post_without_a_prompt_is_refused_and_stores_nothing(
    api: aiohttp.ClientSession, world: World, body: bytes
) -> None:
    async with api.post(f"{LIST}/{await create(api)}/messages", data=body) as answer:
        assert answer.status == 400
    assert world.effects.summary()["posts"] == 0


async def test_post_over_one_mebibyte_gets_413(api: aiohttp.ClientSession, world: World) -> None:
    body = io.BytesIO(json.dumps({"prompt": "x" * 2**21}).encode())
    async with api.post(f"{LIST}/{await create(api)}/messages", data=body) as answer:
        assert answer.status == 413
    assert world.effects.summary()["posts"] == 0
    assert world.effects.summary()["open_requests"] == 0


async def test_post_of_twenty_thousand_letters_is_answered(api: aiohttp.ClientSession) -> None:
    status, body = await post(api, await create(api), "é" * 20_000)
    assert (status, body["data"]["user_query"]) == (200, "é" * 20_000)


async def test_post_refuses_an_external_id_over_128_letters(api: aiohttp.ClientSession) -> None:
    session = await create(api)
    assert (await post(api, session, external_id="x" * 128))[0] == 200
    assert (await post(api, session, external_id="x" * 129))[0] == 400


async def test_post_to_a_session_nobody_created_gets_404(api: aiohttp.ClientSession, world: World) -> None:
    status, body = await post(api, "s-1")
    assert (status, body["data"]["message"]) == (404, "Conversation with session id s-1 not found")
    assert world.effects.summary()["posts"] == 0


async def test_post_to_an_unknown_session_creates_it_when_switched_so(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.unknown_session = "create"
    assert (await post(api, "my own id", "First words"))[0] == 200
    listed = (await ask(api, "GET", LIST))[1]["data"]["data"]
    assert [(each["session_id"], each["name"]) for each in listed] == [("my own id", "First words")]
    assert len(recorded(world, "conversation_created")) == 1


async def test_post_to_a_deleted_session_follows_its_own_switch(
    api: aiohttp.ClientSession, world: World
) -> None:
    session = await create(api)
    await ask(api, "DELETE", f"{LIST}/{session}")
    world.switches.unknown_session = "create"
    assert (await post(api, session))[0] == 404
    world.switches.deleted_session = "create"
    assert (await post(api, session))[0] == 200


@pytest.mark.parametrize("stream", ["true", "1", 1, True])
async def test_stream_is_asked_for_in_the_body_in_any_form(api: aiohttp.ClientSession, stream: Any) -> None:
    body = {"prompt": "p", "stream": stream}
    async with api.post(f"{LIST}/{await create(api)}/messages", json=body) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=UTF-8"
        text = await answer.text()
    assert text.startswith('event: start\ndata: {"status":"start","prompt":"p"}\n\nevent: progress\n')
    assert text.rstrip().split("\n")[-2] == "event: finish"


@pytest.mark.parametrize("stream", ["false", "0"])
async def test_stream_is_not_sent_when_it_is_refused(api: aiohttp.ClientSession, stream: str) -> None:
    assert (await post(api, await create(api), stream=stream))[0] == 200


async def test_messages_are_listed_newest_first_in_pages_with_their_conversation(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.messages_per_page = 2
    session = await create(api)
    for question in "abc":
        await post(api, session, question)
    assert [each["user_query"] for each in await messages(api, session)] == ["c", "b"]
    assert [each["user_query"] for each in await messages(api, session, page=2)] == ["a"]
    assert [each["user_query"] for each in await messages(api, session, order="asc")] == ["a", "b"]
    body = (await ask(api, "GET", f"{LIST}/{session}/messages"))[1]
    assert body["data"]["conversation"]["session_id"] == session


async def test_message_ids_grow_over_all_conversations(api: aiohttp.ClientSession) -> None:
    sessions = [await create(api), await create(api)]
    ids = [(await post(api, sessions[n % 2]))[1]["data"]["id"] for n in range(6)]
    assert ids == sorted(set(ids))


async def test_message_is_read_rated_and_missed_by_id(api: aiohttp.ClientSession, world: World) -> None:
    session = await create(api)
    number = (await post(api, session))[1]["data"]["id"]
    path = f"{LIST}/{session}/messages/{number}"
    assert (await ask(api, "GET", path))[1]["data"]["id"] == number
    rated = (await ask(api, "PUT", f"{path}/feedback", {"reaction": "liked"}))[1]["data"]
    assert rated["response_feedback"]["reaction"] == "liked"
    assert (await ask(api, "PUT", f"{path}/feedback", {"reaction": "loved"}))[0] == 400
    missing = await ask(api, "GET", f"{LIST}/{session}/messages/5")
    assert (missing[0], missing[1]["data"]["message"]) == (404, "Conversation message with id 5 not found")
    assert len(recorded(world, "feedback")) == 1


@pytest.mark.parametrize(
    ("mode", "found"),
    [("substring", {"ab", "xab"}), ("prefix", {"ab"}), ("exact", {"ab"}), ("ignored", {"ab", "xab", "c"})],
)
async def test_name_filter_selects_as_switched(
    api: aiohttp.ClientSession, world: World, mode: str, found: set[str]
) -> None:
    world.switches.update({"name_filter": mode})
    for name in ("ab", "xab", "c"):
        await create(api, name)
    body = (await ask(api, "GET", LIST, params={"name": "AB"}))[1]
    assert {each["name"] for each in body["data"]["data"]} == found


async def test_conversations_are_sorted_by_id_either_way(api: aiohttp.ClientSession) -> None:
    for name in "abc":
        await create(api, name)
    for order, names in (("desc", "cba"), ("asc", "abc")):
        body = (await ask(api, "GET", LIST, params={"order": order, "orderBy": "created_at"}))[1]
        assert "".join(each["name"] for each in body["data"]["data"]) == names


async def test_rename_moves_updated_at_and_delete_takes_the_messages_along(
    api: aiohttp.ClientSession, world: World
) -> None:
    session = await create(api)
    await post(api, session)
    assert (await ask(api, "PUT", f"{LIST}/{session}", {"name": "new"}))[1]["data"]["name"] == "new"
    body = (await ask(api, "DELETE", f"{LIST}/{session}"))[1]
    assert body == {"data": {"deleted": True}, "status": "success"}
    assert (await ask(api, "GET", f"{LIST}/{session}/messages"))[0] == 404
    kinds = [each["kind"] for each in world.effects.page()["effects"] if each["kind"] != "request"]
    assert kinds == [
        "conversation_created",
        "message",
        "billed_query",
        "conversation_renamed",
        "conversation_deleted",
    ]


async def test_deleted_rows_are_listed_with_their_date_when_switched_so(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.list_shows_deleted = True
    await ask(api, "DELETE", f"{LIST}/{await create(api)}")
    (row,) = (await ask(api, "GET", LIST))[1]["data"]["data"]
    assert row["deleted_at"] is not None


async def test_lists_lag_behind_as_switched(api: aiohttp.ClientSession, world: World) -> None:
    world.switches.update({"conversation_list_lag_s": 60, "message_list_lag_s": 60})
    session = await create(api)
    number = (await post(api, session))[1]["data"]["id"]
    assert (await ask(api, "GET", LIST))[1]["data"]["total"] == 0
    assert await messages(api, session) == []
    assert (await ask(api, "GET", f"{LIST}/{session}/messages/{number}"))[0] == 200
    world.switches.update({"conversation_list_lag_s": 0, "message_list_lag_s": 0})
    assert (await ask(api, "GET", LIST))[1]["data"]["total"] == 1
    assert len(await messages(api, session)) == 1


async def test_retention_deletes_old_conversations(api: aiohttp.ClientSession, world: World) -> None:
    session = await create(api)
    world.switches.retention_s = 0.0
    assert (await post(api, session))[0] == 404
    assert [each["session_id"] for each in recorded(world, "conversation_expired")] == [session]


@pytest.mark.parametrize(
    ("switch", "key", "value"),
    [
        ({"answer": "empty"}, "openai_response", ""),
        ({"answer": "null"}, "openai_response", None),
        ({"is_chat_active": "null"}, "openai_response", None),
        ({"citations": "null"}, "citations", None),
        ({"citations": "empty"}, "citations", []),
        ({"dates": "null"}, "created_at", None),
        ({"user_id_is_null": True}, "user_id", None),
        ({"stored_question": "trimmed"}, "user_query", "Why?"),
    ],
)
async def test_answer_takes_the_form_of_its_switch(
    api: aiohttp.ClientSession, world: World, switch: dict[str, Any], key: str, value: Any
) -> None:
    world.switches.update(switch)
    assert (await post(api, await create(api), " Why? "))[1]["data"][key] == value


async def test_answer_has_no_conversation_id_when_switched_so(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.answer_has_conversation_id = False
    assert "conversation_id" not in (await post(api, await create(api)))[1]["data"]


@pytest.mark.parametrize(("form", "shown"), [("empty", [""]), ("null", [None]), ("absent", [])])
async def test_missing_external_id_takes_the_form_of_its_switch(
    api: aiohttp.ClientSession, world: World, form: str, shown: list[Any]
) -> None:
    world.switches.update({"missing_external_id": form})
    metadata = (await post(api, await create(api)))[1]["data"]["metadata"]
    assert [value for name, value in metadata.items() if name == "external_id"] == shown


async def test_canned_answer_equals_the_agents_own_setting(api: aiohttp.ClientSession, world: World) -> None:
    settings = (await ask(api, "GET", "/api/v1/projects/123/settings"))[1]["data"]
    world.switches.answer = "no_answer"
    answer = (await post(api, await create(api)))[1]["data"]["openai_response"]
    assert answer == settings["no_answer_message"]


async def test_credits_run_out_with_a_429_that_is_not_about_pace(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.max_queries = 1
    session = await create(api)
    assert (await post(api, session))[0] == 200
    status, body = await post(api, session)
    assert (status, body["data"]["code"]) == (429, 429)
    assert "query credits" in body["data"]["message"]
    usage = (await ask(api, "GET", "/api/v1/limits/usage"))[1]["data"]
    assert (usage["max_queries"], usage["current_queries"]) == (1, 1)
    assert world.effects.summary()["posts"] == 1


async def test_credits_run_out_with_an_unbilled_canned_answer_when_switched_so(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.update({"max_queries": 0, "out_of_queries": "canned_answer"})
    body = (await post(api, await create(api)))[1]
    settings = (await ask(api, "GET", "/api/v1/projects/123/settings"))[1]["data"]
    assert body["data"]["openai_response"] == settings["account_out_of_queries_msg"]
    assert (world.effects.summary()["posts"], world.effects.summary()["billed_queries"]) == (1, 0)


@pytest.mark.parametrize("body", [{}, {"name": ""}])
async def test_create_without_a_name_is_refused_where_the_switch_says_so(
    api: aiohttp.ClientSession, world: World, body: dict[str, str]
) -> None:
    world.switches.create_requires_name = True
    status, told = await ask(api, "POST", LIST, body)
    assert (status, told["data"]["message"]) == (400, "The name field is required.")


async def test_call_that_the_sandbox_fails_at_is_a_500_of_the_api(
    api: aiohttp.ClientSession, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_world: World, _call: object) -> None:
        raise KeyError("canary")

    monkeypatch.setitem(server._HANDLERS, "user", fail)
    status, told = await ask(api, "GET", "/api/v1/user")
    assert (status, told["status"], told["data"]["code"]) == (500, "error", 500)
    assert "canary" not in str(told)
    assert world.effects.page(since=0, limit=9, kind="request")["effects"][-1]["status"] == 500


async def test_pace_limit_answers_429_with_retry_after(api: aiohttp.ClientSession, world: World) -> None:
    world.switches.requests_per_minute = 1
    session = await create(api)
    async with api.post(f"{LIST}/{session}/messages", json={"prompt": "p"}) as answer:
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert await answer.json() == {"message": "Too Many Attempts."}
    assert world.effects.summary()["posts"] == 0


async def test_limit_of_calls_at_once_is_enforced_and_counted(
    api: aiohttp.ClientSession, world: World
) -> None:
    session = await create(api)
    world.switches.update({"requests_at_once": 2, "latency_s": 0.5})
    posting = [asyncio.create_task(post(api, session)) for _ in range(2)]
    await until(lambda: world.effects.summary()["max_posts_at_once"] == 2)
    assert (await post(api, session))[0] == 429
    assert [(await each)[0] for each in posting] == [200, 200]
    assert (await post(api, session))[0] == 200
    summary = world.effects.summary()
    assert (summary["max_at_once"], summary["open_requests"], summary["posts"]) == (3, 0, 3)


@pytest.mark.parametrize(("mode", "posts", "is_same"), [("new_message", 2, False), ("same_message", 1, True)])
async def test_repeated_prompt_comes_from_the_cache_when_switched_so(
    api: aiohttp.ClientSession, world: World, mode: str, posts: int, *, is_same: bool
) -> None:
    world.switches.update({"response_cache": mode})
    session = await create(api)
    ids = [(await post(api, session, "again"))[1]["data"]["id"] for _ in range(2)]
    assert (ids[0] == ids[1]) is is_same
    assert (world.effects.summary()["posts"], world.effects.summary()["billed_queries"]) == (posts, 1)
    fresh = {"Cache-Control": "no-cache"}
    await ask(api, "POST", f"{LIST}/{session}/messages", {"prompt": "again"}, headers=fresh)
    assert world.effects.summary()["billed_queries"] == 2


async def test_message_is_visible_without_answer_while_the_agent_thinks_when_switched_so(
    api: aiohttp.ClientSession, world: World
) -> None:
    session = await create(api)
    world.switches.update({"message_stored": "before_answer", "latency_s": 0.5, "other_latency_share": 0})
    posting = asyncio.create_task(post(api, session))
    await until(lambda: world.effects.summary()["posts"] == 1)
    (shown,) = await messages(api, session)
    assert (shown["user_query"], shown["openai_response"]) == ("Why?", None)
    status, body = await posting
    assert (status, body["data"]["id"]) == (200, shown["id"])


@pytest.mark.parametrize("stream", ["0", "1"])
@pytest.mark.parametrize(("mode", "posts"), [("finish", 1), ("abandon", 0)])
async def test_post_of_a_caller_who_left_ends_as_switched(
    api: aiohttp.ClientSession, world: World, mode: str, posts: int, stream: str
) -> None:
    session = await create(api)
    world.switches.update({"latency_s": 0.3, "on_disconnect": mode})
    with pytest.raises(TimeoutError):
        await ask(
            api,
            "POST",
            f"{LIST}/{session}/messages",
            {"prompt": "p"},
            params={"stream": stream},
            timeout=aiohttp.ClientTimeout(total=0.05),
        )
    await until(lambda: world.effects.summary()["open_requests"] == 0)
    assert world.effects.summary()["posts"] == posts
    assert recorded(world, "request")[-1]["caller_gone"] is True


async def test_stream_whose_caller_leaves_in_the_middle_is_stored_all_the_same(
    api: aiohttp.ClientSession, world: World
) -> None:
    world.switches.stream_pause_s = 0.02
    path = f"{LIST}/{await create(api)}/messages"
    async with api.post(path, json={"prompt": "p"}, params={"stream": "1"}) as answer:
        assert await answer.content.readline() == b"event: start\n"
        answer.close()
    await until(lambda: world.effects.summary()["open_requests"] == 0)
    assert world.effects.summary()["posts"] == 1
    assert recorded(world, "request")[-1]["caller_gone"] is True


async def test_post_whose_conversation_is_deleted_meanwhile_gets_404_and_is_not_stored(
    api: aiohttp.ClientSession, world: World
) -> None:
    session = await create(api)
    world.switches.update({"latency_s": 0.3, "other_latency_share": 0})
    posting = asyncio.create_task(post(api, session))
    await until(lambda: world.effects.summary()["max_posts_at_once"] == 1)
    await ask(api, "DELETE", f"{LIST}/{session}")
    assert (await posting)[0] == 404
    assert world.effects.summary()["posts"] == 0


async def test_ledger_entry_carries_every_fact_of_a_post(api: aiohttp.ClientSession, world: World) -> None:
    session = await create(api)
    body = (await post(api, session, "Why?", external_id="E1"))[1]["data"]
    effects = (await ask(api, "GET", "/_effects"))[1]["effects"]
    assert [each["seq"] for each in effects] == list(range(1, len(effects) + 1))
    message, billed, request = effects[-3:]
    assert [message["kind"], billed["kind"], request["kind"]] == ["message", "billed_query", "request"]
    assert message["request"] == billed["request"] == request["request"]
    assert request["status"] == 200
    for each in (message, request):
        assert each["project_id"] == 123
        assert each["session_id"] == session
        assert each["conversation_id"] == body["conversation_id"]
        assert each["message_id"] == body["id"]
        assert (each["question"], each["external_id"]) == ("Why?", "E1")
        assert each["path"].endswith("/conversations/{sessionId}/messages")
        assert each["begun"] <= each["ended"]


async def test_ledger_is_read_in_pages_and_by_kind(api: aiohttp.ClientSession) -> None:
    session = await create(api)
    await post(api, session)
    seen: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": 0, "has_more": True}
    while page["has_more"]:
        page = (await ask(api, "GET", "/_effects", params={"since": page["next"], "limit": 2}))[1]
        seen += page["effects"]
    assert [each["seq"] for each in seen] == [1, 2, 3, 4, 5]
    only = (await ask(api, "GET", "/_effects", params={"kind": "message"}))[1]
    assert [each["kind"] for each in only["effects"]] == ["message"]
    assert only["next"] == 5
    assert (await ask(api, "GET", "/_effects", params={"since": "x"}))[0] == 400


async def test_switches_are_read_and_changed_while_it_runs(api: aiohttp.ClientSession, world: World) -> None:
    status, values = await ask(api, "PUT", "/_switches", {"citations": "empty", "latency_s": 0})
    assert (status, values["citations"]) == (200, "empty")
    assert (await ask(api, "GET", "/_switches"))[1] == values == world.switches.values()
    status, body = await ask(api, "PUT", "/_switches", {"citation": "null"})
    assert (status, body["error"]) == (
        400,
        "Switch 'citation' is not known. Did you mean 'citations'?",
    )
    about = (await ask(api, "GET", "/_switches/about"))[1]
    assert set(about) == set(values)


async def test_own_endpoint_that_is_not_there_names_the_nearest(api: aiohttp.ClientSession) -> None:
    status, body = await ask(api, "GET", "/_efects")
    assert status == 400
    assert "'/_effects'" in body["error"]
