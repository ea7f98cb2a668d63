"""Structured logs: one line per event of core/log_events.py, nothing of what contacts write."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from worker.adapters.logs.contact_hash import ContactHash
from worker.adapters.logs.exceptions import described
from worker.adapters.logs.library import install
from worker.adapters.logs.log import StructuredLog
from worker.adapters.logs.render import LogFormat

if TYPE_CHECKING:
    from typing import TextIO

    from worker.core.ports import LogLevel

__all__ = ["ContactHash", "LogFormat", "StructuredLog", "configure_logging", "described", "install"]


def configure_logging(
    log_format: LogFormat,
    level: LogLevel,
    *,
    worker_id: str,
    stream: TextIO | None = None,
    has_color: bool = True,
) -> StructuredLog:
    """Return the process's log, and send what libraries log, warn and raise in threads to it as well."""
    log = StructuredLog(
        stream or sys.stdout, log_format=log_format, level=level, worker_id=worker_id, has_color=has_color
    )
    install(log)
    return log
