"""What happened, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Fields of a log line that a reader of a trace wants.
SHOWN = (
    "question_id",
    "verdict",
    "error_code",
    "outcome",
    "message_id",
    "reason",
    "batch",
    "new",
    "repeated",
    "exception",
    "gate_wait_s",
)


class Trace:
    """Lines of (virtual time, who, what); kept only when somebody wants to read them."""

    def __init__(self, time: Callable[[], float], *, is_kept: bool) -> None:
        self._time = time
        self.is_kept = is_kept
        self.lines: list[str] = []

    def __call__(self, who: str, what: str) -> None:
        """Note a step."""
        if self.is_kept:
            self.lines.append(f"{self._time():9.3f}  {who:<10} {what}")

    def log(self, who: str, event: str, fields: dict[str, Any]) -> None:
        """Note a line of a worker's log."""
        if self.is_kept:
            shown = " ".join(f"{name}={fields[name]}" for name in SHOWN if fields.get(name) is not None)
            self(who, f"log {event} {shown}")
