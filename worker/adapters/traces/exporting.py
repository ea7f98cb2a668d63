"""Where spans go: over OTLP to a collector, from a thread of their own, out of a queue that has an end.

Answering never waits for any of it. What does not fit into the queue is dropped, a collector that is away
costs two log lines, and at the stop what is left gets a moment and no more.

The SDK reads the standard OTEL_ variables by itself: sampler, service name, headers, sizes and times.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from worker.adapters.traces import conventions as names
from worker.adapters.traces.bus import BusFacts, TracedBus
from worker.adapters.traces.tracer import OtelTracer

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from worker.core.ports import Bus, Log

#: s. What the last spans get at the stop; it comes after the grace of the turns, and platforms end a process
#: that takes longer than it said.
CLOSE_S = 2.0
#: Where the exporter tells of every try, with words that a collector chose.
EXPORTERS_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Traces:
    """The spans of one process, from their making to their end. Make it in the loop's thread."""

    def __init__(self, exporter: SpanExporter, *, version: str, worker_id: str, log: Log) -> None:
        self._provider = TracerProvider(
            resource=_resource(version, worker_id),
            # At exit the SDK would wait for a collector for half a minute.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(WatchedExporter(exporter, log)))
        self._otel: Tracer = self._provider.get_tracer("askrelay", version, schema_url=names.SCHEMA_URL)
        #: The port.
        self.tracer = OtelTracer(self._otel)

    def traced(self, bus: Bus, facts: BusFacts) -> TracedBus:
        """Put a tracer at the bus's door."""
        return TracedBus(bus, self._otel, facts)

    async def close(self) -> None:
        """Send what is left; what takes longer than a moment is dropped."""
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # A loop that did not wait for this is closed by now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(is_done.set)

        # A daemon: neither the loop's executor nor the interpreter may wait for a collector that is stuck.
        threading.Thread(target=shut_down, name="traces-closing", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await is_done.wait()


class WatchedExporter(SpanExporter):
    """An exporter whose failures are told once, when they begin, and once more when they end."""

    def __init__(self, exporter: SpanExporter, log: Log) -> None:
        self._exporter = exporter
        self._log = log
        self._is_failing = False
        self._lost = 0
        self._cause = _Cause()
        logging.getLogger(EXPORTERS_LOGGER).addFilter(self._cause)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch; runs in the processor's thread."""
        self._cause.forget()
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, its thread goes on
            result, detail = SpanExportResult.FAILURE, type(error).__name__
        else:
            detail = "no answer" if self._cause.status is None else f"status {self._cause.status}"
        if result is SpanExportResult.SUCCESS:
            if self._is_failing:
                self._log("traces.restored", count=self._lost)
            self._is_failing, self._lost = False, 0
            return result
        self._lost += len(spans)
        if not self._is_failing:
            self._log("traces.lost", count=len(spans), detail=detail)
        self._is_failing = True
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()
        logging.getLogger(EXPORTERS_LOGGER).removeFilter(self._cause)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: the exporter keeps nothing back."""
        return self._exporter.force_flush(timeout_millis)


class _Cause(logging.Filter):
    """Takes the exporter's own records out of the log, one or two for every batch, and keeps the status."""

    status: int | None = None

    def forget(self) -> None:
        """Forget the status of an earlier batch."""
        self.status = None

    def filter(self, record: logging.LogRecord) -> bool:
        self.status = next((each for each in record.args or () if isinstance(each, int)), None)
        return False


def otlp_exporter(url: str) -> SpanExporter:
    """Return what sends spans to a collector, as protobuf over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 (tests have their own)
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(endpoint=url)


def _resource(version: str, worker_id: str) -> Resource:
    """Name the service; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    ours = {
        names.SERVICE_NAME: "askrelay",
        names.SERVICE_VERSION: version,
        names.SERVICE_INSTANCE_ID: worker_id,
    }
    named = Resource(ours).merge(OTELResourceDetector().detect())
    return Resource.create(named.attributes, names.SCHEMA_URL)
