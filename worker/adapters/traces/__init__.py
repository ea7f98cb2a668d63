"""Traces with OpenTelemetry. Needs the extra ``askrelay[traces]``; only imported when traces are on."""

from __future__ import annotations

from worker.adapters.traces.bus import BusFacts, TracedBus
from worker.adapters.traces.exporting import Traces, otlp_exporter
from worker.adapters.traces.tracer import OtelTracer

__all__ = ["BusFacts", "OtelTracer", "TracedBus", "Traces", "otlp_exporter"]
