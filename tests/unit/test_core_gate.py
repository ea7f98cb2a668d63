"""The gate holds the fleet behind pauses, halts and the breaker, and shares the pace out (PROTOCOL 7)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from worker.core.gate import (
    BREAKER_FAILURES,
    BREAKER_PROBE_S,
    NEW_CONTACT_REQUESTS,
    POSTS_PER_READ,
    WAITING_S,
    Admission,
    Candidate,
    Gate,
    Share,
    UnderWay,
    admit_healer,
    admit_request,
    admit_together,
    admit_turns,
    begin_probe,
    chosen,
    cost_of,
    end_healer,
    end_probe,
    hear,
    is_idle,
    note_claim,
    refreshed,
    retry_of,
)
from worker.core.model import GateNews
from worker.core.pace import Pace, Spent, ready, spend

NOW = 10_000.0
NO_PACE = Pace(0, 0)
SIXTY = Pace(60, 0)
OK = GateNews("ok")
ANSWERED = GateNews("answered")
FAILURE = GateNews("failure")
THROTTLED = GateNews("pause", "throttled", 30.0)
PROBED = ["breaker", "credits_exhausted", "credentials_rejected", "project_not_found"]


def turns(
    gate: Gate, now: float, pace: Pace, *, wanted: int = 9, running: int = 0, owed: int = 0
) -> Admission:
    """Ask how many turns may start."""
    return admit_turns(gate, now, pace, wanted=wanted, under_way=UnderWay(running, owed=owed))


def request(
    gate: Gate, now: float, pace: Pace, *, conversation: int | None = None, share: Share = "posts"
) -> tuple[Gate, Admission]:
    """Ask for one request."""
    return admit_request(gate, now, pace, conversation=conversation, share=share)


def used_up(pace: Pace, now: float = NOW) -> Gate:
    """Return a gate at which nothing is left of the pace."""
    spent = Spent()
    while ready(spent, now, pace) >= 1:
        spent = spend(spent, now, pace)
    return Gate(spent=spent)


def test_no_limit_is_no_limit() -> None:
    gate = Gate()
    for _ in range(1_000):
        gate, admission = request(gate, NOW, NO_PACE)
        assert admission.count
    assert gate == Gate()
    assert turns(gate, NOW, NO_PACE, wanted=500, running=10_000).count == 500


def test_turns_start_up_to_what_may_begin_at_once() -> None:
    assert turns(Gate(), NOW, SIXTY, wanted=100).count == SIXTY.burst
    admission = turns(used_up(SIXTY), NOW, SIXTY, wanted=100)
    assert (admission.count, admission.reason) == (0, "pace")
    assert admission.retry_in_s == pytest.approx(1.0)


def test_what_turns_under_way_have_yet_to_send_is_theirs() -> None:
    assert turns(Gate(), NOW, SIXTY, wanted=100, running=3, owed=7).count == SIXTY.burst - 7
    admission = turns(Gate(), NOW, SIXTY, wanted=100, running=5, owed=SIXTY.burst)
    assert (admission.count, admission.reason) == (0, "pace")


@pytest.mark.parametrize(("running", "count"), [(0, 5), (3, 2), (5, 0), (9, 0)])
def test_turns_start_up_to_the_requests_at_once(running: int, count: int) -> None:
    admission = turns(Gate(), NOW, Pace(0, 5), wanted=100, running=running)
    assert admission.count == count
    if not count:
        assert admission == Admission(0, math.inf, "at_once")


def test_a_throttle_lets_nothing_through_until_it_is_over() -> None:
    gate = hear(Gate(), NOW, THROTTLED)
    for later_s in (0.0, 29.9):
        admission = turns(gate, NOW + later_s, NO_PACE)
        assert (admission.count, admission.reason) == (0, "throttled")
        assert admission.retry_in_s == pytest.approx(30.0 - later_s)
        assert not request(gate, NOW + later_s, NO_PACE, conversation=1)[1].count
    after = refreshed(gate, NOW + 30.0)
    assert after.reason is None
    assert turns(after, NOW + 30.0, NO_PACE).count == 9


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
    assert turns(gate, NOW - 0.1, NO_PACE).count == 0
    assert turns(gate, NOW, NO_PACE) == Admission(1, probes=reason)
    gate = begin_probe(gate, NOW, conversation=7, within_s=120.0)
    admission = turns(gate, NOW + 1, NO_PACE)
    assert (admission.count, admission.reason, admission.retry_in_s) == (0, reason, 119.0)


@pytest.mark.parametrize("reason", PROBED)
def test_only_the_probes_requests_pass(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    assert request(gate, NOW, NO_PACE, conversation=7)[1].count == 1
    for other in (8, None):
        admission = request(gate, NOW, NO_PACE, conversation=other)[1]
        assert (admission.count, admission.reason) == (0, reason)
        assert admission.retry_in_s > 0


@pytest.mark.parametrize("reason", PROBED)
def test_requests_of_older_turns_do_not_slip_through_between_two_probes(reason: str) -> None:
    assert not request(closed(reason), NOW + 60, NO_PACE, conversation=8)[1].count


def test_a_probe_keeps_to_the_pace() -> None:
    gate = begin_probe(closed("breaker"), NOW, conversation=7, within_s=120.0)
    gate = replace(gate, spent=used_up(SIXTY).spent)
    admission = request(gate, NOW, SIXTY, conversation=7)[1]
    assert (admission.count, admission.reason) == (0, "pace")


@pytest.mark.parametrize("reason", PROBED)
def test_a_probe_whose_holder_crashed_is_followed_by_another(reason: str) -> None:
    gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
    assert turns(gate, NOW + 120.0, NO_PACE) == Admission(1, probes=reason)
    again = begin_probe(gate, NOW + 120.0, conversation=8, within_s=120.0)
    assert not request(again, NOW + 121.0, NO_PACE, conversation=7)[1].count


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


def test_a_probe_waits_for_a_place_and_for_the_pace_too() -> None:
    gate = closed("breaker")
    assert turns(gate, NOW, Pace(0, 5), running=5).reason == "at_once"
    assert turns(replace(gate, spent=used_up(SIXTY).spent), NOW, SIXTY).reason == "pace"


def test_any_answer_of_the_api_opens_the_breaker_and_begins_the_row_of_failures_anew() -> None:
    assert hear(closed("breaker"), NOW, ANSWERED, conversation=8).reason is None
    gate = Gate(failures=BREAKER_FAILURES - 1)
    assert hear(gate, NOW, ANSWERED).failures == 0


def test_a_reading_that_works_proves_a_key_and_not_that_there_are_credits() -> None:
    for reason, opens in {
        "credentials_rejected": True,
        "project_not_found": True,
        "credits_exhausted": False,
    }.items():
        gate = begin_probe(closed(reason), NOW, conversation=7, within_s=120.0)
        heard = hear(gate, NOW + 1, ANSWERED, conversation=7)
        assert (heard.reason is None) is opens
        assert heard.probe is None
        if not opens:
            assert heard.closed_until == NOW + 1 + BREAKER_PROBE_S, "somebody else asks soon"


def served(gate: Gate, pace: Pace, seconds: float, *, posts: bool, reads: bool) -> dict[Share, int]:
    """Count what begins while one or both shares ask every quarter of a second, posts or reads first."""
    counts: dict[Share, int] = {"posts": 0, "reads": 0}
    now, turn = NOW, 0
    while now < NOW + seconds:
        asking: list[Share] = [*(["posts"] * posts), *(["reads"] * reads)]
        for share in asking if turn % 2 else reversed(asking):
            gate, admission = request(gate, now, pace, share=share)
            counts[share] += admission.count
        now, turn = now + 0.25, turn + 1
    return counts


@pytest.mark.parametrize("per_minute", [1, 2, 6, 60, 120])
def test_of_five_requests_one_is_a_read_while_both_wait(per_minute: int) -> None:
    pace = Pace(per_minute, 0)
    counts = served(used_up(pace), pace, 3_600, posts=True, reads=True)
    assert sum(counts.values()) >= 0.97 * 60 * per_minute
    assert counts["reads"] == pytest.approx(sum(counts.values()) / (POSTS_PER_READ + 1), rel=0.2, abs=1)


@pytest.mark.parametrize("share", ["posts", "reads"])
@pytest.mark.parametrize("per_minute", [1, 60])
def test_what_one_share_leaves_the_other_may_use(per_minute: int, share: Share) -> None:
    pace = Pace(per_minute, 0)
    counts = served(used_up(pace), pace, 3_600, posts=share == "posts", reads=share == "reads")
    assert counts[share] >= 0.97 * 60 * per_minute


def test_a_share_that_gave_up_waiting_is_not_waited_for() -> None:
    pace = Pace(60, 0)
    gate = replace(used_up(pace), posts_since_read=POSTS_PER_READ)
    gate, refused = request(gate, NOW, pace, share="reads")
    assert not refused.count
    assert not request(gate, NOW + 1.1, pace, share="posts")[1].count, "the next one is the read's"
    assert request(gate, NOW + WAITING_S, pace, share="posts")[1].count


def test_reads_stand_back_while_questions_wait_for_the_pace() -> None:
    pace = Pace(60, 0)
    gate = note_claim(used_up(pace), NOW, is_waiting=True, is_any_fresh=False)
    assert not request(gate, NOW + 1.1, pace, share="reads")[1].count
    gate = note_claim(gate, NOW + 1, is_waiting=False, is_any_fresh=False)
    assert request(gate, NOW + 1.1, pace, share="reads")[1].count


def test_a_waiting_is_not_written_down_anew_every_time() -> None:
    gate = note_claim(Gate(), NOW, is_waiting=True, is_any_fresh=True)
    assert note_claim(gate, NOW + 1, is_waiting=True, is_any_fresh=True) == gate


def test_a_new_contact_costs_three_requests_as_far_as_the_plan_has_them() -> None:
    assert cost_of(SIXTY, is_new_contact=True) == NEW_CONTACT_REQUESTS
    assert cost_of(SIXTY, is_new_contact=False) == 1
    assert cost_of(Pace(2, 0), is_new_contact=True) == 2
    assert cost_of(NO_PACE, is_new_contact=True) == 1


def some(requests: float, soon: float, **fields: int) -> Admission:
    """Return the admission of up to nine turns."""
    return replace(Admission(9, requests=requests, requests_soon=soon), **fields)


def test_a_turn_starts_when_its_later_requests_come_soon() -> None:
    new, known = Candidate(NEW_CONTACT_REQUESTS), Candidate(1)
    assert chosen(some(3, 5), [known, known, known, known]) == [0, 1, 2]
    assert chosen(some(1, 3), [new, known]) == [0]
    assert chosen(some(1, 2), [new, known]) == [], "who comes first is not passed"
    assert chosen(some(5, 5, count=2), [known, known, known]) == [0, 1]


def test_who_follows_itself_leaves_a_part_to_others() -> None:
    flood, other = Candidate(1, follows=True), Candidate(1)
    assert chosen(some(3, 5, kept=5), [flood, other, flood, other]) == [1, 3]
    assert chosen(some(6, 8, kept=5), [flood, other]) == [0, 1]
    assert chosen(some(1, 1), [flood]) == [0], "with nobody else there it has everything"


@pytest.mark.parametrize("per_minute", [1, 2, 6, 60, 600])
def test_a_new_contact_that_follows_itself_is_not_kept_out_for_ever(per_minute: int) -> None:
    pace = Pace(per_minute, 0)
    gate = note_claim(Gate(), NOW, is_waiting=False, is_any_fresh=True)
    wanted = Candidate(cost_of(pace, is_new_contact=True), follows=True)
    admission = turns(gate, NOW, pace)
    assert chosen(admission, [wanted]) == [0]


@pytest.mark.parametrize("per_minute", [1, 4, 60])
@pytest.mark.parametrize("follows", [True, False])
def test_whoever_comes_again_when_told_starts(per_minute: int, follows: bool) -> None:
    pace = Pace(per_minute, 0)
    gate = note_claim(used_up(pace), NOW, is_waiting=True, is_any_fresh=True)
    wanted = Candidate(cost_of(pace, is_new_contact=True), follows=follows)
    now = NOW
    for _ in range(3):
        now += retry_of(gate, now, pace, owed=0, wanted=wanted)
        admission = turns(gate, now, pace)
        if admission.count and chosen(admission, [wanted]):
            return
    raise AssertionError("it never starts")


def test_healing_has_a_place_among_the_requests_at_once() -> None:
    pace = Pace(0, 5)
    gate, admission = admit_healer(Gate(), NOW, pace, worker="a", turns=4, within_s=30.0)
    assert admission.count
    assert turns(gate, NOW, pace, running=4).reason == "at_once"
    assert not admit_healer(gate, NOW, pace, worker="b", turns=3, within_s=30.0)[1].count, "one at a time"
    assert admit_healer(gate, NOW + 1, pace, worker="a", turns=5, within_s=30.0)[1].count, (
        "it keeps its place"
    )
    assert turns(end_healer(gate, worker="b"), NOW, pace, running=4).reason == "at_once"
    assert turns(end_healer(gate, worker="a"), NOW, pace, running=4).count == 1


def test_the_place_of_a_healer_that_died_comes_back() -> None:
    pace = Pace(0, 5)
    gate, _ = admit_healer(Gate(), NOW, pace, worker="a", turns=4, within_s=30.0)
    assert turns(gate, NOW + 30, pace, running=4).count == 1


def test_a_healer_that_finds_no_place_is_left_the_next_one_in_its_turn() -> None:
    pace = Pace(0, 5)
    gate, admission = admit_healer(Gate(), NOW, pace, worker="a", turns=5, within_s=30.0)
    assert (admission.count, admission.reason) == (0, "at_once")
    shares = []
    for _ in range(POSTS_PER_READ + 1):
        admission = turns(gate, NOW + 1, pace, running=4)
        shares.append((admission.reads, admission.reads_elsewhere))
        gate, _ = request(gate, NOW + 1, pace, share="posts")
    assert shares == [(0, True)] * POSTS_PER_READ + [(1, True)]


@given(
    per_minute=st.sampled_from([0, 1, 60, 1000]),
    at_once=st.sampled_from([0, 5]),
    share=st.sampled_from(["posts", "reads"]),
    count=st.integers(1, 20),
    before=st.integers(0, 30),
    since=st.integers(0, POSTS_PER_READ),
    waits=st.tuples(st.booleans(), st.booleans()),
    reason=st.sampled_from([None, "throttled", "breaker"]),
)
def test_requests_that_are_counted_together_count_as_one_by_one(
    *,
    per_minute: int,
    at_once: int,
    share: Share,
    count: int,
    before: int,
    since: int,
    waits: tuple[bool, bool],
    reason: str | None,
) -> None:
    pace = Pace(per_minute, at_once)
    gate = Gate(
        reason=reason,
        closed_until=NOW + 1,
        spent=spend(Spent(), NOW - 1, pace, before),
        posts_since_read=since,
        posts_wait_until=NOW + WAITING_S if waits[0] else 0.0,
        reads_wait_until=NOW + WAITING_S if waits[1] else 0.0,
    )
    together = admit_together(gate, NOW, pace, share=share, count=count)
    alone, admitted = gate, 0
    for _ in range(count):
        alone, admission = request(alone, NOW, pace, share=share)
        admitted += admission.count
    if together is not None:
        assert admitted == count
        assert together.spent.buckets == alone.spent.buckets
        assert together.spent.even_at == pytest.approx(alone.spent.even_at)
        assert replace(together, spent=alone.spent) == alone
    elif reason is None and not any(waits):
        assert admitted < count


def test_a_closed_gate_and_a_share_that_waits_are_judged_request_by_request() -> None:
    waiting = Gate(reads_wait_until=NOW + WAITING_S)
    assert admit_together(waiting, NOW, SIXTY, share="posts", count=2) is None
    assert admit_together(Gate(), NOW, SIXTY, share="posts", count=2) is not None
    assert admit_together(closed("breaker"), NOW, SIXTY, share="posts", count=1) is None
