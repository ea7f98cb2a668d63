"""A worker whose spans go into a file: ``python -m tests.traced_worker FILE``.

The exporter is OpenTelemetry's in-memory one; each span is also written as a line of JSON, because a test
looks at a worker from outside.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from worker.bootstrap import run_worker
from worker.cli.loop import new_event_loop
from worker.settings import load_settings

#: s. See tests/brisk_worker.py.
USER_TIMEOUT_S = 1.0


class LinesExporter(InMemorySpanExporter):
    """Keeps spans in memory and writes each one down."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans, one line each."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{span.to_json(indent=None)}\n" for span in spans)
        return super().export(spans)


def main() -> None:
    """Run a worker until it is told to stop."""
    exporter = LinesExporter(Path(sys.argv[1]))
    settings = load_settings(needs=frozenset({"api", "ledger"}))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_worker(settings, user_timeout_s=USER_TIMEOUT_S, span_exporter=exporter))


if __name__ == "__main__":
    main()
