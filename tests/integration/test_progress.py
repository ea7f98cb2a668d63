"""Answers told while they are written, as a live chat window gets them."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pika
import pytest
from jsonschema import Draft202012Validator

from schemas import json_schema, progress_id
from tests.fleet import Fleet, generated
from tests.in_process import asked, is_final, worker
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.sandbox.process import SandboxProcess

LIVE = {"ASKRELAY_STREAM": "true", "ASKRELAY_PROGRESS": "true"}


async def test_progress_grows_is_numbered_and_ends_before_the_reply(tmp_path: Path) -> None:
    events = [
        asked(f"evt-{n}", f"EXT_{n}", f"Question {n}? " + "long " * 40, metadata={"n": n}) for n in range(20)
    ]
    with SandboxProcess(switches={"stream_pause_s": 0.05}) as sandbox:
        async with worker(tmp_path / "ledger.db", sandbox.url, **LIVE) as here:
            here.ask(events)
            messages = await here.heard(len(events))
    by_question: dict[str, list[Any]] = defaultdict(list)
    for message in messages:
        event = json.loads(message.body)
        by_question[event["data"]["question_id"]].append((is_final(message), event))
    validator = Draft202012Validator(json_schema()["progress"])
    for question_id, said in by_question.items():
        *finals, is_reply = (is_one for is_one, _ in said)
        assert is_reply
        assert not any(finals)
        *told, reply = (event for _, event in said)
        assert told
        assert [event["data"]["sequence"] for event in told] == list(range(1, len(told) + 1))
        texts = [event["data"]["answer_so_far"] for event in told] + [reply["data"]["answer"]]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
        for event in told:
            validator.validate(event)
            assert event["id"] == progress_id("crm/test", question_id, event["data"]["sequence"])
            assert event["data"]["metadata"] == reply["data"]["metadata"]
    assert len(by_question) == len(events)


@pytest.mark.parametrize("api", ["conversations", "chat_completions"])
async def test_a_question_that_is_posted_again_repeats_no_number(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.core.reconcile.CREDITS_PROBE_S", 0.1)
    burnt = {"kind": "answer", "answer": "out_of_queries"}
    with SandboxProcess(switches={"stream_pause_s": 0.05}) as sandbox:
        call = {"conversations": "post", "chat_completions": "complete"}[api]
        sandbox.set_faults({"match": {"call": call, "times": 1}, "action": burnt})
        async with worker(tmp_path / "ledger.db", sandbox.url, ASKRELAY_API=api, **LIVE) as here:
            here.ask([asked("evt-1", "EXT_1", "Question? " + "long " * 40)])
            *told, reply = [json.loads(message.body) for message in await here.heard(1)]
        assert sandbox.summary()[{"post": "posts", "complete": "completions"}[call]] == 2
    assert reply["type"] == "contact.question.answered"
    assert told
    assert [event["data"]["sequence"] for event in told] == list(range(1, len(told) + 1))
    assert len({event["id"] for event in told}) == len(told)


async def test_nothing_is_told_unless_it_is_asked_for(tmp_path: Path) -> None:
    with SandboxProcess() as sandbox:
        async with worker(tmp_path / "ledger.db", sandbox.url, ASKRELAY_STREAM="true") as here:
            here.ask([asked("evt-1", "EXT_1", "Quiet?")])
            assert len(await here.heard(1)) == 1


@pytest.fixture
def fleet(rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path) -> Fleet:
    return Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=f"sqlite:///{tmp_path / 'ledger.db'}",
        folder=tmp_path,
        settings=LIVE,
    )


def test_progress_on_rabbitmq_is_transient_and_comes_before_the_reply(fleet: Fleet) -> None:
    with fleet, fleet.rabbitmq.connect() as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        # Not bound for failures: with none of the others bound, progress is dropped and nobody minds.
        for kind in ("progress", "answered"):
            channel.queue_bind(queue, fleet.names.events_exchange, f"contact.question.{kind}")
        fleet.sandbox.set_switches(stream_pause_s=0.05)
        fleet.start_worker()
        fleet.ask(generated(10, 2))
        fleet.wait_for_replies(20)
        seen: dict[str, list[tuple[str, pika.BasicProperties]]] = defaultdict(list)
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            method, properties, _ = got
            seen[properties.correlation_id].append((method.routing_key, properties))
        assert len(seen) == 20
        for told in seen.values():
            assert [key.endswith(".answered") for key, _ in told] == [False] * (len(told) - 1) + [True]
            assert len(told) > 1
            for _, properties in told[:-1]:
                assert (properties.delivery_mode, properties.expiration) == (1, "30000")
                assert (properties.type, properties.app_id) == ("contact.question.progress", "askrelay")
        assert not fleet.judge().broken()
