"""The pace: never more than the plan allows in any minute, and none of it wasted (PROTOCOL 7)."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import given, settings, strategies as st

from worker.core.pace import BUCKET_S, WINDOW_S, Pace, Spent, left, ready, ready_in_s, spend

NOW = 10_000.0
MOMENTS = st.lists(st.floats(0, 400, allow_nan=False), min_size=1, max_size=200).map(sorted)


def begun_at(moments: list[float], pace: Pace) -> list[float]:
    """Return when a request began, of those that were asked for at these moments."""
    spent, begun = Spent(), []
    for moment in moments:
        if ready(spent, NOW + moment, pace) >= 1:
            spent = spend(spent, NOW + moment, pace)
            begun.append(NOW + moment)
    return begun


def most_in_a_window(begun: list[float]) -> int:
    """Count how many began in the fullest window of a minute."""
    ends = [bisect.bisect_left(begun, at + WINDOW_S) for at in begun]
    return max((end - place for place, end in enumerate(ends)), default=0)


@given(moments=MOMENTS, limit=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_no_window_of_a_minute_holds_more_than_the_limit(moments: list[float], limit: int) -> None:
    begun = begun_at(moments, Pace(limit, 0))
    assert most_in_a_window(begun) <= limit
    assert begun, "the first one always may"


@given(moments=MOMENTS, limit=st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_a_request_that_arrives_late_by_up_to_a_bucket_makes_no_window_too_full(
    moments: list[float], limit: int
) -> None:
    # The earlier ones arrive late, those that follow at once: the worst that can happen on the way.
    begun = begun_at(moments, Pace(limit, 0))
    for place in range(limit, len(begun)):
        assert begun[place] - (begun[place - limit] + BUCKET_S) >= WINDOW_S


@given(moments=MOMENTS, limit=st.integers(1, 60), count=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_whoever_waits_as_long_as_told_gets_in(moments: list[float], limit: int, count: int) -> None:
    pace, spent, now = Pace(limit, 0), Spent(), NOW
    count = min(count, pace.burst)
    for moment in moments:
        now = max(now, NOW + moment)
        for _ in range(3):
            wait_s = ready_in_s(spent, now, pace, count)
            assert 0 <= wait_s <= WINDOW_S + 2 * BUCKET_S
            if not wait_s:
                break
            now += wait_s
        assert ready(spent, now, pace) >= count
        spent = spend(spent, now, pace)


@pytest.mark.parametrize("limit", [1, 2, 5, 60, 90, 120, 1000])
def test_who_asks_whenever_told_uses_97_percent_of_the_pace(limit: int) -> None:
    pace, spent, now, begun = Pace(limit, 0), Spent(), NOW, 0
    while now < NOW + 1_800:
        if ready(spent, now, pace) >= 1:
            spent, begun = spend(spent, now, pace), begun + (now >= NOW + 300)
        else:
            # It takes a moment to come.
            now += ready_in_s(spent, now, pace) + 0.02
    assert begun >= 0.97 * limit * 25


def test_after_a_quiet_time_a_burst_may_begin_at_once_and_then_all_come_evenly() -> None:
    pace = Pace(60, 0)
    begun = begun_at([number / 10 for number in range(300)], pace)
    assert begun[: pace.burst] == [NOW + number / 10 for number in range(pace.burst)]
    pauses = [
        after - before for before, after in zip(begun[pace.burst :], begun[pace.burst + 1 :], strict=False)
    ]
    assert all(0.85 < pause < 1.15 for pause in pauses)


def test_buckets_that_no_longer_count_are_forgotten() -> None:
    spent, pace = Spent(), Pace(60, 0)
    for second in range(0, 600, 2):
        spent = spend(spent, NOW + second, pace)
    assert len(spent.buckets) <= WINDOW_S / BUCKET_S + 3


def test_a_bucket_that_no_longer_counts_does_not_make_those_who_wait_ask_at_once() -> None:
    # After the limit was lowered, the old minute may be too full although its oldest bucket is over.
    spent = Spent({int((NOW - 100) / BUCKET_S): 5, int((NOW - 10) / BUCKET_S): 20})
    assert ready_in_s(spent, NOW, Pace(20, 0)) == pytest.approx(50.0 + 2 * BUCKET_S, abs=BUCKET_S)


def test_no_limit_counts_nothing() -> None:
    pace = Pace(0, 5)
    assert spend(Spent(), NOW, pace) == Spent()
    assert ready(Spent(), NOW, pace) == left(Spent(), NOW, pace) == float("inf")
    assert not pace.burst


def test_what_never_begins_at_once_is_not_asked_for_again_and_again() -> None:
    pace = Pace(6, 5)
    assert ready(Spent(), 100.0, pace) == pace.burst == 3
    assert ready_in_s(Spent(), 100.0, pace, pace.burst) == 0
    assert ready_in_s(Spent(), 100.0, pace, pace.burst + 1) == pace.step_s == 10
