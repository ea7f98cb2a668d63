"""Spans of turns and of calls to the API, made with OpenTelemetry.

Ids, lengths, codes and times only: what contacts write never gets here, and no exception is recorded, because
its message may repeat what they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.adapters.traces import conventions as names
from worker.core.model import Answered, Failed, Halt, Retry, Verdict
from worker.core.world import Turn

#: The calls that ask the agent, in a conversation or without one.
POSTS: Final = ("post_question", "complete")

#: HTTP statuses from here on are errors to whoever made the call.
FIRST_ERROR_STATUS: Final = 400

#: Ports that a URL does not name.
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_W3C: Final = TraceContextTextMapPropagator()


def context_of(traceparent: str | None, tracestate: str | None) -> Context:
    """Return the context that a trace goes on from; an empty one begins a trace."""
    if traceparent is None:
        return Context()
    carrier = {"traceparent": traceparent}
    if tracestate is not None:
        carrier["tracestate"] = tracestate
    return _W3C.extract(carrier, Context())


def carried(span: Span) -> dict[str, str]:
    """Return a span's ``traceparent`` and, if it has one, ``tracestate``."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span, Context()))
    return carrier


def fail(span: Span, error_type: str) -> None:
    """Mark a span as failed."""
    span.set_attribute(names.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


class OtelTracer:
    """The ``Tracer`` port on an OpenTelemetry tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin_turn(self, turn: Turn, contact_hash: Callable[[str], str]) -> TurnSpan:
        """See the port.

        A turn takes a row of our own ledger and no message, so its span is no messaging operation.
        """
        parent = context_of(turn.question.traceparent, turn.question.tracestate)
        span = self._tracer.start_span("turn", parent, SpanKind.INTERNAL)
        context = carried(span)
        turn.continue_trace(context.get("traceparent"), context.get("tracestate"))
        if span.is_recording():
            span.set_attributes(_facts_of(turn, contact_hash))
        return TurnSpan(span)

    def begin_call(self, name: str, method: str, path: str, url: str) -> CallSpan:
        """See the port."""
        is_post = name in POSTS
        # The convention of GenAI for the name of the post: the agent's name is not known here.
        called = names.INVOKE_AGENT if is_post else f"{method} {path}"
        span = self._tracer.start_span(called, kind=SpanKind.CLIENT)
        if span.is_recording():
            span.set_attributes(_request_facts(method, path, url, is_post=is_post))
        return CallSpan(span)


class TurnSpan:
    """A turn's span; what the turn calls becomes its child."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = contexts.attach(set_span_in_context(span))

    def ended(self, turn: Turn, verdict: Verdict) -> None:
        """See the port."""
        if not self._span.is_recording():
            return
        self._span.set_attributes(_ended_facts(turn, verdict))
        if isinstance(verdict, Failed | Halt | Retry):
            fail(self._span, verdict.code)

    def lost(self, reason: str) -> None:
        """See the port."""
        fail(self._span, reason)

    def close(self) -> None:
        """See the port."""
        contexts.detach(self._token)
        self._span.end()


class CallSpan:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._headers = carried(span)

    @property
    def headers(self) -> Mapping[str, str]:
        """See the port."""
        return self._headers

    def close(self, status: int | None, trouble: str) -> None:
        """See the port."""
        if status is not None:
            self._span.set_attribute(names.HTTP_STATUS, status)
        if trouble:
            fail(self._span, trouble)
        elif status is None or status >= FIRST_ERROR_STATUS:
            fail(self._span, str(status or "cancelled"))
        self._span.end()


def _facts_of(turn: Turn, contact_hash: Callable[[str], str]) -> dict[str, Any]:
    """Return what is known of a turn when it begins, under the names that the logs use."""
    question, conversation = turn.question, turn.conversation
    return _own(
        question_id=question.event_id,
        event_source=question.source,
        reply_id=question.reply_id,
        contact_hash=contact_hash(conversation.contact_id),
        attempt=question.attempts + 1,
        waited_s=round(turn.claim.claimed_at - question.received_at, 3),
        question_chars=len(question.text),
        redelivered=question.is_redelivered,
    )


def _ended_facts(turn: Turn, verdict: Verdict) -> dict[str, Any]:
    conversation = turn.conversation
    message = verdict.message if isinstance(verdict, Answered) else None
    return _own(
        project_id=conversation.project_id,
        session_id=conversation.session_id,
        conversation_id=(message and message.conversation_id) or conversation.conversation_id,
        message_id=message.message_id if message else None,
        verdict=type(verdict).__name__.lower(),
        error_code=None if isinstance(verdict, Answered) else verdict.code,
        outcome=verdict.outcome if isinstance(verdict, Answered) else None,
        gate_wait_s=round(turn.gate_wait_s, 3),
        assistant_s=round(turn.assistant_s, 3),
        answer_chars=len(message.answer or "") if message else None,
    )


def _own(**facts: Any) -> dict[str, Any]:
    """Return attributes of ours, without those that have no value."""
    return {f"{names.OWN_PREFIX}{name}": value for name, value in facts.items() if value is not None}


def _request_facts(method: str, path: str, url: str, *, is_post: bool) -> dict[str, Any]:
    """Return what a URL tells. Its query is left out: names and external ids in it hold contact ids."""
    parts = urlsplit(url)
    template = path.split("/")[1:]
    found = parts.path.split("/")
    base = found[: len(found) - len(template)]
    values = {
        name[1:-1]: unquote(value)
        for name, value in zip(template, found[len(base) :], strict=False)
        if name.startswith("{")
    }
    facts = {
        names.HTTP_METHOD: method,
        names.URL_FULL: f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
        names.URL_TEMPLATE: "/".join([*base, *template]),
        names.SERVER_ADDRESS: parts.hostname or "",
        names.SERVER_PORT: parts.port or DEFAULT_PORTS.get(parts.scheme, 0),
    }
    if not is_post:
        return facts | _own(**values)
    facts |= {
        names.GEN_AI_OPERATION_NAME: names.INVOKE_AGENT,
        names.GEN_AI_PROVIDER_NAME: names.CUSTOMGPT,
        names.GEN_AI_AGENT_ID: values.get("project_id", ""),
        names.GEN_AI_OUTPUT_TYPE: names.TEXT,
    }
    if "session_id" in values:
        facts[names.GEN_AI_CONVERSATION_ID] = values["session_id"]
    return facts
