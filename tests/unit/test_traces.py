"""What spans tell, where they hang, and that exporting them can neither slow down nor stop anything."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv import attributes as stable, schemas
from opentelemetry.semconv._incubating import attributes as incubating

from schemas.examples import ASKED_EXAMPLE, RATED_EXAMPLE
from tests.unit.core_cases import CONTACT, TEXT, Bench
from tests.unit.fakes import Log
from worker import bootstrap
from worker.adapters.memory_bus import MemoryBroker, MemoryBus, MemoryMessage
from worker.adapters.traces import BusFacts, OtelTracer, TracedBus, Traces, conventions, exporting
from worker.core.errors import SettingsError
from worker.core.model import Failed, Reply, Snooze
from worker.core.ports import PublishResult
from worker.core.traces import NoTracer
from worker.core.turn import finish, take_turn
from worker.settings import Settings

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
POST = ("post_question", "POST", "/projects/{project_id}/conversations/{session_id}/messages")
POST_URL = "https://user:pw@api.example/api/v1/projects/123/conversations/s%2F1/messages?external_id=EXT_1"
FACTS = BusFacts(
    address="broker",
    port=5672,
    exchange="crm.events",
    question_queue="askrelay.questions",
    asked_key="contact.question.asked",
    rated_key="contact.answer.rated",
    reply_keys={"answered": "contact.question.answered", "failed": "contact.question.failed"},
    default_source="crm",
)


class Spans:
    """OpenTelemetry with its in-memory exporter, each span exported as it ends."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.otel = self.provider.get_tracer("test")
        self.tracer = OtelTracer(self.otel)

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def one(self) -> ReadableSpan:
        [span] = self.ended
        return span


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


def hashed(_: str) -> str:
    return "hash"


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def traceparent_of(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


# Turns


async def test_turn_posts_and_replies_under_its_own_span(spans: Spans) -> None:
    bench = Bench()
    turn = bench.turn(traceparent=TRACEPARENT, tracestate="crm=1")
    span = spans.tracer.begin_turn(turn, hashed)
    span.ended(turn, await finish(turn, await take_turn(turn)))
    span.close()
    ended = spans.one
    assert ended.parent is not None
    assert traceparent_of(ended) != TRACEPARENT
    assert f"{ended.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    [posted] = bench.assistant.called("post_question")
    assert traceparent_of(ended) in posted
    assert (bench.reply.traceparent, bench.reply.tracestate) == (traceparent_of(ended), "crm=1")
    assert json.loads(bench.reply.body)["traceparent"] == traceparent_of(ended)


async def test_turn_tells_ids_lengths_and_codes_and_nothing_that_was_written(spans: Spans) -> None:
    bench = Bench()
    turn = bench.turn()
    span = spans.tracer.begin_turn(turn, hashed)
    span.ended(turn, await finish(turn, await take_turn(turn)))
    span.close()
    found = told(spans.one)
    assert found["askrelay.question_id"] == "evt-1"
    assert (found["askrelay.contact_hash"], found["askrelay.question_chars"]) == ("hash", len(TEXT))
    assert (found["askrelay.verdict"], found["askrelay.outcome"]) == ("answered", "posted")
    assert found["askrelay.answer_chars"] == len(bench.reply_data["answer"])
    for written in (CONTACT, TEXT, bench.reply_data["answer"], "T-9"):
        assert written not in spans.one.to_json()


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Failed("expired"), api.StatusCode.ERROR), (Snooze("gate_closed", 1.0), api.StatusCode.UNSET)],
)
def test_turn_that_fails_is_an_error_and_one_that_waits_is_none(
    spans: Spans, verdict: Failed | Snooze, status: api.StatusCode
) -> None:
    turn = Bench().turn()
    span = spans.tracer.begin_turn(turn, hashed)
    span.ended(turn, verdict)
    span.close()
    assert (spans.one.status.status_code, told(spans.one)["askrelay.error_code"]) == (status, verdict.code)


def test_turn_that_is_lost_says_why(spans: Spans) -> None:
    span = spans.tracer.begin_turn(Bench().turn(), hashed)
    span.lost("lease_lost")
    span.close()
    assert told(spans.one)["error.type"] == "lease_lost"


def test_without_a_tracer_the_context_of_the_event_goes_on() -> None:
    turn, tracer = Bench().turn(traceparent=TRACEPARENT), NoTracer()
    span = tracer.begin_turn(turn, hashed)
    assert turn.question.traceparent == TRACEPARENT
    # Nothing is made for any turn or call: that is what keeps it free of cost.
    assert tracer.begin_turn(turn, hashed) is span
    assert tracer.begin_call(*POST, POST_URL) is tracer.begin_call(*POST, POST_URL)
    assert not tracer.begin_call(*POST, POST_URL).headers


def test_a_worker_without_traces_does_not_import_opentelemetry() -> None:
    code = "import worker.bootstrap, sys; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Calls


def test_call_is_a_child_of_its_turn_and_goes_out_with_its_own_context(spans: Spans) -> None:
    turn_span = spans.tracer.begin_turn(Bench().turn(traceparent=TRACEPARENT, tracestate="crm=1"), hashed)
    call_span = spans.tracer.begin_call(*POST, POST_URL)
    call_span.close(200, "")
    turn_span.close()
    call, turn = spans.ended
    assert call.parent is not None
    assert call.parent.span_id == turn.context.span_id
    assert dict(call_span.headers) == {"traceparent": traceparent_of(call), "tracestate": "crm=1"}
    assert call.kind is api.SpanKind.CLIENT


def test_call_outside_of_a_turn_begins_a_trace(spans: Spans) -> None:
    spans.tracer.begin_turn(Bench().turn(traceparent=TRACEPARENT), hashed).close()
    spans.tracer.begin_call(*POST, POST_URL).close(200, "")
    assert spans.ended[1].parent is None


def test_call_tells_its_address_without_query_and_password(spans: Spans) -> None:
    spans.tracer.begin_call(*POST, POST_URL).close(200, "")
    found = told(spans.one)
    address = "https://api.example/api/v1/projects"
    assert found["url.full"] == f"{address}/123/conversations/s%2F1/messages"
    assert found["url.template"] == f"/api/v1{POST[2]}"
    assert (found["server.address"], found["server.port"]) == ("api.example", 443)
    assert (found["gen_ai.agent.id"], found["gen_ai.conversation.id"]) == ("123", "s/1")


def test_a_post_without_a_conversation_is_told_as_a_post_too(spans: Spans) -> None:
    path = "/projects/{project_id}/chat/completions"
    url = "https://api.example/api/v1/projects/123/chat/completions"
    spans.tracer.begin_call("complete", "POST", path, url).close(200, "")
    found = told(spans.one)
    assert spans.one.name == "invoke_agent"
    assert found["gen_ai.agent.id"] == "123"
    assert "gen_ai.conversation.id" not in found


@pytest.mark.parametrize(
    ("status", "trouble", "error"),
    [
        (200, "", None),
        (429, "", "429"),
        (200, "answer cut off", "answer cut off"),
        (None, "time-out", "time-out"),
        (None, "", "cancelled"),
    ],
)
def test_call_ends_as_what_became_of_it(
    spans: Spans, status: int | None, trouble: str, error: str | None
) -> None:
    spans.tracer.begin_call(*POST, POST_URL).close(status, trouble)
    found = told(spans.one)
    assert (found.get("http.response.status_code"), found.get("error.type")) == (status, error)
    assert (spans.one.status.status_code is api.StatusCode.ERROR) is (error is not None)


# Events and replies


class OnBus:
    """A traced bus within the process, and what it is between."""

    def __init__(self, spans: Spans) -> None:
        self.broker = MemoryBroker()
        self.bus = TracedBus(MemoryBus(self.broker), spans.otel, FACTS)
        self.queue = self.broker.bind("contact.question.answered")

    def ask(self, event: dict[str, Any], **headers: str) -> None:
        self.broker.publish_event(json.dumps(event).encode(), headers=headers)


def reply(kind: str = "answered", tracestate: str | None = None) -> Reply:
    return Reply("reply-1", kind, b"{}", "evt-1", TRACEPARENT, tracestate)  # type: ignore[arg-type]


async def test_event_goes_on_under_its_span_until_it_is_acked(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    on.ask(ASKED_EXAMPLE, tracestate="stale=1")
    [delivery] = await on.bus.receive(10)
    assert spans.ended == ()
    on.bus.ack([delivery])
    received = spans.one
    assert received.parent is not None
    assert f"{received.parent.span_id:016x}" == ASKED_EXAMPLE["traceparent"].split("-")[2]
    # The tracestate belonged to no traceparent.
    assert delivery.headers == {"traceparent": traceparent_of(received)}
    assert told(received)["cloudevents.event_id"] == ASKED_EXAMPLE["id"]
    assert received.kind is api.SpanKind.CONSUMER


async def test_a_rating_is_told_by_its_own_key_and_id(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    on.ask(RATED_EXAMPLE, traceparent=TRACEPARENT)
    on.ask({**RATED_EXAMPLE, "data": {}})
    on.bus.ack(await on.bus.receive(10))
    rated, refused = sorted(spans.ended, key=lambda span: span.parent is None)
    for span in (rated, refused):
        assert span.name == "process crm.events:contact.answer.rated:askrelay.questions"
    assert told(rated)["cloudevents.event_id"] == RATED_EXAMPLE["id"]
    assert told(rated)["cloudevents.event_source"] == RATED_EXAMPLE["source"]
    assert rated.parent is not None
    assert f"{rated.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert "cloudevents.event_id" not in told(refused)


async def test_the_header_of_an_event_wins_over_its_extension(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    other = TRACEPARENT.replace("00f067aa0ba902b7", "1111111111111111")
    on.ask(ASKED_EXAMPLE, traceparent=other, tracestate="crm=1")
    [delivery] = await on.bus.receive(10)
    on.bus.ack([delivery])
    assert spans.one.parent is not None
    assert f"{spans.one.parent.span_id:016x}" == "1111111111111111"
    assert delivery.headers["tracestate"] == "crm=1"


async def test_event_in_binary_mode_names_its_trace_with_the_prefix_of_the_others(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    attributes = {name: value for name, value in ASKED_EXAMPLE.items() if name != "data"}
    headers = {f"cloudEvents:{name}": value for name, value in attributes.items()}
    on.broker.publish_event(
        json.dumps(ASKED_EXAMPLE["data"]).encode(), content_type="application/json", headers=headers
    )
    [delivery] = await on.bus.receive(10)
    on.bus.ack([delivery])
    assert spans.one.parent is not None
    assert f"{spans.one.parent.span_id:016x}" == ASKED_EXAMPLE["traceparent"].split("-")[2]


async def test_rejected_event_ends_as_an_error_and_keeps_its_own_headers(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    on.ask({"id": "CANARY", "source": "CANARY"}, traceparent=TRACEPARENT)
    [delivery] = await on.bus.receive(10)
    assert await on.bus.reject(delivery, reason="malformed_event", detail="") is PublishResult.CONFIRMED
    on.bus.ack([delivery])
    assert told(spans.one)["error.type"] == "malformed_event"
    assert "CANARY" not in spans.one.to_json()
    assert (await on.broker.rejected.get()).headers["traceparent"] == TRACEPARENT


async def test_event_that_is_given_back_ends_its_span_and_comes_again_with_another(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    on.ask(ASKED_EXAMPLE)
    await on.bus.receive(10)
    await on.bus.reset_intake()
    assert told(spans.one)["error.type"] == "given_back"
    [again] = await on.bus.receive(10)
    await on.bus.stop_intake()
    assert again.headers["traceparent"] == traceparent_of(spans.ended[1])
    assert again.headers["traceparent"] != traceparent_of(spans.ended[0])


async def test_every_publish_of_a_reply_has_its_own_span_and_the_same_body(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    await on.bus.publish([reply(tracestate="crm=1")])
    await on.bus.publish([reply(tracestate="crm=1")])
    sent: list[MemoryMessage] = [await on.queue.get(), await on.queue.get()]
    assert [message.headers["traceparent"] for message in sent] == list(map(traceparent_of, spans.ended))
    assert {message.headers["tracestate"] for message in sent} == {"crm=1"}
    assert {message.body for message in sent} == {b"{}"}
    assert {span.parent and f"{span.parent.span_id:016x}" for span in spans.ended} == {"00f067aa0ba902b7"}


async def test_reply_that_no_queue_takes_ends_as_an_error(spans: Spans) -> None:
    on = OnBus(spans)
    await on.bus.start()
    assert await on.bus.publish([reply("failed")]) == [PublishResult.RETURNED]
    assert told(spans.one)["error.type"] == "reply_unroutable"


# Exporting


class Collector(SpanExporter):
    """An exporter that does as it is told: a result, or what to raise."""

    def __init__(self, *results: SpanExportResult | Exception) -> None:
        self.results = list(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def test_a_collector_that_is_away_is_told_once_and_its_return_once(spans: Spans) -> None:
    log, good, bad = Log(), SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    collector = Collector(good, bad, OSError("CANARY"), good, good)
    exporter = exporting.WatchedExporter(collector, log)
    spans.tracer.begin_call(*POST, POST_URL).close(200, "")
    for _ in range(5):
        exporter.export(spans.ended)
    exporter.shutdown()
    assert [event for event, _ in log.lines] == ["traces.lost", "traces.restored"]
    assert "CANARY" not in str(log.lines)


async def test_a_collector_that_hangs_holds_up_neither_turns_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "CLOSE_S", 0.05)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    is_asked, may_end = threading.Event(), threading.Event()

    class Hanging(InMemorySpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            is_asked.set()
            may_end.wait(60)
            return super().export(spans)

    traces = Traces(Hanging(), version="1", worker_id="w", log=Log())
    try:
        traces.tracer.begin_call(*POST, POST_URL).close(200, "")
        assert await asyncio.to_thread(is_asked.wait, 30)
        for _ in range(100):  # many more than the queue holds
            traces.tracer.begin_call(*POST, POST_URL).close(200, "")
        await asyncio.wait_for(traces.close(), 30)
        assert not may_end.is_set()
    finally:
        may_end.set()


async def test_what_is_left_is_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "relay-eu")
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, version="1", worker_id="w", log=Log())
    traces.tracer.begin_call(*POST, POST_URL).close(200, "")
    await traces.close()
    [span] = exporter.get_finished_spans()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == conventions.SCHEMA_URL
    resource = span.resource.attributes
    assert (resource["service.name"], resource["service.instance.id"]) == ("relay-eu", "w")


def test_a_variable_that_opentelemetry_refuses_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1000000")
    settings = Settings(database_url="sqlite:////unused", otel_traces_exporter="otlp")
    with pytest.raises(SettingsError, match="max_export_batch_size"):
        bootstrap._traces(settings, "w", Log(), None)


def test_every_name_is_one_of_the_conventions() -> None:
    known = {
        value
        for package in (stable, incubating)
        for path in Path(str(package.__path__[0])).glob("*_attributes.py")
        for value in vars(__import__(f"{package.__name__}.{path.stem}", fromlist=["_"])).values()
        if isinstance(value, str)
    }
    used = {
        value
        for name, value in vars(conventions).items()
        if name.isupper() and "." in value and name not in {"SCHEMA_URL", "OWN_PREFIX"}
    }
    assert used - known == set()
    assert conventions.SCHEMA_URL in {version.value for version in schemas.Schemas}
