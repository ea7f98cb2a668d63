"""The client of Inkeep's Analytics API, over HTTP against the sandbox: what is sent, what each end means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.servers.ports import free_port
from worker.adapters.customgpt import CustomGptConfig
from worker.adapters.inkeep import Inkeep, shapes
from worker.core.errors import (
    CredentialsRejected,
    MirrorNotFound,
    MirrorRefused,
    OutcomeUnknown,
    Throttled,
    Unreachable,
)
from worker.core.mirroring import ConversationCopy, MirroredAnswer
from worker.core.model import Citation
from worker.sandbox.server import listening
from worker.sandbox.switches import Switches
from worker.sandbox.world import World, make_world

COPY_ID = "2f1c3e56-8b1e-5d43-9a2e-3f6f2a9d7c11"
CANARY = "Kanarienvogel"


def answer(number: int, **fields: Any) -> MirroredAnswer:
    return replace(
        MirroredAnswer(
            question_source="crm/test",
            question_id=f"evt-{number}",
            question=f"{CANARY} question {number}?",
            answer=f"{CANARY} answer {number}.",
            asked_at=f"2026-11-20T20:00:{number:02}Z",
            answered_at=f"2026-11-20T20:01:{number:02}Z",
            message_id=number,
        ),
        **fields,
    )


def copy_of(*answers: MirroredAnswer, **fields: Any) -> ConversationCopy:
    return replace(
        ConversationCopy(
            number=1,
            version=1,
            copy_id=COPY_ID,
            external_id="EXT 1/é",
            thread_id=None,
            project_id=123,
            session_id="session-1",
            conversation_id=42,
            is_partial=False,
            tries=0,
            answers=answers or (answer(1),),
        ),
        **fields,
    )


@pytest.fixture
def world() -> World:
    return make_world(Switches(latency_s=0.0), seed=1)


def client(url: str, key: str = "api-key") -> Inkeep:
    return Inkeep(CustomGptConfig(api_url=url, request_timeout_s=5.0), key=lambda: key)


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    async with listening(world, host="127.0.0.1", port=0) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def inkeep(url: str) -> AsyncIterator[Inkeep]:
    async with client(url) as made:
        yield made


def refuse_with(world: World, call: str = "inkeep_upsert", **action: Any) -> None:
    world.faults.replace([{"match": {"call": call}, "action": {"when": "before_work", **action}}])


async def test_a_conversation_is_copied_with_all_that_it_has(inkeep: Inkeep, world: World) -> None:
    cited = answer(2, citations=(Citation(1, "Hours", "https://www.example.com/"), Citation(2)))
    await inkeep.copy(copy_of(answer(1), cited, thread_id="T-9"))
    (kept,) = world.mirror.conversations.values()
    assert (kept["id"], kept["externalId"], kept["type"]) == (COPY_ID, "EXT 1/é", "openai")
    assert (kept["createdAt"], kept["updatedAt"]) == ("2026-11-20T20:00:01Z", "2026-11-20T20:01:02Z")
    assert kept["userProperties"] == {"userId": "EXT 1/é", "userType": "contact"}
    assert kept["properties"] == {
        "source": "askrelay",
        "provider": "customgpt",
        "threadId": "T-9",
        "projectId": 123,
        "sessionId": "session-1",
        "conversationId": 42,
        "omittedMessages": 0,
    }
    said = [(each["role"], each["content"], each["externalId"]) for each in kept["messages"]]
    assert said == [
        ("user", f"{CANARY} question 1?", "evt-1"),
        ("assistant", f"{CANARY} answer 1.", "1"),
        ("user", f"{CANARY} question 2?", "evt-2"),
        ("assistant", f"{CANARY} answer 2.", "2"),
    ]
    assert kept["messages"][3]["links"] == [{"url": "https://www.example.com/", "title": "Hours"}]
    assert kept["messages"][0]["properties"] == {
        "questionSource": "crm/test",
        "questionId": "evt-1",
        "messageId": "1",
    }


async def test_a_copy_sent_again_changes_nothing(inkeep: Inkeep, world: World) -> None:
    await inkeep.copy(copy_of(answer(1)))
    first = dict(world.mirror.conversations)
    await inkeep.copy(copy_of(answer(1)))
    assert world.mirror.conversations == first
    await inkeep.copy(copy_of(answer(1), answer(2)))
    (kept,) = world.mirror.conversations.values()
    assert len({each["id"] for each in kept["messages"]}) == len(kept["messages"]) == 4


async def test_a_partial_copy_keeps_what_the_ledger_has_no_more(inkeep: Inkeep, world: World) -> None:
    await inkeep.copy(copy_of(answer(1), answer(2)))
    await inkeep.copy(copy_of(answer(2), answer(3), is_partial=True))
    (kept,) = world.mirror.conversations.values()
    assert [each["externalId"] for each in kept["messages"]] == ["evt-1", "1", "evt-2", "2", "evt-3", "3"]
    assert kept["createdAt"] == "2026-11-20T20:00:01Z", "it began with what is gone from the ledger"


async def test_a_partial_copy_that_is_not_there_yet_is_made(inkeep: Inkeep, world: World) -> None:
    await inkeep.copy(copy_of(answer(1), is_partial=True))
    assert len(world.mirror.conversations) == 1


async def test_the_oldest_messages_are_left_out_of_what_is_too_large(
    inkeep: Inkeep, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "MESSAGES_BYTES", 2_000)
    await inkeep.copy(copy_of(*(answer(number) for number in range(1, 10))))
    (kept,) = world.mirror.conversations.values()
    assert kept["messages"][-1]["externalId"] == "9"
    assert kept["properties"]["omittedMessages"] == 18 - len(kept["messages"]) > 0
    monkeypatch.setattr(shapes, "MESSAGES_BYTES", 10)
    await inkeep.copy(copy_of(answer(1), answer(2)))
    assert [each["externalId"] for each in kept_of(world)["messages"]] == ["evt-2", "2"]


def kept_of(world: World) -> dict[str, Any]:
    (kept,) = world.mirror.conversations.values()
    return kept


@pytest.mark.parametrize("external_id", ["EXT 1/é", "..", ".", "a?b#c%2F", "x" * 128])
async def test_a_copy_is_found_by_any_external_id(inkeep: Inkeep, external_id: str) -> None:
    await inkeep.copy(copy_of(external_id=external_id))
    found = await inkeep.by_external_id(external_id)
    assert found is not None
    assert found["externalId"] == external_id
    assert await inkeep.by_external_id(external_id + "x") is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, MirrorRefused),
        (401, CredentialsRejected),
        (403, CredentialsRejected),
        (404, MirrorRefused),
        (413, MirrorRefused),
        (422, MirrorRefused),
        (429, Throttled),
        (302, OutcomeUnknown),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
async def test_every_problem_has_its_meaning(
    inkeep: Inkeep, world: World, status: int, error: type[Exception]
) -> None:
    refuse_with(world, kind="reply", status=status, message=CANARY)
    with pytest.raises(error) as raised:
        await inkeep.copy(copy_of())
    assert CANARY not in str(raised.value)
    assert str(status) in str(raised.value)


async def test_a_pause_is_as_long_as_the_mirror_asks(inkeep: Inkeep, world: World) -> None:
    refuse_with(world, kind="throttle", retry_after="17")
    with pytest.raises(Throttled) as raised:
        await inkeep.copy(copy_of())
    assert raised.value.pause_s == 17


async def test_a_wrong_address_is_told_from_a_refused_conversation(url: str) -> None:
    async with client(f"{url}/api/v1") as inkeep:
        with pytest.raises(MirrorNotFound):
            await inkeep.copy(copy_of())


async def test_a_wrong_key_and_one_that_may_only_write(url: str, world: World) -> None:
    async with client(url, key="wrong") as inkeep:
        with pytest.raises(CredentialsRejected):
            await inkeep.copy(copy_of())
    async with client(url, key="") as inkeep:
        with pytest.raises(CredentialsRejected):
            await inkeep.copy(copy_of())
    async with client(url, key="web-key") as inkeep:
        await inkeep.copy(copy_of())
        with pytest.raises(CredentialsRejected):
            await inkeep.by_external_id("EXT 1/é")
    assert len(world.mirror.conversations) == 1


@pytest.mark.parametrize(
    "action",
    [
        {"kind": "reset", "at": "before_headers", "when": "after_work"},
        {"kind": "close", "at": "mid_body", "when": "after_work"},
        {"kind": "reply", "status": 200, "body": "garbage", "when": "after_work"},
        {"kind": "reply", "status": 200, "body": "wrong_schema", "when": "after_work"},
        {"kind": "reply", "status": 200, "body": "html"},
    ],
)
async def test_what_cannot_be_read_is_sent_again(inkeep: Inkeep, world: World, action: Any) -> None:
    refuse_with(world, **action)
    with pytest.raises(OutcomeUnknown):
        await inkeep.copy(copy_of())
    world.faults.replace([])
    await inkeep.copy(copy_of())
    assert len(kept_of(world)["messages"]) == 2


async def test_nobody_there_is_definite() -> None:
    async with client(f"http://127.0.0.1:{free_port()}") as inkeep:
        with pytest.raises(Unreachable):
            await inkeep.copy(copy_of())
