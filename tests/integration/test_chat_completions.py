"""Questions asked without a conversation: by setting or by event, plain and streamed, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import asked, is_final, worker
from worker.sandbox.process import SandboxProcess

BY_COMPLETIONS = {"ASKRELAY_API": "chat_completions"}
WAYS = pytest.mark.parametrize("stream", ["false", "true"], ids=["plain", "streamed"])


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


async def replies(
    database: Path, sandbox: SandboxProcess, events: list[dict[str, Any]], **settings: str
) -> dict[str, dict[str, Any]]:
    """Ask, and return the replies' data by the question's id."""
    async with worker(database, sandbox.url, **settings) as here:
        here.ask(events)
        messages = [message for message in await here.heard(len(events)) if is_final(message)]
    events_ = [json.loads(message.body) for message in messages]
    return {event["data"]["question_id"]: {"type": event["type"], **event["data"]} for event in events_}


def questions(count: int, **data: Any) -> list[dict[str, Any]]:
    return [asked(f"evt-{n}", f"EXT_{n % 7}", f"Question {n}?", lang="en", **data) for n in range(count)]


@WAYS
async def test_a_question_is_answered_without_a_conversation_and_the_reply_says_so(
    sandbox: SandboxProcess, tmp_path: Path, stream: str
) -> None:
    said = await replies(
        tmp_path / "ledger.db", sandbox, questions(50), ASKRELAY_STREAM=stream, **BY_COMPLETIONS
    )
    assert len(said) == 50
    for data in said.values():
        assert data["answer"]
        assert (data["api"], data["conversation_id"], data["session_id"], data["message_id"]) == (
            "chat_completions",
            None,
            "",
            0,
        )
        assert (data["external_id"], data["outcome"]) == (data["contact_id"], "posted")
    summary = sandbox.summary()
    assert (summary["completions"], summary["conversations"], summary["posts"]) == (50, 0, 0)
    assert {effect["external_id"] for effect in sandbox.effects("completion")} == {
        f"EXT_{n}" for n in range(7)
    }
    order: dict[str, list[int]] = {}
    for effect in sandbox.effects("completion"):
        order.setdefault(effect["external_id"], []).append(int(effect["question"].split()[1][:-1]))
    assert all(numbers == sorted(numbers) for numbers in order.values())


async def test_plain_and_streamed_completions_say_the_same(sandbox: SandboxProcess, tmp_path: Path) -> None:
    differing = {"answered_at", "provider_metadata"}
    said = []
    for stream in ("false", "true"):
        found = await replies(
            tmp_path / f"{stream}.db", sandbox, questions(20), ASKRELAY_STREAM=stream, **BY_COMPLETIONS
        )
        said.append(
            {
                question: {name: value for name, value in data.items() if name not in differing}
                for question, data in found.items()
            }
        )
    assert said[0] == said[1]


async def test_an_event_may_choose_where_the_settings_allow_it(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    events = [
        asked("evt-1", "EXT_1", "In the conversation?"),
        asked("evt-2", "EXT_1", "Without one?", api="chat_completions"),
        asked("evt-3", "EXT_1", "In it again?", api="conversations"),
    ]
    said = await replies(tmp_path / "ledger.db", sandbox, events, ASKRELAY_EVENT_OPTIONS="api")
    assert {name: data["api"] for name, data in said.items()} == {
        "evt-1": "conversations",
        "evt-2": "chat_completions",
        "evt-3": "conversations",
    }
    assert said["evt-1"]["conversation_id"] == said["evt-3"]["conversation_id"] is not None
    assert said["evt-2"]["conversation_id"] is None
    summary = sandbox.summary()
    assert (summary["completions"], summary["conversations"], summary["posts"]) == (1, 1, 2)


async def test_an_event_that_chooses_without_leave_is_rejected(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    async with worker(tmp_path / "ledger.db", sandbox.url) as here:
        here.ask([asked("evt-1", "EXT_1", "Without leave?", api="chat_completions")])
        rejected = await here.broker.rejected.get()
    assert rejected.headers["x-askrelay-reason"] == "invalid_question"
    assert sandbox.summary()["completions"] == 0


@WAYS
@pytest.mark.parametrize("fault", ["reset", "close"])
async def test_an_unknown_outcome_is_asked_again_at_once_and_marked(
    sandbox: SandboxProcess, tmp_path: Path, stream: str, fault: str
) -> None:
    sandbox.set_faults(
        {
            "match": {"call": "complete", "times": 1},
            "action": {"kind": fault, "when": "after_work", "at": "mid_body"},
        }
    )
    # Long settle times: nothing settles here.
    slow = {"ASKRELAY_SETTLE_S": "3600"}
    said = await replies(
        tmp_path / "ledger.db", sandbox, questions(1), ASKRELAY_STREAM=stream, **BY_COMPLETIONS, **slow
    )
    assert said["evt-0"]["outcome"] == "reposted_after_unknown"
    assert sandbox.summary()["completions"] == 2


@WAYS
async def test_an_unknown_outcome_is_held_at_once_where_the_settings_say_so(
    sandbox: SandboxProcess, tmp_path: Path, stream: str
) -> None:
    sandbox.set_faults(
        {"match": {"call": "complete"}, "action": {"kind": "reset", "when": "after_work", "at": "mid_body"}}
    )
    slow = {"ASKRELAY_SETTLE_S": "3600", "ASKRELAY_ON_UNKNOWN": "hold"}
    said = await replies(
        tmp_path / "ledger.db", sandbox, questions(1), ASKRELAY_STREAM=stream, **BY_COMPLETIONS, **slow
    )
    assert said["evt-0"]["type"] == "contact.question.failed"
    assert (said["evt-0"]["reason"], said["evt-0"]["api"]) == ("outcome_unknown", "chat_completions")
    assert said["evt-0"]["conversation_id"] is None
    assert sandbox.summary()["completions"] == 1


@WAYS
@pytest.mark.parametrize("answer", ["empty", "null"])
async def test_an_empty_answer_fails_the_question_because_there_is_none_to_read_later(
    sandbox: SandboxProcess, tmp_path: Path, stream: str, answer: str
) -> None:
    sandbox.set_switches(answer=answer)
    said = await replies(
        tmp_path / "ledger.db", sandbox, questions(1), ASKRELAY_STREAM=stream, **BY_COMPLETIONS
    )
    assert said["evt-0"]["reason"] == "answer_unreadable"
    assert sandbox.summary()["completions"] == 1


async def test_a_refused_request_is_sorted_as_a_post_is(sandbox: SandboxProcess, tmp_path: Path) -> None:
    sandbox.set_faults(
        {"match": {"call": "complete", "times": 1}, "action": {"kind": "throttle", "retry_after": "1"}},
        {"match": {"call": "complete", "times": 1}, "action": {"kind": "reply", "status": 413}},
    )
    said = await replies(tmp_path / "ledger.db", sandbox, questions(1), **BY_COMPLETIONS)
    assert said["evt-0"]["reason"] == "question_rejected"
    assert sandbox.summary()["completions"] == 0


async def test_progress_of_a_completion_comes_before_its_reply(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    live = {"ASKRELAY_STREAM": "true", "ASKRELAY_PROGRESS": "true"}
    async with worker(tmp_path / "ledger.db", sandbox.url, **BY_COMPLETIONS, **live) as here:
        here.ask(questions(1))
        *told, reply = [json.loads(message.body)["data"] for message in await here.heard(1)]
    assert told
    assert all(reply["answer"].startswith(event["answer_so_far"]) for event in told)
