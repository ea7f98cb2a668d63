"""The gate under load, counted at an API that enforces its limits (PROTOCOL 7)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.simulation.load import LoadedFleet
from worker.core.pace import WINDOW_S, Pace

#: s. The fleet is in its stride: what a quiet minute had left over is used up.
STRIDE_S = 120.0


@contextmanager
def fleet(**settings: Any) -> Iterator[LoadedFleet]:
    """Run a fleet for the length of a test."""
    with closing(LoadedFleet(**settings)) as fleet:
        yield fleet


def contacts(count: int, questions: int) -> list[str]:
    """Return who asks, in turn."""
    return [f"contact-{number % count}" for number in range(questions)]


def p95(waits: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return sorted(waits)[int(len(waits) * 0.95)]


def most_in_a_minute(fleet: LoadedFleet) -> int:
    """Count the requests in the fullest minute."""
    moments = [each.at for each in fleet.api.seen]
    return max(sum(at <= other < at + WINDOW_S for other in moments) for at in moments[::7])


def test_four_workers_do_what_the_limits_allow_and_never_more() -> None:
    pace = Pace(120, 5)
    with fleet(workers=4, pace=pace, latency_s=3.0) as here:
        here.ask(contacts(20, 1_000))
        here.run(STRIDE_S + 300)
        posts = here.seen(STRIDE_S, STRIDE_S + 300, "post")
        # Five at once, three seconds each: 100 a minute. Looking up 20 contacts took its part before.
        assert len(posts) >= 0.97 * 5 * min(pace.requests_per_minute, pace.requests_at_once * 60 / 3.0)
        assert max(each.at_once for each in here.api.seen) <= pace.requests_at_once
        assert not any(each.is_throttled for each in here.api.seen)


@pytest.mark.parametrize(
    ("pace", "latency_s", "workers", "people"),
    [
        (Pace(60, 5), 0.5, 4, 1_000),
        (Pace(120, 5), 3.0, 4, 1_000),
        (Pace(90, 0), 3.0, 4, 40),
        (Pace(4, 5), 3.0, 2, 1_000),
        (Pace(1, 0), 3.0, 2, 1_000),
    ],
)
def test_where_the_pace_is_the_limit_it_is_used_up(
    pace: Pace, latency_s: float, workers: int, people: int
) -> None:
    with fleet(workers=workers, pace=pace, latency_s=latency_s) as here:
        here.ask(contacts(people, 1_000))
        minutes = 4 if pace.requests_per_minute > 10 else 40
        here.run(STRIDE_S + minutes * 60)
        begun = here.seen(STRIDE_S, STRIDE_S + minutes * 60)
        assert len(begun) >= 0.97 * pace.requests_per_minute * minutes
        assert not any(each.is_throttled for each in here.api.seen)
        assert most_in_a_minute(here) <= pace.requests_per_minute
        # A turn is not begun for nothing: whoever is looked up is answered.
        kinds = [each.kind for each in here.api.seen]
        assert kinds.count("list") - kinds.count("post") <= max(5, people // 10)


def test_a_throttle_seen_by_one_of_twenty_workers_stops_all_of_them() -> None:
    with fleet(workers=20, pace=Pace(0, 0), latency_s=3.0, api_pace=Pace(0, 0), concurrency=10) as here:
        here.ask(contacts(400, 2_000))
        here.run(20)
        here.api.pause = (here.loop.time(), 30.0)
        here.run(40)
        throttled = [each.at for each in here.api.seen if each.is_throttled]
        first = throttled[0]
        over_at = sum(here.api.pause)
        assert here.seen(first + 0.25, over_at) == []
        assert here.seen(over_at, over_at + 2.0), "then it goes on by itself"
        assert max(throttled) <= first + 0.25


@pytest.mark.parametrize(
    ("pace", "latency_s", "others_per_minute"),
    [(Pace(120, 5), 3.0, 60), (Pace(60, 5), 0.5, 30), (Pace(0, 5), 3.0, 60)],
)
def test_a_contact_that_floods_makes_nobody_else_wait(
    pace: Pace, latency_s: float, others_per_minute: int
) -> None:
    waits = {}
    for flood in (0, 1_000):
        with fleet(workers=4, pace=pace, latency_s=latency_s) as here:
            here.ask([*contacts(30, 30), "flood"])
            here.run(200)
            here.ask(["flood"] * flood)
            before, moments, at = set(here.asked_at), [], 0.0
            chance = random.Random(3)
            while at < 360:
                at += chance.expovariate(others_per_minute / 60)
                moments.append((at, f"contact-{chance.randrange(30)}"))
            here.ask_later(moments)
            here.run(400)
            others = here.asked_at.keys() - before
            assert others <= here.answered_at.keys()
            waits[flood] = p95([here.answered_at[each] - here.asked_at[each] for each in others])
            flooded = sum(each.startswith("flood") for each in here.answered_at)
            assert flooded > 60 or not flood, "what nobody else uses is the flood's"
    assert waits[1_000] <= 2 * waits[0]


@pytest.mark.parametrize("reason", ["throttled", "credits_exhausted", "pace", "at_once"])
def test_statements_while_nothing_may_begin_do_not_grow_with_what_waits(reason: str) -> None:
    # Of several runs, because when the processes look is chance: a tenth more or less.
    few, many = (
        sum(statements_while_closed(reason, waiting, seed) for seed in range(5)) for waiting in (10, 10_000)
    )
    assert many <= few * 1.1
    # Four workers that look every 5 s, and four sweepers.
    assert many / 5 / 25 <= 4 * 5


def statements_while_closed(reason: str, waiting: int, seed: int) -> int:
    """Return how many statements four workers make in 25 s in which nothing may begin."""
    pace = {"pace": Pace(1, 0), "at_once": Pace(0, 1)}.get(reason, Pace(0, 0))
    with fleet(workers=4, pace=pace, latency_s=100.0, seed=seed) as here:
        here.ask(["first"])
        here.run(25)
        if reason in {"throttled", "credits_exhausted"}:
            here.report_pause(reason, 600.0)
        here.ask(contacts(waiting, waiting))
        here.run(5)
        begun, requests = here.statements, len(here.api.seen)
        here.run(25)
        assert len(here.api.seen) == requests, "nothing began meanwhile"
        return here.statements - begun


@pytest.mark.parametrize(("per_minute", "latency_s"), [(1, 1.0), (6, 1.0), (60, 0.5)])
def test_what_is_to_be_read_back_does_not_wait_for_the_end_of_the_backlog(
    per_minute: int, latency_s: float
) -> None:
    with fleet(workers=2, pace=Pace(per_minute, 5), latency_s=latency_s) as here:
        here.api.deaf_to.add("deaf")
        here.ask(["deaf"])
        here.run(2 + 5 * 60 / per_minute)
        posts = here.seen(0, here.loop.time(), "post")
        here.ask(contacts(200, 1_000))
        here.run(30 * 60 / per_minute)
        assert posts, "the one whose answer got lost"
        assert [each for each in here.answered_at if each.startswith("deaf")]
        assert len(here.answered_at) < 100, "although the backlog is far from its end"


@pytest.mark.parametrize("per_minute", [1, 6, 60])
def test_reading_back_many_does_not_keep_questions_waiting(per_minute: int) -> None:
    with fleet(workers=2, pace=Pace(per_minute, 5), latency_s=0.5) as here:
        deaf = [f"deaf-{number}" for number in range(10)]
        here.api.deaf_to.update(deaf)
        here.api.hides_messages = True
        here.ask(deaf)
        here.run(60 * 60 / per_minute)
        here.ask(contacts(50, 200))
        begun = here.loop.time()
        here.run(100 * 60 / per_minute)
        seen = here.seen(begun, here.loop.time())
        reads = sum(each.kind == "read" for each in seen)
        assert len(seen) >= 0.9 * 100
        assert reads <= 0.3 * len(seen), "posts come first"


def test_healing_finds_its_place_while_all_places_are_taken() -> None:
    with fleet(workers=2, pace=Pace(600, 5), latency_s=3.0) as here:
        here.ask(["twice"])
        here.run(10)
        here.make_extra("twice")
        here.ask(contacts(200, 2_000))
        here.run(120)
        assert [each for each in here.api.seen if each.kind == "delete"]
        assert max(each.at_once for each in here.api.seen) <= 5
        assert not any(each.is_throttled for each in here.api.seen)
