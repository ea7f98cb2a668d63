"""Traces through a real broker and real processes, with OpenTelemetry's in-memory exporter in each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tests.fleet import Fleet
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
#: The span in which the CRM published its event.
CRM_SPAN_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CRM_SPAN_ID}-01"
TRACESTATE = "crm=t61rcWkgMzE"
CANARY = "c4n4ry"


@dataclass
class Traced:
    """A fleet whose workers write their spans down, and replies with their headers."""

    fleet: Fleet
    folder: Path
    queue: str

    def start_worker(self, **settings: str) -> Any:
        """Start a worker that exports at once."""
        path = self.folder / f"spans-{len(self.fleet.workers)}"
        path.touch()
        command = ("tests.traced_worker", str(path))
        return self.fleet.start_worker(command=command, OTEL_BSP_SCHEDULE_DELAY="50", **settings)

    def spans_text(self) -> str:
        """Return all that was exported so far."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("spans-*")))

    def spans(self, kind: str = "", name: str = "") -> list[dict[str, Any]]:
        """Return the spans of a kind whose name begins so, in the order in which they began."""
        found = [json.loads(line) for line in self.spans_text().splitlines()]
        chosen = [each for each in found if each["kind"].endswith(kind) and each["name"].startswith(name)]
        return sorted(chosen, key=lambda span: str(span["start_time"]))

    def wait_for_spans(self, count: int, kind: str = "", name: str = "") -> list[dict[str, Any]]:
        """Wait until there are so many spans of a kind; a span is exported some time after its end."""
        self.fleet.wait_until(
            lambda: len(self.spans(kind, name)) >= count, f"{count} spans of {kind} {name}", within_s=60
        )
        return self.spans(kind, name)

    def stop_workers(self) -> None:
        """Stop every worker, which exports what is left."""
        for worker in self.fleet.workers:
            if worker not in self.fleet.stopped:
                assert self.fleet.stop_worker(worker) == 0, self.fleet.log_ends()

    def publish(self, asked: Asked, **properties: Any) -> None:
        """Publish a question, with extensions of the event under ``extensions``."""
        event = {
            "specversion": "1.0",
            "id": asked.event_id,
            "source": "crm/test",
            "type": "contact.question.asked",
            "data": {
                "contact_id": asked.contact_id,
                "question": asked.question,
                "metadata": {"note": f"{CANARY} metadata"},
                "thread_id": f"{CANARY} thread",
            },
            **properties.pop("extensions", {}),
        }
        with self.fleet.publishing() as channel:
            body = json.dumps(event).encode()
            self.fleet.publish_raw(channel, body, "application/cloudevents+json", **properties)

    def reply(self, asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait for a question's reply and return its event and its AMQP headers."""
        with self.fleet.rabbitmq.connect() as connection:
            channel = connection.channel()
            found: list[tuple[dict[str, Any], dict[str, Any]]] = []

            def has_come() -> bool:
                method, properties, body = channel.basic_get(self.queue, auto_ack=True)
                if method is not None and json.loads(body)["data"]["question_id"] == asked.event_id:
                    found.append((json.loads(body), properties.headers or {}))
                return bool(found)

            self.fleet.wait_until(has_come, f"the reply to {asked.event_id}", within_s=60)
            return found[0]


Start = Callable[[], Traced]


@pytest.fixture
def start(rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a fleet without workers yet; it ends with the test."""
    with ExitStack() as stack:

        def begin() -> Traced:
            url = f"sqlite:///{tmp_path / 'ledger.db'}"
            fleet = Fleet(rabbitmq=rabbitmq, names=amqp_names, database_url=url, folder=tmp_path)
            stack.enter_context(fleet)
            queue = f"{amqp_names.prefix}.traced"
            connection = stack.enter_context(rabbitmq.connect())
            channel = connection.channel()
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, amqp_names.events_exchange, "contact.question.answered")
            channel.queue_bind(queue, amqp_names.events_exchange, "contact.question.failed")
            stack.callback(delete_queue, rabbitmq, queue)
            return Traced(fleet, tmp_path, queue)

        yield begin


def delete_queue(rabbitmq: RabbitMQ, queue: str) -> None:
    with rabbitmq.connect() as connection:
        connection.channel().queue_delete(queue)


def asked(event_id: str) -> Asked:
    return Asked(event_id, f"{CANARY} contact", f"{CANARY} question")


def parts(traceparent: str) -> tuple[str, str]:
    """Return trace id and span id."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return trace_id, span_id


def ids(span: dict[str, Any]) -> tuple[str, str]:
    context = span["context"]
    return context["trace_id"].removeprefix("0x"), context["span_id"].removeprefix("0x")


def parent(span: dict[str, Any]) -> str:
    return str(span["parent_id"]).removeprefix("0x")


def seen_by_the_api(fleet: Fleet, call: str) -> list[str | None]:
    return [effect["traceparent"] for effect in fleet.sandbox.effects("request") if effect["call"] == call]


def test_one_trace_leads_from_the_event_through_two_processes_to_the_api_and_the_reply(start: Start) -> None:
    traced = start()
    # The first process takes the event in and is told to slow down; the second one answers.
    traced.fleet.sandbox.set_faults(
        {"match": {"call": "post"}, "action": {"kind": "throttle", "retry_after": "1"}}
    )
    first = traced.start_worker()
    question = asked("evt-1")
    traced.publish(question, headers={"traceparent": TRACEPARENT, "tracestate": TRACESTATE})
    traced.wait_for_spans(1, "INTERNAL", "turn")
    traced.fleet.stop_worker(first)
    traced.fleet.sandbox.set_faults()
    traced.start_worker()
    event, headers = traced.reply(question)
    traced.stop_workers()

    [received] = traced.spans("CONSUMER")
    turns, posts = traced.spans("INTERNAL", "turn"), traced.spans("CLIENT", "invoke_agent")
    [published] = traced.spans("PRODUCER")
    answered, posted = turns[-1], posts[-1]
    workers = [span["resource"]["attributes"]["service.instance.id"] for span in (received, answered)]
    assert len(set(workers)) == 2
    assert {ids(span)[0] for span in traced.spans()} == {TRACE_ID}
    assert parent(received) == CRM_SPAN_ID
    assert {parent(turn) for turn in turns} == {ids(received)[1]}
    assert {parent(post) for post in posts} <= {ids(turn)[1] for turn in turns}
    assert [parent(posted), parent(published)] == [ids(answered)[1]] * 2
    # The API saw its client span; the CRM has the turn's span in the event, the publish's in the header.
    assert [parts(seen or "") for seen in seen_by_the_api(traced.fleet, "post")] == list(map(ids, posts))
    assert len(posts) > 1
    assert parts(event["traceparent"]) == ids(answered)
    assert parts(headers["traceparent"]) == ids(published)
    assert {event["tracestate"], headers["tracestate"]} == {TRACESTATE}
    [line] = [each for each in traced.fleet.logs() if each.get("verdict") == "answered"]
    assert (line["trace_id"], line["span_id"]) == ids(answered)


def test_spans_follow_the_conventions(start: Start) -> None:
    traced = start()
    traced.start_worker()
    question = asked("evt-1")
    traced.publish(question, extensions={"traceparent": TRACEPARENT})
    event, _ = traced.reply(question)
    traced.stop_workers()
    names, data = traced.fleet.names, event["data"]
    [received], [turn] = traced.spans("CONSUMER"), traced.spans("INTERNAL")
    [posted], [published] = traced.spans("CLIENT", "invoke_agent"), traced.spans("PRODUCER")
    came_by = f"{names.events_exchange}:contact.question.asked:{names.question_queue}"
    goes_by = f"{names.events_exchange}:contact.question.answered"
    assert parent(received) == CRM_SPAN_ID
    assert (received["name"], published["name"]) == (f"process {came_by}", f"publish {goes_by}")
    assert (
        received["attributes"]
        | {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.destination.name": came_by,
            "cloudevents.event_id": "evt-1",
            "cloudevents.event_source": "crm/test",
        }
        == received["attributes"]
    )
    assert (
        turn["attributes"]
        | {
            "askrelay.question_id": "evt-1",
            "askrelay.verdict": "answered",
            "askrelay.conversation_id": data["conversation_id"],
            "askrelay.answer_chars": len(data["answer"]),
            "askrelay.question_chars": len(question.question),
        }
        == turn["attributes"]
    )
    assert (
        posted["attributes"]
        | {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "customgpt",
            "gen_ai.agent.id": "123",
            "gen_ai.conversation.id": data["session_id"],
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "url.template": "/api/v1/projects/{project_id}/conversations/{session_id}/messages",
        }
        == posted["attributes"]
    )
    assert (
        published["attributes"]
        | {
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.message.id": event["id"],
            "messaging.message.conversation_id": "evt-1",
            "messaging.rabbitmq.destination.routing_key": "contact.question.answered",
        }
        == published["attributes"]
    )
    created = [span["name"] for span in traced.spans("CLIENT") if parent(span) == ids(turn)[1]]
    assert "POST /projects/{project_id}/conversations" in created


def test_a_trace_is_begun_where_there_is_none_and_not_exported_where_its_producer_says_so(
    start: Start,
) -> None:
    traced = start()
    traced.start_worker()
    quiet, new = asked("evt-quiet"), asked("evt-new")
    traced.publish(quiet, headers={"traceparent": TRACEPARENT[:-2] + "00"})
    event, headers = traced.reply(quiet)
    carried = [event["traceparent"], headers["traceparent"], *seen_by_the_api(traced.fleet, "post")]
    assert [(parts(each or "")[0], (each or "")[-2:]) for each in carried] == [(TRACE_ID, "00")] * 3

    traced.publish(new, extensions={"traceparent": "00-broken", "tracestate": f"crm={CANARY}"})
    event, _ = traced.reply(new)
    traced.stop_workers()
    [received] = traced.spans("CONSUMER")
    assert received["parent_id"] is None
    assert {ids(span)[0] for span in traced.spans()} == {parts(event["traceparent"])[0]}
    assert TRACE_ID not in traced.spans_text()


def test_spans_hold_nothing_of_what_contacts_wrote(start: Start) -> None:
    traced = start()
    traced.fleet.sandbox.set_faults(
        {"match": {"call": "post", "times": 1}, "action": {"kind": "reset", "when": "after_work"}},
        {"match": {"nth": 6}, "action": {"kind": "reply", "status": 400, "message": f"{CANARY} refused"}},
    )
    traced.start_worker()
    for number in range(4):
        traced.publish(Asked(f"evt-{number}", f"{CANARY} {number % 2}", f"{CANARY} question {number}"))
    with traced.fleet.publishing() as channel:
        for body in (b'{"c4n4ry', b'{"id": "c4n4ry", "contact_id": "c4n4ry"}', b'{"specversion": "c4n4ry"}'):
            traced.fleet.publish_raw(
                channel,
                body,
                "application/c4n4ry",
                message_id=f"{CANARY} message",
                correlation_id=CANARY,
                headers={CANARY: CANARY, "tracestate": f"crm={CANARY}", "traceparent": TRACEPARENT[:40]},
            )
    traced.fleet.wait_for_replies(4)
    refused = traced.wait_for_spans(7, "CONSUMER")
    traced.stop_workers()
    assert sum(span["status"]["status_code"] == "ERROR" for span in refused) == 3
    assert len(traced.spans("INTERNAL")) > 4
    assert CANARY not in traced.spans_text()


class Collector(BaseHTTPRequestHandler):
    """A collector that refuses the first requests."""

    refusals = 2
    got: ClassVar[list[tuple[str | None, bytes]]] = []

    def do_POST(self) -> None:
        """Take spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_refused = len(self.got) < self.refusals
        self.got.append((self.headers["Authorization"], body))
        self.send_response(401 if is_refused else 200, f"{CANARY}-words")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def collector() -> Iterator[str]:
    """Return the address of a collector."""
    Collector.got.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_a_collector_gets_the_spans_and_its_refusals_are_told_once(start: Start, collector: str) -> None:
    traced = start()
    fleet = traced.fleet
    fleet.start_worker(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector,
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization={CANARY}-token",
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    for number in range(3):
        traced.publish(asked(f"evt-{number}"), headers={"traceparent": TRACEPARENT})
        fleet.wait_for_replies(number + 1)
        fleet.wait_until(lambda so_far=number: len(Collector.got) > so_far, "the collector was asked")
    traced.stop_workers()
    taken = [TracesData.FromString(body) for _, body in Collector.got[Collector.refusals :]]
    spans = [
        span
        for each in taken
        for of in each.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]
    assert spans
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
    assert {authorization for authorization, _ in Collector.got} == {f"{CANARY}-token"}
    told = [line for line in fleet.logs() if line["event"].startswith("traces.")]
    assert [line["event"] for line in told] == ["traces.lost", "traces.restored"]
    assert told[0]["detail"] == "status 401"
    log = (traced.folder / "worker-0.log").read_text()
    assert "opentelemetry" not in log
    assert CANARY not in log


def test_without_traces_the_context_goes_on_as_it_came(start: Start) -> None:
    traced = start()
    traced.fleet.start_worker()
    question = asked("evt-1")
    traced.publish(question, headers={"traceparent": TRACEPARENT, "tracestate": TRACESTATE})
    event, headers = traced.reply(question)
    assert [event["traceparent"], headers["traceparent"]] == [TRACEPARENT] * 2
    assert seen_by_the_api(traced.fleet, "post") == [TRACEPARENT]
    assert set(seen_by_the_api(traced.fleet, "create")) == {None}
