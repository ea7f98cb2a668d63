"""What a running process is measured by. Adapters count; the core and the runtime only report."""

from __future__ import annotations

from typing import Protocol


class Meters(Protocol):
    """Told of what happened. Every method takes about a microsecond, never waits and never raises.

    No argument may be or hold a question, an answer, a contact id, metadata or a secret; each has few values.
    """

    def events_taken(self, result: str, count: int, *, error_code: str = "") -> None:
        """Note events that were settled: a result of core/model.Acceptance, or another of the metric's."""
        ...

    def turn_ended(self, verdict: str, *, error_code: str, outcome: str) -> None:
        """Note the end of a turn; the code or the outcome is empty where the verdict has none."""
        ...

    def turn_lost(self, reason: str) -> None:
        """Note a turn without a verdict: ``lease_lost`` or ``crashed``."""
        ...

    def question_ended(self, *, waited_s: float, answered_after_s: float | None) -> None:
        """Note how long a question waited for its last turn, and how old it was when its answer came."""
        ...

    def replies_tried(self, result: str, count: int) -> None:
        """Note what the broker said of replies: a PublishResult."""
        ...

    def copy_ended(self, end: str, *, error_code: str) -> None:
        """Note how an attempt to mirror a conversation ended: a core/mirroring.MirrorEnd."""
        ...


class NoMeters:
    """Measures nothing: for tests, the simulator, and whoever does not want to know."""

    def events_taken(self, result: str, count: int, *, error_code: str = "") -> None:
        """See the port."""

    def turn_ended(self, verdict: str, *, error_code: str, outcome: str) -> None:
        """See the port."""

    def turn_lost(self, reason: str) -> None:
        """See the port."""

    def question_ended(self, *, waited_s: float, answered_after_s: float | None) -> None:
        """See the port."""

    def replies_tried(self, result: str, count: int) -> None:
        """See the port."""

    def copy_ended(self, end: str, *, error_code: str) -> None:
        """See the port."""
