"""The sandbox's projects: made from a form, read slowly where it is told so, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from worker.sandbox.clock import Clock
from worker.sandbox.server import listening
from worker.sandbox.switches import Switches
from worker.sandbox.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = {"Authorization": "Bearer 1|key"}
PROJECTS = "/api/v1/projects"


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(lambda: self.now, lambda: self.now)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def world(time: Time) -> World:
    return make_world(Switches(latency_s=0.0, indexing_s=10.0), seed=1, clock=time.clock)


@pytest.fixture
async def api(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        listening(world, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=KEY) as session,
    ):
        yield session


async def get(api: aiohttp.ClientSession, path: str) -> Any:
    async with api.get(path) as answer:
        assert answer.status == 200
        return (await answer.json())["data"]


async def create(api: aiohttp.ClientSession, **fields: Any) -> tuple[int, Any]:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    async with api.post(PROJECTS, data=form) as answer:
        return answer.status, (await answer.json())["data"]


async def test_project_is_made_from_a_form_and_cannot_answer_until_it_has_read_its_sources(
    api: aiohttp.ClientSession, time: Time
) -> None:
    status, made = await create(api, project_name="Test", sitemap_path="sitemap.com")
    assert (status, made["is_chat_active"], made["sitemap_path"]) == (201, None, "sitemap.com")
    path = f"{PROJECTS}/{made['id']}"
    seen = []
    for _ in range(3):
        stats, project = await get(api, f"{path}/stats"), await get(api, path)
        seen.append((stats["pages_indexed"], stats["pages_found"], project["is_chat_active"]))
        time.now += 5
    assert seen == [(0, 12, None), (6, 12, None), (12, 12, True)]


async def test_question_is_answered_with_nothing_until_then(api: aiohttp.ClientSession, time: Time) -> None:
    _, made = await create(api, project_name="Test", sitemap_path="sitemap.com")
    path = f"{PROJECTS}/{made['id']}/conversations"
    async with api.post(path, json={"name": "n"}) as answer:
        session_id = (await answer.json())["data"]["session_id"]
    answers = []
    for _ in range(2):
        async with api.post(f"{path}/{session_id}/messages", data={"prompt": "Why?"}) as answer:
            answers.append((await answer.json())["data"]["openai_response"])
        time.now += 10
    assert answers[0] is None
    assert "Why?" in answers[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sitemap_path": "x"}, "Agent name can't be empty"),
        ({"project_name": "n"}, "Sitemap path can't be empty"),
    ],
)
async def test_project_without_name_or_sources_is_refused(
    api: aiohttp.ClientSession, fields: dict[str, str], message: str
) -> None:
    status, data = await create(api, **fields)
    assert (status, data["code"], data["message"]) == (400, 400, message)


async def test_project_may_be_made_from_a_file(api: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData()
    form.add_field("project_name", "From a file")
    form.add_field("file", b"text", filename="a.txt")
    async with api.post(PROJECTS, data=form) as answer:
        assert answer.status == 201


async def test_project_beyond_the_plan_is_refused(api: aiohttp.ClientSession, world: World) -> None:
    world.switches.max_projects = 1
    status, data = await create(api, project_name="Test", sitemap_path="sitemap.com")
    assert (status, data["message"]) == (400, "You have reached your agent limit")
    assert (await get(api, "/api/v1/limits/usage"))["max_projects_num"] == 1


async def test_traffic_counts_questions_by_the_way_they_came(api: aiohttp.ClientSession) -> None:
    path = f"{PROJECTS}/123"
    async with api.post(f"{path}/conversations", json={"name": "n"}) as answer:
        session_id = (await answer.json())["data"]["session_id"]
    for _ in range(2):
        async with api.post(f"{path}/conversations/{session_id}/messages", json={"prompt": "q"}) as answer:
            assert answer.status == 200
    for filters in ("filters=sources", "filters[]=sources"):
        sources = (await get(api, f"{path}/reports/traffic?{filters}"))["sources"]
        assert sources == [{"request_source": "api", "request_source_number": 2}]
    assert (await get(api, f"{path}/stats"))["total_queries"] == 2
    async with api.get(f"{path}/reports/traffic") as answer:
        assert answer.status == 400
