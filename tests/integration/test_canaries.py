"""Thousands of events with canaries in every field but their ids, while all sorts of things go wrong.

Nothing that contacts write and no secret may come out of the logs, the metrics, the traces, the details of
failed replies or the headers of rejected events. ``make canaries`` takes 10,000 events, which takes more than
a minute; ``ASKRELAY_TEST_CANARIES`` is any other number.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.core.log_events import EVENTS

EVENTS_IN_ALL = int(os.environ.get("ASKRELAY_TEST_CANARIES", "2000"))
#: Eight letters, so that it is a language tag as well.
CANARY = "Kanarien"
#: A trace's own state goes wherever the trace goes, so it is left out of the search of the traces, and only
#: there; W3C Trace Context forbids whoever writes it to put anything personal in.
TRACESTATE = f"crm={CANARY}"
#: Questions of one contact follow one another; many contacts keep many turns under way.
CONTACTS = EVENTS_IN_ALL // 6
#: Every 40th event cannot be taken in.
BAD_EVERY = 40
PUBLISHERS = 8
STRUCTURED = "application/cloudevents+json"
#: s. More than 10,000 events take on two busy cores.
WITHIN_S = 400.0
ANSWERS = {"status": 200, "when": "after_work"}
ERRORS = {"body": "envelope", "message": CANARY}
#: Call of the API, how often, and what happens then.
FAULTS = (
    (
        "post",
        0.003,
        {"kind": "reply", "status": 500, "body": "html", "when": "after_work", "message": CANARY},
    ),
    ("post", 0.003, {"kind": "reply", "status": 500, **ERRORS}),
    ("post", 0.002, {"kind": "reply", "status": 422, **ERRORS}),
    ("post", 0.003, {"kind": "reply", "status": 400, **ERRORS}),
    ("post", 0.002, {"kind": "reply", "body": "garbage", **ANSWERS}),
    ("post", 0.002, {"kind": "reply", "body": "truncated", **ANSWERS}),
    ("post", 0.002, {"kind": "reply", "body": "wrong_schema", **ANSWERS}),
    ("post", 0.003, {"kind": "reset", "at": "mid_body", "when": "after_work"}),
    ("post", 0.002, {"kind": "close", "at": "before_headers", "when": "after_work"}),
    ("post", 0.001, {"kind": "reset", "at": "before_headers"}),
    ("post", 0.001, {"kind": "reply", "status": 302, "location": f"http://127.0.0.1:1/{CANARY}"}),
    # Only once: when the look at the project that follows is not possible just then, the fleet halts for a
    # minute.
    ("post", 0.0, {"kind": "reply", "status": 401, **ERRORS}),
    ("create", 0.003, {"kind": "reply", "status": 500, "when": "after_work", **ERRORS}),
    ("list", 0.003, {"kind": "reply", "status": 503, **ERRORS}),
    ("list", 0.002, {"kind": "reply", "body": "garbage", **ANSWERS}),
)
#: Lines that must have been written, or the run has not shown what it is to show.
EXPECTED = {
    "agent.unavailable",
    "bus.disconnected",
    "event.rejected",
    "event.repeated",
    "gate.closed",
    "intake.batch_accepted",
    "ledger.lost",
    "reply.published",
    "turn.finished",
    "worker.stopping",
}
VERDICTS = {"answered", "failed", "retry", "snooze", "halt"}


def spellings() -> set[str]:
    """Return the canary as text, and as base64 and hex would show it at any place of a longer text."""
    word = CANARY.lower().encode()
    found = {CANARY.lower(), word.hex()}
    for spelled in (word, CANARY.encode()):
        for before in range(3):
            whole = base64.b64encode(b"\0" * before + spelled).decode()
            # The first and the last digits depend on the neighbours.
            found.add(whole[before and 4 :].rstrip("=")[:-1].lower())
    return found


SPELLINGS = spellings()


def canaries_in(text: str) -> list[str]:
    """Return what stands around each canary: nothing is how it should be."""
    lowered = text.lower()
    return [
        text[max(0, place - 80) : place + 80]
        for spelling in SPELLINGS
        if (place := lowered.find(spelling)) >= 0
    ]


def data_of(number: int) -> dict[str, Any]:
    return {
        "contact_id": f"{CANARY}-{number % CONTACTS}",
        "question": f"{CANARY} {number}: may I?",
        "thread_id": f"{CANARY}-thread" if number % 2 else None,
        "lang": CANARY.lower(),
        "metadata": {CANARY: [CANARY, {"deep": CANARY}], "number": number},
        CANARY: CANARY,
    }


@dataclass(frozen=True)
class Message:
    """One event as it goes onto the bus."""

    body: bytes
    content_type: str
    properties: dict[str, Any] = field(default_factory=dict)


def _envelope(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"evt-{number}",
        "source": "crm/test",
        "type": "contact.question.asked",
        "time": "2026-11-20T20:00:00Z",
        "subject": CANARY,
        "dataschema": f"https://{CANARY}.example/schema",
        f"{CANARY.lower()}ext": CANARY,
        "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01",
        "tracestate": TRACESTATE,
        "data": data_of(number),
        **changes,
    }


def good(number: int) -> Message:
    """Return an event in one of the three ways in which there are events, with canaries beside it."""
    properties = {
        "headers": {f"x-{CANARY}": CANARY, "nested": {CANARY: [CANARY]}},
        "correlation_id": CANARY,
        "reply_to": CANARY,
    }
    match number % 3:
        case 0:
            return Message(json.dumps(_envelope(number)).encode(), STRUCTURED, properties)
        case 1:
            attributes = {f"cloudEvents:{k}": v for k, v in _envelope(number).items() if k != "data"}
            properties["headers"] |= attributes
            return Message(json.dumps(data_of(number)).encode(), "application/json", properties)
        case _:
            properties |= {"message_id": f"evt-{number}", "app_id": "crm/test"}
            return Message(json.dumps(data_of(number)).encode(), "application/json", properties)


def bad(number: int) -> Message:
    """Return an event that cannot be taken in, with canaries in what is wrong with it."""
    kinds: tuple[bytes, ...] = (
        json.dumps(_envelope(number, type=CANARY)).encode(),
        json.dumps(_envelope(number, data={"contact_id": CANARY})).encode(),
        json.dumps(_envelope(number, data={"contact_id": f"{CANARY}\x07", "question": CANARY})).encode(),
        json.dumps(_envelope(number, time=CANARY)).encode(),
        json.dumps(_envelope(number, data={**data_of(number), "lang": f"{CANARY} {CANARY}"})).encode(),
        json.dumps(_envelope(number, specversion=CANARY)).encode(),
        json.dumps(_envelope(number, data=CANARY)).encode(),
        # The same id as a good one, and other data.
        json.dumps(_envelope(number - number % BAD_EVERY - BAD_EVERY + 1, data=data_of(1))).encode(),
        b'{"' + CANARY.encode() + b'": NaN}',
        b'{"' + CANARY.encode() + b'": 1, "' + CANARY.encode() + b'": 2}',
        CANARY.encode() + b"\xff",
        CANARY.encode() * 9000,
    )
    return Message(kinds[number // BAD_EVERY % len(kinds)], STRUCTURED, {"headers": {CANARY: CANARY}})


def is_bad(number: int) -> bool:
    return number % BAD_EVERY == BAD_EVERY - 1


class Collector:
    """Takes spans over OTLP and keeps their bytes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    yield collector
    collector.server.shutdown()
    thread.join()
    collector.server.server_close()


@contextmanager
def fleet_with_faults(
    rabbitmq: RabbitMQ, names: AmqpNames, database_url: str, folder: Path, collector: Collector
) -> Iterator[Fleet]:
    settings = {
        "CUSTOMGPT_API_KEY": f"key-{CANARY}",
        "ASKRELAY_LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        # What left no trace is posted again after this.
        "ASKRELAY_REQUEST_TIMEOUT_S": "3",
        "ASKRELAY_SETTLE_S": "6",
    }
    with Fleet(
        rabbitmq=rabbitmq,
        names=names,
        database_url=database_url,
        folder=folder,
        latency_s=0,
        settings=settings,
    ) as fleet:
        fleet.sandbox.set_faults(*faults(), throttle())
        for _ in range(2):
            fleet.start_worker(command=("tests.brisk_worker",))
        yield fleet


def faults() -> Iterator[dict[str, Any]]:
    """Yield each fault once for certain, and then by chance."""
    for number, (call, probability, action) in enumerate(FAULTS):
        yield {"match": {"call": call, "nth": 20 + 7 * number}, "action": action}
        yield {"match": {"call": call, "probability": probability}, "action": action}


def throttle() -> dict[str, Any]:
    """Return what closes the gate for a second."""
    nth = EVENTS_IN_ALL // 4
    return {"match": {"call": "post", "nth": nth}, "action": {"kind": "throttle", "retry_after": "1"}}


def exhaust_credits(fleet: Fleet) -> None:
    """Let one more question halt the fleet; the next try would be in a quarter of an hour."""
    fleet.sandbox.set_faults({"match": {"call": "post"}, "action": {"kind": "credits"}})
    message = good(3 * EVENTS_IN_ALL)
    with fleet.publishing() as channel:
        fleet.publish_raw(channel, message.body, message.content_type, **message.properties)
    fleet.wait_until(lambda: "agent.unavailable" in all_logs(fleet), "the halt")


def publish(fleet: Fleet, first: int) -> None:
    with fleet.publishing() as channel:
        for number in range(first, EVENTS_IN_ALL, PUBLISHERS):
            message = bad(number) if is_bad(number) else good(number)
            for _ in range(2 if number % 500 == 0 else 1):
                fleet.publish_raw(channel, message.body, message.content_type, **message.properties)


def rejected(fleet: Fleet, count: int) -> list[dict[str, Any]]:
    """Take so many rejected events and return their headers."""
    found: list[dict[str, Any]] = []
    with fleet.rabbitmq.connect() as connection:
        channel = connection.channel()

        def are_all_there() -> bool:
            while len(found) < count:
                method, properties, _ = channel.basic_get(fleet.names.rejected_queue, auto_ack=True)
                if method is None:
                    return False
                found.append(properties.headers)
            return True

        fleet.wait_until(are_all_there, f"{count} rejected events")
    return found


def all_logs(fleet: Fleet) -> str:
    return "".join(path.read_text() for path in sorted(fleet.folder.glob("worker-*.log")))


def told_over_http(fleet: Fleet) -> str:
    """Return what every worker says to whoever asks over HTTP."""
    told = []
    for line in fleet.logs():
        if line["event"] == "health.listening":
            for path in ("/metrics", "/health/live", "/health/ready"):
                connection = http.client.HTTPConnection("127.0.0.1", line["port"], timeout=30)
                connection.request("GET", path)
                told.append(connection.getresponse().read().decode())
                connection.close()
    return "".join(told)


def cut_connections(database_url: str) -> None:
    """End every connection to the database, in whatever statement it is."""
    url = sa.make_url(database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def test_no_canary_comes_out_of_a_fleet_in_trouble(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, postgres: Postgres, tmp_path: Path, collector: Collector
) -> None:
    database_url = postgres.new_database()
    asked = sum(not is_bad(number) for number in range(EVENTS_IN_ALL))
    try:
        with fleet_with_faults(rabbitmq, amqp_names, database_url, tmp_path, collector) as fleet:
            with ThreadPoolExecutor(PUBLISHERS) as publishers:
                publishing = [publishers.submit(publish, fleet, first) for first in range(PUBLISHERS)]
                fleet.wait_for_replies(asked // 4, within_s=WITHIN_S)
                cut_connections(database_url)
                fleet.wait_for_replies(asked // 3, within_s=WITHIN_S)
                for done in publishing:
                    done.result()
            rabbitmq.rabbitmqctl("close_all_connections", "maintenance")
            fleet.wait_for_replies(asked, within_s=WITHIN_S)
            exhaust_credits(fleet)
            headers = rejected(fleet, EVENTS_IN_ALL - asked)
            http_text, status = told_over_http(fleet), fleet.askrelay("status", "--json")
            for worker in fleet.workers:
                assert fleet.stop_worker(worker) == 0
            lines = list(fleet.logs())
            replies = {reply["id"]: reply for reply in fleet.replies}
    finally:
        postgres.drop_database(database_url)

    logs = all_logs(fleet)
    traces = b"".join(collector.bodies).decode("latin-1").replace(TRACESTATE, "")
    details = [f"{reply['data'].get('reason')} {reply['data'].get('detail')}" for reply in replies.values()]
    marks = [f"{name}: {value}" for each in headers for name, value in each.items() if "askrelay" in name]
    assert canaries_in(logs) == []
    assert canaries_in(http_text) == []
    assert canaries_in(traces) == []
    assert canaries_in(status) == []
    assert canaries_in("\n".join(details)) == []
    assert canaries_in("\n".join(marks)) == []

    outcomes = Counter(line["outcome"] for line in lines if line.get("outcome"))
    print(f"{EVENTS_IN_ALL} events, {len(headers)} rejected, {outcomes}, {len(details)} replies")
    print(f"searched: {len(logs)} of logs, {len(traces)} of traces, {len(http_text)} over HTTP")
    # It was all there: every way in, every way to go wrong.
    assert len(replies) == asked
    seen = Counter(line["event"] for line in lines)
    assert set(seen) >= EXPECTED
    assert set(seen) <= set(EVENTS)
    assert {line["verdict"] for line in lines if line["event"] == "turn.finished"} == VERDICTS
    assert {line.get("outcome") for line in lines} >= {"posted", "recovered", "reposted_after_unknown"}
    assert len({each["x-askrelay-reason"] for each in headers}) == 5
    assert any(reply["type"].endswith(".failed") for reply in replies.values())
    assert len(traces) > 100 * asked
    assert http_text.count("askrelay_turns_total{") > 0


def test_a_canary_would_be_noticed() -> None:
    assert canaries_in(f"a line with {CANARY} in it")
    assert canaries_in(json.dumps({"question": CANARY.upper()}))
    for before in ("", "a", "ab", "abc"):
        for after in ("", "z", "zy", "zyx"):
            assert canaries_in(base64.b64encode(f"{before}{CANARY}{after}".encode()).decode())
    assert canaries_in(CANARY.lower().encode().hex())
    assert canaries_in("evt-1 crm/test 5bdcc146bf60754e") == []
