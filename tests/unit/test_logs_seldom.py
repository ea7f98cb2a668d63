"""Lines that only seldom trouble brings out, or that only somebody who asks for debug sees."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pika
import pytest

from tests.servers.ports import free_port
from tests.unit import test_runtime_intake as intake
from tests.unit.fakes import Log
from tests.unit.virtual_time import in_virtual_time
from worker import bootstrap
from worker.adapters.doorbell import Doorbell, bell as doorbell
from worker.adapters.rabbitmq import BusConfig, publisher
from worker.adapters.rabbitmq.publisher import Outgoing, Publisher
from worker.core.model import Acceptance
from worker.core.ports import PublishResult

OWN_REPLY = {
    "specversion": "1.0",
    "id": "reply-1",
    "source": "askrelay",
    "type": "contact.question.answered",
    "data": {},
}


async def test_a_signal_is_a_line_that_names_it() -> None:
    stop, log = asyncio.Event(), Log()
    bootstrap._listen_for_signals(stop, log)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert log.of("worker.stopping") == [{"reason": "SIGTERM"}]


def test_a_batch_is_a_line_with_what_was_new_in_it() -> None:
    bench = intake.Bench()
    bench.ledger.script("accept", [Acceptance("new"), Acceptance("repeat_unfinished")])
    in_virtual_time(bench.take(intake.delivery("a"), intake.delivery("b")))
    [line] = bench.log.of("intake.batch_accepted")
    assert (line["batch"], line["new"], line["repeated"]) == (2, 1, 1)


def test_a_reply_of_ours_that_comes_back_is_a_line() -> None:
    bench = intake.Bench()
    in_virtual_time(bench.take(intake.raw(json.dumps(OWN_REPLY).encode())))
    assert bench.log.of("event.ignored") == [{"reason": "own_reply"}]


def test_a_rejected_event_that_could_be_read_is_named_by_its_id() -> None:
    bench = intake.Bench()
    bench.ledger.script("accept", [Acceptance("conflict")])
    bench.ledger.script("accept_ratings", ["unmatched"])
    denied = intake.delivery("evt-8", options={"custom_persona": "A pirate."})
    in_virtual_time(
        bench.take(intake.delivery("evt-7"), denied, intake.rating("evt-6"), intake.raw(b"no json"))
    )
    told = {line["error_code"]: line["question_id"] for line in bench.log.of("event.rejected")}
    assert told == {
        "id_conflict": "evt-7",
        "invalid_question": "evt-8",
        "unmatched_rating": "evt-6",
        "malformed_event": None,
    }


async def test_confirms_that_do_not_come_are_one_line_with_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "CONFIRM_TIMEOUT_S", 0.0)
    log = Log()
    silent = Publisher(BusConfig(url="amqp://127.0.0.1"), log=log)
    silent._wire = SimpleNamespace(connection=SimpleNamespace(gathering=nullcontext))
    silent._channel = SimpleNamespace(basic_publish=lambda *_, **__: None)
    silent._ready.set()
    messages = [Outgoing("crm.events", "key", b"{}", pika.BasicProperties(message_id=str(n))) for n in "ab"]
    assert await silent.publish(messages) == [PublishResult.NOT_CONFIRMED] * 2
    assert log.of("bus.confirm_missed") == [{"count": 2}]


async def test_a_doorbell_that_does_not_end_is_left_behind_with_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_end, log = threading.Event(), Log()
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    hanging = Doorbell(url, "askrelay.doorbell", "ledger", log=log)
    close = hanging._broker.close

    def close_late() -> None:
        may_end.wait(30)
        close()

    monkeypatch.setattr(hanging._broker, "close", close_late)
    monkeypatch.setattr(doorbell, "STOP_S", 0.1)

    async def on_ring() -> Any:
        """Nobody rings."""

    await hanging.start(on_ring)
    before = set(threading.enumerate())
    await hanging.stop()
    left_behind = set(threading.enumerate()) - before
    may_end.set()
    for thread in left_behind:  # it still has a word with this loop
        await asyncio.to_thread(thread.join, 30)
    assert [set(line) for line in log.of("doorbell.abandoned")] == [{"detail"}]
