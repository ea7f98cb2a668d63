"""Traces as the core and the runtime see them: a turn and a call of the API begin and end.

What becomes of it is up to an adapter. Without one nothing happens, and that costs less than a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from worker.core.model import Verdict
from worker.core.world import Turn


class TurnSpan(Protocol):
    """A turn that began. Every method takes some microseconds, never waits and never raises."""

    def ended(self, turn: Turn, verdict: Verdict) -> None:
        """Note how the turn ended."""
        ...

    def lost(self, reason: str) -> None:
        """Note that it ended without a verdict: ``lease_lost``, ``cut_off`` or ``crashed``."""
        ...

    def close(self) -> None:
        """End the span, in the task that began it."""
        ...


class CallSpan(Protocol):
    """A request to the API that began."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes out with the request, in place of headers of the same name."""
        ...

    def close(self, status: int | None, trouble: str) -> None:
        """End the span; ``status`` is None when no status line came, ``trouble`` says what went wrong."""
        ...


class Tracer(Protocol):
    """Makes spans. No span may be told a question, an answer, a contact id, metadata or a secret."""

    def begin_turn(self, turn: Turn, contact_hash: Callable[[str], str]) -> TurnSpan:
        """Begin a turn's span; what goes out in the turn from now on continues its trace from there."""
        ...

    def begin_call(self, name: str, method: str, path: str, url: str) -> CallSpan:
        """Begin the span of one request; ``path`` is the end of ``url`` with names in braces for values."""
        ...


class _NoTurnSpan:
    def ended(self, turn: Turn, verdict: Verdict) -> None: ...

    def lost(self, reason: str) -> None: ...

    def close(self) -> None: ...


class _NoCallSpan:
    headers: Final[Mapping[str, str]] = MappingProxyType({})

    def close(self, status: int | None, trouble: str) -> None: ...


_NO_TURN_SPAN: Final = _NoTurnSpan()
_NO_CALL_SPAN: Final = _NoCallSpan()


class NoTracer:
    """Traces nothing: the trace context of an event goes on as it came."""

    def begin_turn(self, turn: Turn, contact_hash: Callable[[str], str]) -> TurnSpan:  # noqa: ARG002
        """See the port."""
        return _NO_TURN_SPAN

    def begin_call(self, name: str, method: str, path: str, url: str) -> CallSpan:  # noqa: ARG002
        """See the port."""
        return _NO_CALL_SPAN
