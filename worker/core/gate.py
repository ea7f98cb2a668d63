"""The gate: the fleet's shared pace, pauses, halts and breaker, as rules over one value (PROTOCOL 7).

The ledger keeps the value in one row per API key, locks it, and asks here what is allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from worker.core.model import GateNews

#: s. The window of the plan's limit.
WINDOW_S = 60.0
#: s. Requests are counted in buckets of this width. A bucket counts until one width after its last moment is
#: WINDOW_S old, so that a request that arrives half a second late never makes the API see one too many.
BUCKET_S = 0.5
#: Failures in a row, across the fleet, that open the breaker: fewer would trip on ordinary bad luck.
BREAKER_FAILURES = 5
#: s. Pause between probes while the breaker is open.
BREAKER_PROBE_S = 5.0
#: The reasons that end only when a probe succeeds; a throttle ends by itself.
PROBED = frozenset({"breaker", "credits_exhausted", "credentials_rejected", "project_not_found"})


@dataclass(frozen=True, slots=True)
class Pace:
    """The plan's limits; 0 is no limit."""

    requests_per_minute: int
    requests_at_once: int


@dataclass(frozen=True, slots=True)
class Gate:
    """The state of the gate. Times are the ledger's, in seconds."""

    #: Why it is closed: a code of core/errors or ``breaker``; None while it is open.
    reason: str | None = None
    #: When a throttle ends, or the next probe may begin.
    closed_until: float = 0.0
    #: Failures in a row.
    failures: int = 0
    #: The conversation whose turn is the probe now.
    probe: int | None = None
    #: Requests begun, by bucket number.
    buckets: dict[int, int] = field(default_factory=dict)
    #: The API was seen to change the text or the external_id of a question.
    is_altering: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """How many may go now, and when to ask again if that is fewer than asked for."""

    count: int
    retry_in_s: float = 0.0
    reason: str | None = None
    #: Exactly one may go, to find out whether the reason is gone.
    probes: str | None = None


def refreshed(gate: Gate, now: float) -> Gate:
    """Return the gate with a throttle that is over taken away."""
    if gate.reason == "throttled" and now >= gate.closed_until:
        return replace(gate, reason=None, closed_until=0.0)
    return gate


def tokens_left(gate: Gate, now: float, pace: Pace) -> float:
    """Return how many requests may begin now within the minute's limit."""
    if not pace.requests_per_minute:
        return math.inf
    return pace.requests_per_minute - sum(_counted(gate, now).values())


def next_token_in_s(gate: Gate, now: float, pace: Pace) -> float:
    """Return in how many seconds a request may begin; 0 when one may now."""
    if tokens_left(gate, now, pace) > 0:
        return 0.0
    oldest = min(_counted(gate, now), default=0)
    return max((oldest + 2) * BUCKET_S + WINDOW_S - now, BUCKET_S / 10)


def admit_turns(gate: Gate, now: float, pace: Pace, *, wanted: int, running: int) -> Admission:
    """Say how many turns may start: none behind a closed gate, one as a probe, else what the pace allows."""
    if gate.reason is not None and now < gate.closed_until:
        return Admission(0, gate.closed_until - now, gate.reason)
    if gate.reason in PROBED:
        return Admission(1, probes=gate.reason)
    if pace.requests_at_once:
        wanted = min(wanted, pace.requests_at_once - running)
        if wanted <= 0:
            return Admission(0, reason="at_once", retry_in_s=math.inf)
    tokens = tokens_left(gate, now, pace)
    if tokens < 1:
        return Admission(0, next_token_in_s(gate, now, pace), "pace")
    return Admission(int(min(wanted, tokens)))


def begin_probe(gate: Gate, now: float, *, conversation: int, within_s: float) -> Gate:
    """Let one conversation's turn through; the next probe begins at the latest when ``within_s`` is over."""
    return replace(gate, probe=conversation, closed_until=now + within_s)


def admit_request(gate: Gate, now: float, pace: Pace, *, conversation: int | None) -> tuple[Gate, Admission]:
    """Count one request, or say why it may not begin."""
    is_probe = gate.probe is not None and gate.probe == conversation
    if gate.reason is not None and not is_probe and (now < gate.closed_until or gate.reason in PROBED):
        return gate, Admission(0, max(gate.closed_until - now, BUCKET_S), gate.reason)
    if not pace.requests_per_minute:
        return gate, Admission(1)
    if tokens_left(gate, now, pace) < 1:
        return gate, Admission(0, next_token_in_s(gate, now, pace), "pace")
    bucket = math.floor(now / BUCKET_S)
    kept = _counted(gate, now)
    kept[bucket] = kept.get(bucket, 0) + 1
    return replace(gate, buckets=kept), Admission(1)


def hear(gate: Gate, now: float, news: GateNews, *, conversation: int | None = None) -> Gate:
    """Return the gate after a call told something about the API.

    A success opens the breaker whoever reports it. What a person must mend (key, project, credits) ends only
    by the probe's own success: an older request that was let through before proves nothing.
    """
    is_probe = gate.probe is not None and gate.probe == conversation
    match news.kind:
        case "ok":
            if gate.reason == "breaker" or (gate.reason in PROBED and is_probe):
                return replace(gate, reason=None, closed_until=0.0, failures=0, probe=None)
            return replace(gate, failures=0) if gate.failures else gate
        case "failure":
            failures = gate.failures + 1
            if gate.reason is None and failures >= BREAKER_FAILURES:
                return replace(
                    gate, reason="breaker", closed_until=now + BREAKER_PROBE_S, failures=failures, probe=None
                )
            if is_probe:
                return replace(gate, closed_until=now + BREAKER_PROBE_S, failures=failures, probe=None)
            return replace(gate, failures=failures)
        case "pause":
            until = now + news.pause_s
            if news.reason not in PROBED and gate.reason in PROBED and not is_probe:
                return replace(gate, closed_until=max(gate.closed_until, until))
            if news.reason == gate.reason == "throttled":
                until = max(until, gate.closed_until)
            return replace(gate, reason=news.reason, closed_until=until, probe=None)


def end_probe(gate: Gate, now: float, *, conversation: int) -> Gate:
    """Return the gate after a probe's turn ended without having asked the API anything."""
    if gate.probe != conversation:
        return gate
    return replace(gate, probe=None, closed_until=now + BREAKER_PROBE_S)


def _counted(gate: Gate, now: float) -> dict[int, int]:
    """Return the buckets that count: those whose end, and one bucket's width more, is not WINDOW_S ago."""
    first = math.ceil((now - WINDOW_S) / BUCKET_S) - 2
    return {bucket: count for bucket, count in gate.buckets.items() if bucket >= first}


def is_idle(gate: Gate) -> bool:
    """Tell whether a success changes nothing, so that the row need not be locked for it."""
    return gate.reason is None and not gate.failures
