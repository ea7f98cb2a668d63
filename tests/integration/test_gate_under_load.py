"""The gate with real processes, counted by the sandbox, which enforces the same limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fleet import Fleet, generated
from tests.judge import Asked
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

#: s. From a request that is throttled, as the sandbox sees it, until no other may begin any more.
LATE_S = 0.25
WORKERS = 4


def settings(**values: str) -> dict[str, str]:
    """Return settings under which nothing expires while the machine is busy."""
    return {
        "ASKRELAY_LEASE_S": "30",
        "ASKRELAY_REQUEST_TIMEOUT_S": "60",
        "ASKRELAY_SETTLE_S": "120",
        "ASKRELAY_SEND_GRACE_S": "2",
        **values,
    }


def requests(fleet: Fleet) -> list[dict[str, Any]]:
    """Return every request that the sandbox saw, in the order in which they began."""
    return sorted(fleet.sandbox.effects("request"), key=lambda effect: effect["begun"])


def test_four_workers_use_the_places_that_the_limits_leave_and_never_more(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, postgres: Postgres, tmp_path: Path
) -> None:
    limits = {"ASKRELAY_REQUESTS_PER_MINUTE": "600", "ASKRELAY_REQUESTS_AT_ONCE": "5"}
    with Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=postgres.new_database(),
        folder=tmp_path,
        latency_s=0.6,
        settings=settings(**limits),
    ) as fleet:
        fleet.sandbox.set_switches(requests_per_minute=600, requests_at_once=5)
        fleet.ask(generated(contacts=10, each=10))
        for _ in range(WORKERS):
            fleet.start_worker()
        fleet.wait_for_replies(100)
        seen = requests(fleet)
        judgement = fleet.judge()
    assert judgement.broken() == {}
    assert {effect["status"] for effect in seen} <= {200, 201}, "nobody was told to slow down"
    assert max(effect["at_once"] for effect in seen) <= 5
    posts = [effect for effect in seen if effect["call"] == "post"][20:-10]
    span_s = posts[-1]["begun"] - posts[0]["begun"]
    # How many of the five places were used on the average. A busy machine is no reason to fail: 97 % is shown
    # on simulated time, and by hand.
    assert (len(posts) - 1) * 0.6 / span_s > 2.5


def test_one_throttled_worker_stops_the_fleet_until_the_pause_is_over(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, postgres: Postgres, tmp_path: Path
) -> None:
    pause_s = 6
    with Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=postgres.new_database(),
        folder=tmp_path,
        latency_s=0.2,
        settings=settings(ASKRELAY_CONCURRENCY="3"),
    ) as fleet:
        workers = [fleet.start_worker() for _ in range(WORKERS)]
        questions = generated(contacts=60, each=20)
        fleet.ask(questions)
        fleet.wait_until(lambda: fleet.posts() > 60, "the fleet is at work")
        throttle = {"kind": "throttle", "retry_after": str(pause_s)}
        fleet.sandbox.set_faults({"action": throttle, "match": {"times": 1}})
        fleet.wait_until(lambda: any(each["status"] == 429 for each in requests(fleet)), "a 429")
        throttled = next(each for each in requests(fleet) if each["status"] == 429)
        over_at = throttled["ended"] + pause_s
        fleet.wait_until(lambda: requests(fleet)[-1]["begun"] > over_at, "the pause is over", within_s=60)
        late = [each for each in requests(fleet) if throttled["ended"] + LATE_S < each["begun"] < over_at]
        for worker in workers:
            fleet.stop_worker(worker)
    assert late == []


def test_an_answer_is_not_held_up_by_a_contact_that_floods(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, postgres: Postgres, tmp_path: Path
) -> None:
    limits = {"ASKRELAY_REQUESTS_PER_MINUTE": "120", "ASKRELAY_REQUESTS_AT_ONCE": "5"}
    with Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=postgres.new_database(),
        folder=tmp_path,
        latency_s=0.05,
        settings=settings(**limits),
    ) as fleet:
        fleet.start_worker()
        fleet.ask([Asked(f"flood-{n}", "EXT_FLOOD", f"Flood {n}?") for n in range(200)])
        fleet.wait_for_replies(25)
        fleet.ask([Asked(f"other-{n}", f"EXT_{n}", f"Other {n}?") for n in range(3)])
        others = {f"other-{n}" for n in range(3)}
        fleet.wait_until(
            lambda: others <= {reply["data"]["question_id"] for reply in list(fleet.replies)}, "the others"
        )
        flooded = fleet.reply_ids() - len(others)
    assert flooded < 60, "the flood is far from its end"
