"""The gate: the fleet's shared pace, pauses, halts and breaker, as rules over one value (PROTOCOL 7).

The ledger keeps the value in one row per API key, locks it, and asks here what is allowed.

Requests have two shares. ``posts``: what a question needs on its way to its answer, the lookup and creation
of a conversation included. ``reads``: what finds out, heals and checks. Posts come first, and while both wait
every fifth request is a read, so that neither can be starved; what one share leaves, the other may use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from worker.core.model import GateNews
from worker.core.pace import BUCKET_S, WINDOW_S, Pace, Spent, ready, ready_in_s, spend

#: Failures in a row, across the fleet, that open the breaker: fewer would trip on ordinary bad luck.
BREAKER_FAILURES = 5
#: s. Pause between probes while the breaker is open.
BREAKER_PROBE_S = 5.0
#: The reasons that end only when a probe succeeds; a throttle ends by itself.
PROBED = frozenset({"breaker", "credits_exhausted", "credentials_rejected", "project_not_found"})
#: The reasons that only an answered question disproves: reading works without credits.
POSTED = frozenset({"credits_exhausted"})
#: Requests of posts for one of reads while both wait.
POSTS_PER_READ = 4
#: s. A share that was refused is held to be waiting for so long; who waits asks again every 5 s at least.
WAITING_S = 10.0
#: Requests that a new contact's turn needs: list, create, post. Others need one.
NEW_CONTACT_REQUESTS = 3
#: s. A turn starts when its first request may begin now and the others within so long, or as soon as the even
#: pace brings them: it waits for them with its lease in hand, and what waits for long is to be a row.
PATIENCE_S = 2.0

#: Part of a burst that is kept for contacts that do not follow themselves, while there are any.
KEPT_PART = 0.5

Share = Literal["posts", "reads"]


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
    spent: Spent = field(default_factory=Spent)
    #: The API was seen to change the text or the external_id of a question.
    is_altering: bool = False
    #: Requests of posts since the last one of reads, up to POSTS_PER_READ.
    posts_since_read: int = 0
    #: Until when the shares are held to be waiting.
    posts_wait_until: float = 0.0
    reads_wait_until: float = 0.0
    #: The worker that heals, which is one request at once beside the turns; until when, should it die.
    healer: str | None = None
    healer_until: float = 0.0
    #: Until when a part of the pace is kept for contacts that do not follow themselves: some were there.
    fresh_until: float = 0.0


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What runs now."""

    #: Turns that hold a lease, and requests that nobody waits for any more, which may still be at work.
    turns: int = 0
    abandoned: int = 0
    #: Requests that these turns have yet to make.
    owed: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A turn that might start."""

    #: Requests that it needs.
    cost: int
    #: Its question waited for the one before it: a contact that asks faster than it is answered.
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """How many may go now, and when to ask again if that is fewer than asked for."""

    count: int
    retry_in_s: float = 0.0
    #: What keeps the others back, if anything does.
    reason: str | None = None
    #: Exactly one may go, to find out whether the reason is gone.
    probes: str | None = None
    #: Of the count, how many the reads may have although posts wait.
    reads: int = 0
    #: Reads that wait elsewhere than in the ledger: so many of ``reads`` are to be left to them.
    reads_elsewhere: bool = False
    #: Only what is to be read back may go.
    is_reads_only: bool = False
    #: Requests that may begin now, and soon, for these turns.
    requests: float = math.inf
    requests_soon: float = math.inf
    #: How many of these a turn that follows itself leaves to others.
    kept: int = 0
    #: Requests that turns under way have yet to make.
    owed: int = 0
    #: Neither limit is near: all may go, whosever turns they are and whatever they cost.
    is_ample: bool = False


def refreshed(gate: Gate, now: float) -> Gate:
    """Return the gate with a throttle that is over taken away."""
    if gate.reason == "throttled" and now >= gate.closed_until:
        return replace(gate, reason=None, closed_until=0.0)
    return gate


def admit_turns(gate: Gate, now: float, pace: Pace, *, wanted: int, under_way: UnderWay) -> Admission:
    """Say how many turns may start: none behind a closed gate, one as a probe, else what the pace allows."""
    if gate.reason is not None and now < gate.closed_until:
        return Admission(0, gate.closed_until - now, gate.reason)
    places = _places(gate, now, pace, under_way)
    is_reads_only = places < 1
    if is_reads_only:
        # Who reads an abandoned request back takes its place over: it would be kept for nobody. One for each
        # claim, so that reads hardly meet: the API may still be at work on all that was abandoned.
        places = min(places + under_way.abandoned, under_way.abandoned, 1)
    if places < 1:
        return Admission(0, math.inf, "at_once")
    requests = ready(gate.spent, now, pace) - under_way.owed
    if requests < 1:
        return Admission(0, ready_in_s(gate.spent, now, pace, under_way.owed + 1), "pace")
    if gate.reason in PROBED:
        return Admission(0, math.inf, "at_once") if is_reads_only else Admission(1, probes=gate.reason)
    count = int(min(wanted, places, requests))
    if is_reads_only:
        return Admission(count, reason="at_once", reads=count, is_reads_only=True, owed=under_way.owed)
    return Admission(
        count,
        retry_in_s=math.inf if places <= requests else pace.step_s,
        reason=None if count == wanted else "at_once" if places <= requests else "pace",
        reads=_due_to_reads(gate, pace, count),
        reads_elsewhere=now < gate.reads_wait_until,
        requests=requests,
        requests_soon=ready(gate.spent, now + _patience_s(pace), pace) - under_way.owed,
        kept=_kept(gate, now, pace),
        owed=under_way.owed,
    )


def admit_amply(
    gate: Gate, now: float, pace: Pace, *, wanted: int, at_most_under_way: UnderWay
) -> Admission | None:
    """Say that all may start, or None when that takes an exact count of what is under way."""
    admission = admit_turns(gate, now, pace, wanted=wanted, under_way=at_most_under_way)
    requests = min(admission.requests, admission.requests_soon)
    is_ample = (
        admission.count == wanted
        and admission.probes is None
        and not admission.is_reads_only
        and requests >= NEW_CONTACT_REQUESTS * wanted + admission.kept
    )
    return replace(admission, is_ample=True) if is_ample else None


def cost_of(pace: Pace, *, is_new_contact: bool) -> int:
    """Return how many requests a turn has to find; a plan may be too small to let them begin together."""
    if not is_new_contact or not pace.requests_per_minute:
        return 1
    return min(NEW_CONTACT_REQUESTS, pace.burst)


def chosen(admission: Admission, candidates: Sequence[Candidate]) -> list[int]:
    """Return the places of the turns that start, out of those that are due in this order.

    Who follows itself stands back while others were there lately. A contact with a thousand questions would
    otherwise use up the minute, and everybody else would wait for the rest of it.
    """
    now, soon = admission.requests, admission.requests_soon
    places: list[int] = []
    for place, candidate in enumerate(candidates):
        if len(places) == admission.count:
            break
        kept = admission.kept if candidate.follows else 0
        if now < 1 + kept or soon < max(candidate.cost, 1 + kept):
            if candidate.follows:
                continue
            break
        places.append(place)
        now, soon = now - candidate.cost, soon - candidate.cost
    return places


def retry_of(gate: Gate, now: float, pace: Pace, *, owed: int, wanted: Candidate) -> float:
    """Return in how many seconds a turn that did not start may find its requests."""
    kept = _kept(gate, now, pace) if wanted.follows else 0
    first_in_s = ready_in_s(gate.spent, now, pace, owed + kept + 1)
    last_in_s = ready_in_s(gate.spent, now, pace, owed + wanted.cost)
    return max(first_in_s, last_in_s - _patience_s(pace), BUCKET_S / 10)


def note_claim(gate: Gate, now: float, *, is_waiting: bool, is_any_fresh: bool) -> Gate:
    """Remember whether questions wait for the pace, so that reads stand back, and who had turns."""
    if is_any_fresh and gate.fresh_until < now + WINDOW_S / 2:
        gate = replace(gate, fresh_until=now + WINDOW_S)
    if is_waiting:
        return replace(gate, posts_wait_until=_until(gate.posts_wait_until, now))
    return replace(gate, posts_wait_until=0.0) if gate.posts_wait_until else gate


def begin_probe(gate: Gate, now: float, *, conversation: int, within_s: float) -> Gate:
    """Let one conversation's turn through; the next probe begins at the latest when ``within_s`` is over."""
    return replace(gate, probe=conversation, closed_until=now + within_s)


def admit_request(
    gate: Gate, now: float, pace: Pace, *, conversation: int | None, share: Share
) -> tuple[Gate, Admission]:
    """Count one request, or say why it may not begin."""
    is_probe = gate.probe is not None and gate.probe == conversation
    if gate.reason is not None and not is_probe and (now < gate.closed_until or gate.reason in PROBED):
        return gate, Admission(0, max(gate.closed_until - now, BUCKET_S), gate.reason)
    if not pace.requests_per_minute:
        return _shared(gate, share) if pace.requests_at_once else gate, Admission(1)
    free = ready(gate.spent, now, pace)
    due_to_reads = _due_to_reads(gate, pace, int(free))
    if share == "posts":
        is_free = free - (due_to_reads if now < gate.reads_wait_until else 0) >= 1
    else:
        is_free = (due_to_reads if now < gate.posts_wait_until else free) >= 1
    # A probe is alone: nobody waits beside it.
    if is_free or (is_probe and free >= 1):
        return _shared(replace(gate, spent=spend(gate.spent, now, pace)), share), Admission(1)
    others_first = 1 if share == "posts" else POSTS_PER_READ - gate.posts_since_read
    retry_in_s = ready_in_s(gate.spent, now, pace, 1 if free < 1 else 1 + max(others_first, 1))
    return _refused(gate, now, share), Admission(0, retry_in_s, "pace")


def admit_together(gate: Gate, now: float, pace: Pace, *, share: Share, count: int) -> Gate | None:
    """Count so many requests of one share, or return None when each has to be judged by itself."""
    is_other_waiting = now < (gate.reads_wait_until if share == "posts" else gate.posts_wait_until)
    if gate.reason is not None or is_other_waiting or ready(gate.spent, now, pace) < count:
        return None
    if not pace.is_limited:
        return gate
    return _shared(replace(gate, spent=spend(gate.spent, now, pace, count)), share, count)


def admit_healer(
    gate: Gate, now: float, pace: Pace, *, worker: str, turns: int, within_s: float
) -> tuple[Gate, Admission]:
    """Give a worker's healing a place among the requests at once, or keep it, or say that there is none.

    One worker heals at a time. Its place ends by itself after ``within_s``.
    """
    if not pace.requests_at_once:
        return gate, Admission(1)
    if gate.healer not in {None, worker} and now < gate.healer_until:
        return gate, Admission(0, gate.healer_until - now, "at_once")
    if gate.healer != worker and turns >= pace.requests_at_once:
        return _refused(gate, now, "reads"), Admission(0, BUCKET_S, "at_once")
    return replace(gate, healer=worker, healer_until=now + within_s), Admission(1)


def end_healer(gate: Gate, *, worker: str) -> Gate:
    """Take the worker's place back."""
    return replace(gate, healer=None, healer_until=0.0) if gate.healer == worker else gate


def hear(gate: Gate, now: float, news: GateNews, *, conversation: int | None = None) -> Gate:
    """Return the gate after a call told something about the API.

    A success opens the breaker whoever reports it, and so does any other answer of the API's own: it is up.
    What a person must mend (key, project, credits) ends only by the probe's own success: an older request
    that was let through before proves nothing. That a reading works says nothing of the credits.
    """
    is_probe = gate.probe is not None and gate.probe == conversation
    match news.kind:
        case "ok" | "answered":
            is_proof = is_probe and (news.kind == "ok" or gate.reason not in POSTED)
            if gate.reason == "breaker" or (gate.reason in PROBED and is_proof):
                return replace(gate, reason=None, closed_until=0.0, failures=0, probe=None)
            heard = replace(gate, failures=0) if gate.failures else gate
            return end_probe(heard, now, conversation=conversation) if conversation is not None else heard
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


def is_idle(gate: Gate) -> bool:
    """Tell whether a success changes nothing, so that the row need not be locked for it."""
    return gate.reason is None and not gate.failures


def _places(gate: Gate, now: float, pace: Pace, under_way: UnderWay) -> float:
    """Return how many more requests at once there may be."""
    if not pace.requests_at_once:
        return math.inf
    return pace.requests_at_once - under_way.turns - under_way.abandoned - int(now < gate.healer_until)


def _kept(gate: Gate, now: float, pace: Pace) -> int:
    """Return how many requests are kept for contacts that do not follow themselves."""
    return int(pace.burst * KEPT_PART) if now < gate.fresh_until else 0


def _patience_s(pace: Pace) -> float:
    """Return how long a turn may have to wait for its later requests."""
    if not pace.requests_per_minute:
        return PATIENCE_S
    return max(PATIENCE_S, (NEW_CONTACT_REQUESTS - 1) * pace.step_s)


def _due_to_reads(gate: Gate, pace: Pace, count: int) -> int:
    """Return how many of the next so many requests are the reads', while both wait."""
    # Without a limit nothing is counted, and nothing is short either: the read is not made to wait.
    since = gate.posts_since_read if pace.is_limited else POSTS_PER_READ
    return (count + since) // (POSTS_PER_READ + 1)


def _shared(gate: Gate, share: Share, count: int = 1) -> Gate:
    """Return the gate after requests of this share began."""
    if share == "reads":
        return replace(gate, posts_since_read=0, reads_wait_until=0.0)
    return replace(gate, posts_since_read=min(gate.posts_since_read + count, POSTS_PER_READ))


def _refused(gate: Gate, now: float, share: Share) -> Gate:
    """Return the gate after a request of this share was told to wait."""
    if share == "reads":
        return replace(gate, reads_wait_until=_until(gate.reads_wait_until, now))
    return replace(gate, posts_wait_until=_until(gate.posts_wait_until, now))


def _until(until: float, now: float) -> float:
    """Prolong a waiting, but not for every word of it: each change is a write."""
    return until if until > now + WAITING_S / 2 else now + WAITING_S
