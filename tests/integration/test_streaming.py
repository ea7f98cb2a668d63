"""Streamed answers from the outside: the same events as unstreamed ones, and no cut asks a question twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import asked, worker
from tests.servers_http.cutting import STARTED_BYTES, WHOLE_BYTES, CuttingApi
from worker.sandbox.process import SandboxProcess

QUESTIONS = 500
CONTACTS = 100
#: What two runs may differ in: the API's own numbers, and times.
IDS_AND_TIMES = frozenset({"session_id", "conversation_id", "message_id", "answered_at"})


#: Questions to which the agent answers with a fixed text of its own.
FALLBACKS = [
    {"match": {"question_contains": "nobody"}, "action": {"kind": "answer", "answer": "no_answer"}},
    {"match": {"question_contains": "broken"}, "action": {"kind": "answer", "answer": "siesta"}},
]


def questions() -> list[dict[str, Any]]:
    """Return questions of every sort, the contacts taking turns."""
    texts = (
        "What are your hours?",
        "What does nobody know?",
        "Où est la clé \u2014 \U0001f511?",
        "Is it broken?",
    )
    return [
        asked(
            f"evt-{number}",
            # One in ten has an id that goes to the API as a hash.
            f"EXT_{number % CONTACTS}" + "x" * (130 if number % 10 == 0 else 0),
            f"{texts[number % len(texts)]} ({number})\n" + "long " * (number % 7 * 40),
            lang="en" if number % 3 else None,
            metadata={"ticket": f"T-{number}"},
            thread_id="case" if number % 5 == 0 else None,
        )
        for number in range(QUESTIONS)
    ]


async def replies(database: Path, *, stream: str) -> dict[str, dict[str, Any]]:
    """Ask all questions and return what the replies say, without ids and times, by the question's id."""
    with SandboxProcess() as sandbox:
        sandbox.set_faults(*FALLBACKS)
        async with worker(database, sandbox.url, ASKRELAY_STREAM=stream) as here:
            here.ask(questions())
            events = [json.loads(message.body) for message in await here.heard(QUESTIONS)]
        assert sandbox.summary()["posts"] == QUESTIONS
    said = {}
    for event in events:
        data = {name: value for name, value in event.pop("data").items() if name not in IDS_AND_TIMES}
        event.pop("time")
        said[data["question_id"]] = {**event, "data": data}
    return said


async def test_streamed_replies_equal_unstreamed_ones_but_for_ids_and_times(tmp_path: Path) -> None:
    plain = await replies(tmp_path / "plain.db", stream="false")
    streamed = await replies(tmp_path / "streamed.db", stream="true")
    assert len(plain) == QUESTIONS
    assert streamed == plain
    assert {event["data"]["fallback"] for event in plain.values()} == {None, "no_answer", "agent_problem"}
    assert {event["data"]["outcome"] for event in plain.values()} == {"posted"}


@pytest.mark.parametrize("stores_early", [True, False], ids=["taken at once", "taken with start"])
async def test_streams_cut_at_every_byte_post_nothing_twice_and_lose_nothing(
    stores_early: bool, tmp_path: Path
) -> None:
    api = CuttingApi(stores_early=stores_early)
    events = [asked(f"evt-{cut}", f"EXT_{cut}", f"cut at {cut}") for cut in range(WHOLE_BYTES + 1)]
    async with api.server, worker(tmp_path / "ledger.db", api.server.api_url, ASKRELAY_STREAM="true") as here:
        here.ask(events)
        said = [json.loads(message.body) for message in await here.heard(len(events))]
    assert {event["type"] for event in said} == {"contact.question.answered"}
    assert {event["data"]["answer"] for event in said} == {"An answer."}
    assert {event["data"]["question_id"] for event in said} == {event["id"] for event in events}
    stored = Counter(message.question for message in api.stored)
    assert stored == {event["data"]["question"]: 1 for event in events}
    again = sorted(int(question.rsplit(" ", 1)[1]) for question, posts in api.posts.items() if posts > 1)
    # Only what was never taken was posted a second time.
    assert again == ([] if stores_early else list(range(STARTED_BYTES)))


async def test_a_post_known_to_be_taken_is_never_made_again_though_the_api_shows_nothing_of_it(
    tmp_path: Path,
) -> None:
    api = CuttingApi(is_hiding=True)
    cuts = range(STARTED_BYTES, WHOLE_BYTES + 1, 7)
    events = [asked(f"evt-{cut}", f"EXT_{cut}", f"cut at {cut}") for cut in cuts]
    async with api.server, worker(tmp_path / "ledger.db", api.server.api_url, ASKRELAY_STREAM="true") as here:
        here.ask(events)
        said = [json.loads(message.body) for message in await here.heard(len(events))]
    assert {event["data"]["reason"] for event in said} == {"answer_unreadable"}
    assert set(api.posts.values()) == {1}
