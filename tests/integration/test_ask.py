"""``askrelay ask`` against a real broker."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from schemas import AskedQuestion, RawEvent, answered_event, decode_event, failed_event, reply_id
from tests.commands import environment
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from tests.servers.waiting import wait_until
from worker.cli.app import run_program
from worker.cli.exit_codes import ExitCode

#: Seconds; for what is expected to come at once.
WITHIN_S = "60"

Answering = Callable[[AskedQuestion], list[tuple[str, str, bytes]]]


@pytest.fixture(autouse=True)
def settings(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name, value in {**amqp_names.environment(), "RABBITMQ_URL": rabbitmq.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def topology(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    """What a worker declares, and no worker."""
    with contextlib.closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare(amqp_names.events_exchange, "topic", durable=True)
        channel.queue_declare(amqp_names.question_queue, durable=True)
        channel.queue_bind(amqp_names.question_queue, amqp_names.events_exchange, "contact.question.asked")


@pytest.fixture
def worker(rabbitmq: RabbitMQ, amqp_names: AmqpNames, topology: None) -> Iterator[list[Any]]:
    """Something that replies with whatever the test puts into the list: routing key, message id, body."""
    answering: list[Any] = []
    is_ending, is_listening = threading.Event(), threading.Event()

    def serve() -> None:
        with contextlib.closing(rabbitmq.connect()) as connection:
            channel = connection.channel()
            for method, properties, body in channel.consume(
                amqp_names.question_queue, auto_ack=True, inactivity_timeout=0.05
            ):
                is_listening.set()
                if method is not None:
                    event = decode_event(
                        RawEvent(body, properties.content_type, message_id=properties.message_id)
                    )
                    for key, message_id, reply in answering[0](event):
                        channel.basic_publish(
                            amqp_names.events_exchange,
                            key,
                            reply,
                            pika.BasicProperties(message_id=message_id),
                        )
                if is_ending.is_set():
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    is_listening.wait(60)
    yield answering
    is_ending.set()
    thread.join()


def common(event: AskedQuestion) -> dict[str, Any]:
    return {
        "reply_id": reply_id(event.source, event.event_id),
        "question_id": event.event_id,
        "question_source": event.source,
        "contact_id": event.contact_id,
        "external_id": event.contact_id,
        "thread_id": event.thread_id,
        "conversation_id": 42,
        "metadata": event.metadata,
        "conversation_renewed": False,
        "attempts": 1,
        "asked_at": event.asked_at,
        "traceparent": None,
        "tracestate": None,
        "project_id": 123,
        "session_id": "s-1",
        "message_id": 7,
    }


def answer(event: AskedQuestion, text: str | None = None, **changed: Any) -> tuple[str, str, bytes]:
    fields = common(event) | changed
    body = answered_event(
        **fields,
        answer=text or f"You asked: {event.question}",
        fallback=None,
        citations=(),
        provider_metadata={},
        outcome="posted",
        answered_at="2026-11-20T20:00:00Z",
    )
    return "contact.question.answered", fields["reply_id"], body


def failure(event: AskedQuestion) -> tuple[str, str, bytes]:
    fields = common(event)
    body = failed_event(
        **fields, reason="question_rejected", detail="post: 400", failed_at="2026-11-20T20:00:00Z"
    )
    return "contact.question.failed", fields["reply_id"], body


def ask(*arguments: str) -> int:
    return run_program(["ask", "--contact", "C-1", "--question", "Why?", "--timeout", WITHIN_S, *arguments])


def test_answer_is_printed_with_its_conversation(
    worker: list[Answering], capsys: pytest.CaptureFixture[str]
) -> None:
    worker.append(lambda event: [answer(event)])
    assert ask() == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == "You asked: Why?\n\n(conversation 42, message 7, posted)\n"
    assert err == ""


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        (
            {"api": "chat_completions", "conversation_id": None, "session_id": "", "message_id": 0},
            "by chat completions",
        ),
        ({"conversation_id": None}, "a conversation without a number, message 7"),
    ],
    ids=["chat completions", "no number"],
)
def test_numbers_that_are_not_there_are_not_printed(
    worker: list[Answering], capsys: pytest.CaptureFixture[str], changed: dict[str, Any], place: str
) -> None:
    worker.append(lambda event: [answer(event, **changed)])
    assert ask() == ExitCode.OK
    assert capsys.readouterr().out == f"You asked: Why?\n\n({place}, posted)\n"


def test_answer_to_somebody_else_is_not_taken_for_ours(
    worker: list[Answering], capsys: pytest.CaptureFixture[str]
) -> None:
    worker.append(
        lambda event: [
            ("contact.question.answered", "another-reply", answer(event, "canary")[2]),
            answer(event),
        ]
    )
    assert ask() == ExitCode.OK
    assert "canary" not in capsys.readouterr().out


def test_everything_that_was_given_is_asked_and_json_is_the_reply_event(
    worker: list[Answering], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[AskedQuestion] = []

    def reply(event: AskedQuestion) -> list[tuple[str, str, bytes]]:
        asked.append(event)
        return [answer(event)]

    worker.append(reply)
    given = ("--thread", "T-9", "--lang", "de", "--metadata", '{"ticket": [1, null]}', "--json")
    assert ask(*given) == ExitCode.OK
    event = json.loads(capsys.readouterr().out)
    assert event["id"] == reply_id(asked[0].source, asked[0].event_id)
    assert (asked[0].contact_id, asked[0].question) == ("C-1", "Why?")
    assert (asked[0].thread_id, asked[0].lang) == ("T-9", "de")
    assert event["data"]["metadata"] == {"ticket": [1, None]}


def test_failed_reply_has_its_own_exit_code_and_says_what_to_do(
    worker: list[Answering], capsys: pytest.CaptureFixture[str]
) -> None:
    worker.append(lambda event: [failure(event)])
    assert ask() == ExitCode.FAILED_REPLY
    out, err = capsys.readouterr()
    assert out == ""
    assert "the question failed, question_rejected: post: 400" in err
    assert re.search(r"askrelay question show askrelay/ask ask-[0-9a-f]+", err)


def test_answer_cannot_steer_the_terminal(
    worker: list[Answering], capsys: pytest.CaptureFixture[str]
) -> None:
    worker.append(lambda event: [answer(event, "red \x1b[31m and\nnext\tline")])
    assert ask() == ExitCode.OK
    assert capsys.readouterr().out.startswith("red [31m and\nnext\tline\n")


def test_without_any_exchange_the_first_worker_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask() == ExitCode.BROKER
    err = capsys.readouterr().err
    assert "nothing takes questions yet: there is no exchange" in err
    assert "askrelay run" in err


def test_question_that_no_queue_takes_is_told_at_once(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(rabbitmq.connect()) as connection:
        connection.channel().exchange_declare(amqp_names.events_exchange, "topic", durable=True)
    assert ask() == ExitCode.BROKER
    assert "nothing takes questions yet: no queue takes 'contact.question.asked'" in capsys.readouterr().err


def test_without_a_worker_it_says_that_nobody_listens_and_then_that_no_reply_came(
    topology: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("--timeout", "0.1") == ExitCode.NO_ANSWER
    err = capsys.readouterr().err
    assert "no worker listens to" in err
    assert "no reply within 0.1 s; the question stays accepted" in err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://guest:canary@127.0.0.1:{port}/", "RabbitMQ refuses the user or the password"),
        ("amqp://guest:guest@127.0.0.1:{port}/canary", "RabbitMQ knows no such vhost"),
        ("amqp://guest:guest@127.0.0.1:1/", "RabbitMQ cannot be reached"),
    ],
)
def test_broker_that_does_not_let_us_in_is_told_plainly(
    rabbitmq: RabbitMQ,
    url: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", url.format(port=rabbitmq.port))
    assert ask() == ExitCode.BROKER
    err = capsys.readouterr().err
    assert told in err
    assert "RABBITMQ_URL" in err
    assert "canary" not in err
    assert "Traceback" not in err


def test_broker_with_an_alarm_is_waited_for_no_longer_than_the_time_allowed(
    rabbitmq: RabbitMQ, topology: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with rabbitmq.alarmed():
        assert ask("--timeout", "0.5") == ExitCode.BROKER
    assert "takes no messages now: its alarm for memory or disk is on" in capsys.readouterr().err


def test_ask_is_ended_by_ctrl_c_although_an_alarm_keeps_the_broker_from_answering(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, topology: None, tmp_path: Path
) -> None:
    given = {**amqp_names.environment(), "RABBITMQ_URL": rabbitmq.url, "XDG_STATE_HOME": str(tmp_path)}
    with rabbitmq.alarmed():
        asking = subprocess.Popen(
            [sys.executable, "-m", "worker", "ask", "--contact", "C-1", "--question", "Why?"],
            env=environment(given),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(
            lambda: "blocked" in rabbitmq.rabbitmqctl("list_connections", "state"),
            within_s=60,
            what="the publisher is blocked",
        )
        asking.send_signal(signal.SIGINT)
        _, err = asking.communicate(timeout=60)
    assert (asking.returncode, err) == (ExitCode.INTERRUPTED, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--contact", " "), "that would be rejected: contact_id"),
        (("--question", ""), "that would be rejected: question"),
        (("--metadata", "{canary"), "is not JSON"),
        (("--metadata", "NaN"), "a number that JSON does not know"),
        (("--question", "canary" * 20_000), "event_too_large"),
    ],
)
def test_what_a_worker_would_reject_is_not_asked_at_all(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(*arguments) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert told in err
    assert "canary" not in err
