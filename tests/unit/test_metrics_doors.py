"""Ports with a meter at their door: every call is timed, every ring counted, and nothing else changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.fakes import FakeAssistant, FakeBell
from worker.adapters.metrics import MeteredAssistant, MeteredBell, ProcessMeters
from worker.core.errors import AssistantError, OutcomeUnknown, Throttled
from worker.core.ports import Assistant

POST: dict[str, Any] = {
    "text": "May I?",
    "external_id": "EXT_1",
    "lang": None,
    "traceparent": None,
    "connect_within_s": 2.0,
}


def counted(meters: ProcessMeters) -> list[str]:
    """Return the call and result of every timed call."""
    text = meters.exposition("", None)[0].decode()
    head = "askrelay_api_call_duration_seconds_count"
    return [line.removeprefix(head) for line in text.splitlines() if line.startswith(head)]


def metered() -> tuple[FakeAssistant, Assistant, ProcessMeters]:
    fake, meters = FakeAssistant(), ProcessMeters(version="1", ledger="sqlite")
    return fake, MeteredAssistant(fake, meters), meters


async def test_every_call_to_the_api_is_timed_and_returns_what_it_returned() -> None:
    fake, assistant, meters = metered()
    made = await assistant.create_conversation(123, "name", connect_within_s=2.0)
    assert await assistant.find_conversations(123, "name") == [made]
    message = await assistant.post_question(123, made.session_id, **POST)
    assert message.message_id
    await assistant.list_messages(123, made.session_id, above=0)
    await assistant.check_project(123)
    await assistant.delete_conversation(123, made.session_id)
    await assistant.canned_texts(123)
    assert [line.split('"')[1] for line in counted(meters)] == [
        "check_project",
        "create_conversation",
        "delete_conversation",
        "find_conversations",
        "list_messages",
        "post_question",
    ]
    assert all('result="ok"' in line for line in counted(meters))
    assert len(fake.calls) == 7


@pytest.mark.parametrize("error", [Throttled("post_question: 429"), OutcomeUnknown("post_question: 500")])
async def test_a_failed_call_is_counted_under_its_code_and_fails_the_same(error: AssistantError) -> None:
    fake, assistant, meters = metered()
    fake.script("post_question", error)
    with pytest.raises(type(error)) as raised:
        await assistant.post_question(123, "session", **POST)
    assert raised.value is error
    assert counted(meters) == [f'{{call="post_question",result="{error.code}"}} 1.0']


async def test_a_call_that_is_cut_off_is_counted_as_cancelled() -> None:
    fake, assistant, meters = metered()
    fake.script("post_question", asyncio.get_running_loop().create_future())
    task = asyncio.ensure_future(assistant.post_question(123, "session", **POST))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(meters) == ['{call="post_question",result="cancelled"} 1.0']


async def test_rings_are_counted_when_rung_and_when_heard() -> None:
    fake, meters = FakeBell(), ProcessMeters(version="1", ledger="sqlite")
    bell = MeteredBell(fake, meters)
    heard: list[bool] = []

    async def on_ring() -> None:
        heard.append(True)

    await bell.start(on_ring)
    bell.ring()
    bell.ring()
    await fake.on_ring()
    text = meters.exposition("", None)[0].decode()
    assert 'askrelay_doorbells_total{fate="rung"} 2.0' in text
    assert 'askrelay_doorbells_total{fate="heard"} 1.0' in text
    assert heard == [True]
    await bell.stop()
