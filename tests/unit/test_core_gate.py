"""The gate holds the fleet to the plan's pace, and behind pauses, halts and the breaker (PROTOCOL 7)."""

from __future__ import annotations

import bisect
import math

import pytest
from hypothesis import given, settings, strategies as st

from worker.core.gate import (
    BREAKER_FAILURES,
    BREAKER_PROBE_S,
    BUCKET_S,
    WINDOW_S,
    Admission,
    Gate,
    Pace,
    admit_request,
    admit_turns,
    begin_probe,
    end_probe,
    hear,
    is_idle,
    next_token_in_s,
    refreshed,
    tokens_left,
)
from worker.core.model import GateNews

NOW = 10_000.0
NO_PACE = Pace(0, 0)
OK = GateNews("ok")
FAILURE = GateNews("failure")
THROTTLED = GateNews("pause", "throttled", 30.0)
PROBED = ["breaker", "credits_exhausted", "credentials_rejected", "project_not_found"]

MOMENTS = st.lists(st.floats(0, 400, allow_nan=False), min_size=1, max_size=200).map(sorted)


def most_in_a_window(begun: list[float]) -> int:
    """Count how many began in the fullest window of a minute."""
    ends = [bisect.bisect_left(begun, at + WINDOW_S) for at in begun]
    return max((end - place for place, end in enumerate(ends)), default=0)


@given(moments=MOMENTS, limit=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_no_window_of_a_minute_holds_more_than_the_limit(moments: list[float], limit: int) -> None:
    gate, pace = Gate(), Pace(limit, 0)
    begun = []
    for moment in moments:
        gate, admission = admit_request(gate, NOW + moment, pace, conversation=None)
        if admission.count:
            begun.append(NOW + moment)
    assert most_in_a_window(begun) <= limit
    assert begun, "the first one always may"


@given(moments=MOMENTS, limit=st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_a_request_that_arrives_late_by_up_to_a_bucket_makes_no_window_too_full(
    moments: list[float], limit: int
) -> None:
    # The earlier ones arrive late, those that follow at once: the worst that can happen on the way.
    gate, pace = Gate(), Pace(limit, 0)
    begun = []
    for moment in moments:
        gate, admission = admit_request(gate, NOW + moment, pace, conversation=None)
        if admission.count:
            begun.append(NOW + moment)
    for place in range(limit, len(begun)):
        assert begun[place] - (begun[place - limit] + BUCKET_S) >= WINDOW_S


@given(moments=MOMENTS, limit=st.integers(1, 10))
@settings(max_examples=100, deadline=None)
def test_whoever_waits_as_long_as_told_gets_in(moments: list[float], limit: int) -> None:
    gate, pace, now = Gate(), Pace(limit, 0), NOW
    for moment in moments:
        now = max(now, NOW + moment)
        for _ in range(3):
            gate, admission = admit_request(gate, now, pace, conversation=None)
            if admission.count:
                break
            assert admission.reason == "pace"
            assert 0 < admission.retry_in_s <= WINDOW_S + 2 * BUCKET_S
            now += admission.retry_in_s
        assert admission.count, "two waits are always enough: one to the end of a bucket, one past it"


def test_a_full_minute_is_used() -> None:
    limit = 60
    gate, pace = Gate(), Pace(limit, 0)
    for _ in range(limit):
        gate, admission = admit_request(gate, NOW, pace, conversation=None)
        assert admission.count == 1
    assert admit_request(gate, NOW, pace, conversation=None)[1].count == 0
    assert tokens_left(gate, NOW + WINDOW_S + 3 * BUCKET_S, pace) == limit


def test_buckets_that_no_longer_count_are_forgotten() -> None:
    gate, pace = Gate(), Pace(60, 0)
    for second in range(0, 600, 2):
        gate, _ = admit_request(gate, NOW + second, pace, conversation=None)
    assert len(gate.buckets) <= WINDOW_S / BUCKET_S + 3


def test_a_bucket_that_no_longer_counts_does_not_make_those_who_wait_ask_at_once() -> None:
    # After the limit was lowered, the old minute may be too full although its oldest bucket is over.
    gate = Gate(buckets={int((NOW - 100) / BUCKET_S): 5, int((NOW - 10) / BUCKET_S): 20})
    assert next_token_in_s(gate, NOW, Pace(20, 0)) == pytest.approx(50.0 + 2 * BUCKET_S, abs=BUCKET_S)


def test_no_limit_is_no_limit() -> None:
    gate = Gate()
    for _ in range(1_000):
        gate, admission = admit_request(gate, NOW, NO_PACE, conversation=None)
        assert admission.count
    assert gate.buckets == {}
    assert admit_turns(gate, NOW, NO_PACE, wanted=500, running=10_000).count == 500


def test_turns_start_up_to_the_pace() -> None:
    assert admit_turns(Gate(), NOW, Pace(60, 0), wanted=100, running=0).count == 60
    gate = Gate(buckets={int(NOW / BUCKET_S): 60})
    admission = admit_turns(gate, NOW, Pace(60, 0), wanted=100, running=0)
    assert (admission.count, admission.reason) == (0, "pace")
    assert admission.retry_in_s > WINDOW_S - BUCKET_S


@pytest.mark.parametrize(("running", "count"), [(0, 5), (3, 2), (5, 0), (9, 0)])
def test_turns_start_up_to_the_requests_at_once(running: int, count: int) -> None:
    admission = admit_turns(Gate(), NOW, Pace(0, 5), wanted=100, running=running)
    assert admission.count == count
    if not count:
        assert admission == Admission(0, math.inf, "at_once")


def test_a_throttle_lets_nothing_through_until_it_is_over() -> None:
    gate = hear(Gate(), NOW, THROTTLED)
    for later_s in (0.0, 29.9):
        admission = admit_turns(gate, NOW + later_s, NO_PACE, wanted=9, running=0)
        assert (admission.count, admission.reason) == (0, "throttled")
        assert admission.retry_in_s == pytest.approx(30.0 - later_s)
        assert not admit_request(gate, NOW + later_s, NO_PACE, conversation=1)[1].count
    after = refreshed(gate, NOW + 30.0)
    assert after.reason is None
    assert admit_turns(after, NOW + 30.0, NO_PACE, wanted=9, running=0).count == 9


def test_the_longer_of_two_throttles_counts() -> None:
    gate = hear(hear(Gate(), NOW, THROTTLED), NOW + 1, GateNews("pause", "throttled", 2.0))
    assert gate.closed_until == NOW + 30.0
    gate = hear(gate, NOW + 1, GateNews("pause", "throttled", 60.0))
    assert gate.closed_until == NOW + 61.0


def test_a_success_does_not_end_a_throttle() -> None:
    gate = hear(hear(Gate(), NOW, THROTTLED), NOW + 1, OK)
    assert (gate.reason, gate.closed_until) == ("throttled", NOW + 30.0)


def test_a_throttle_does_not_end_a_halt() -> None:
    gate = hear(hear(Gate(), NOW, GateNews("pause", "credentials_rejected", 60.0)), NOW + 1, THROTTLED)
    assert (gate.reason, gate.closed_until) == ("credentials_rejected", NOW + 60.0)


def test_five_failures_in_a_row_open_the_breaker() -> None:
    gate = Gate()
    for _ in range(BREAKER_FAILURES - 1):
        gate = hear(gate, NOW, FAILURE)
    assert gate.reason is None
    gate = hear(gate, NOW, FAILURE)
    assert (gate.reason, gate.closed_until) == ("breaker", NOW + BREAKER_PROBE_S)


def test_a_success_in_between_begins_the_row_anew() -> None:
    gate = Gate()
    for _ in range(3):
        for _ in range(BREAKER_FAILURES - 1):
            gate = hear(gate, NOW, FAILURE)
        gate = hear(gate, NOW, OK)
    assert gate == Gate()


def closed(reason: str) -> Gate:
    """Return a gate that is closed for this reason and whose next probe may begin."""
    return Gate(reason=reason, closed_until=NOW)


@pytest.mark.parametrize("reason", PROBED)
def test_exactly_one_turn_goes_as_a_probe(reason: str) -> None:
    gate = closed(reason)
    assert admit_turns(gate, NOW - 0.1, NO_PACE, wanted=9, running=0).count == 0
    assert admit_turns(gate, NOW, NO_PACE, wanted=9, running=0) == Admission(1, probes=reason)
    gate = begin_probe(gate, NOW, conversation=7, within_s=120.0)
    admission = admit_turns(gate, NOW + 1, NO_PACE, wanted=9, running=0)
    assert (admission.count, admission.reason, admission.retry_in_s) == (0, reason, 119.0)


@pytest.mark.parametrize("reason", PROBED)
def test_only_the_probes_requests_pass(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    assert admit_request(gate, NOW, NO_PACE, conversation=7)[1].count == 1
    for other in (8, None):
        admission = admit_request(gate, NOW, NO_PACE, conversation=other)[1]
        assert (admission.count, admission.reason) == (0, reason)
        assert admission.retry_in_s > 0


@pytest.mark.parametrize("reason", PROBED)
def test_requests_of_older_turns_do_not_slip_through_between_two_probes(reason: str) -> None:
    assert not admit_request(closed(reason), NOW + 60, NO_PACE, conversation=8)[1].count


def test_a_probe_keeps_to_the_pace() -> None:
    gate = begin_probe(closed("breaker"), NOW, conversation=7, within_s=120.0)
    gate = Gate(gate.reason, gate.closed_until, 0, gate.probe, {int(NOW / BUCKET_S): 60})
    admission = admit_request(gate, NOW, Pace(60, 0), conversation=7)[1]
    assert (admission.count, admission.reason) == (0, "pace")


@pytest.mark.parametrize("reason", PROBED)
def test_a_probe_whose_holder_crashed_is_followed_by_another(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    assert admit_turns(gate, NOW + 120.0, NO_PACE, wanted=9, running=0) == Admission(1, probes=reason)
    again = begin_probe(gate, NOW + 120.0, conversation=8, within_s=120.0)
    assert not admit_request(again, NOW + 121.0, NO_PACE, conversation=7)[1].count


@pytest.mark.parametrize("reason", PROBED)
def test_the_probes_success_opens_the_gate(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    opened = hear(gate, NOW, OK, conversation=7)
    assert (opened.reason, opened.failures, opened.probe) == (None, 0, None)
    assert is_idle(opened)


@pytest.mark.parametrize("reason", [reason for reason in PROBED if reason != "breaker"])
def test_an_older_request_opens_nothing_that_a_person_must_mend(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    assert hear(gate, NOW, OK, conversation=8).reason == reason
    assert hear(gate, NOW, OK).reason == reason


def test_anybodys_success_opens_the_breaker() -> None:
    assert hear(closed("breaker"), NOW, OK, conversation=8).reason is None


@pytest.mark.parametrize("reason", PROBED)
def test_a_probe_that_fails_is_followed_by_another_after_a_pause(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    failed = hear(gate, NOW + 1, FAILURE, conversation=7)
    assert (failed.reason, failed.probe, failed.closed_until) == (reason, None, NOW + 1 + BREAKER_PROBE_S)


def test_a_probe_that_halts_again_waits_for_the_next_time() -> None:
    gate = begin_probe(closed("credits_exhausted"), NOW, conversation=7, within_s=120.0)
    gate = hear(gate, NOW, GateNews("pause", "credits_exhausted", 900.0), conversation=7)
    assert (gate.reason, gate.closed_until, gate.probe) == ("credits_exhausted", NOW + 900.0, None)


def test_a_probe_may_find_another_reason() -> None:
    gate = begin_probe(closed("credentials_rejected"), NOW, conversation=7, within_s=120.0)
    gate = hear(gate, NOW, GateNews("pause", "project_not_found", 60.0), conversation=7)
    assert gate.reason == "project_not_found"
    gate = begin_probe(closed("breaker"), NOW, conversation=7, within_s=120.0)
    assert hear(gate, NOW, THROTTLED, conversation=7).reason == "throttled"


def test_a_probe_that_asked_nothing_is_given_back() -> None:
    gate = begin_probe(closed("breaker"), NOW, conversation=7, within_s=120.0)
    assert end_probe(gate, NOW, conversation=8) == gate
    ended = end_probe(gate, NOW, conversation=7)
    assert (ended.reason, ended.probe, ended.closed_until) == ("breaker", None, NOW + BREAKER_PROBE_S)
