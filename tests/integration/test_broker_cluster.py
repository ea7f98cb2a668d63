"""A cluster of brokers that loses one node after the other, and a fleet that goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from pika.exceptions import AMQPError

from tests.fleet import Fleet
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames
from tests.servers.rabbitmq_cluster import RabbitMQCluster
from tests.servers.reaper import Reaper
from tests.servers.waiting import wait_until

#: Questions of one round, and contacts that ask them.
ROUND, CONTACTS = 60, 20


@pytest.fixture
def cluster(reaper: Reaper) -> Iterator[RabbitMQCluster]:
    with RabbitMQCluster(reaper) as cluster:
        yield cluster


@pytest.fixture
def fleet(cluster: RabbitMQCluster, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(
        rabbitmq=cluster,
        names=AmqpNames("cluster"),
        database_url=f"sqlite:///{tmp_path}/ledger.db",
        folder=tmp_path,
        replies_arguments={"x-queue-type": "quorum"},
    ) as fleet:
        yield fleet


def test_questions_are_answered_while_nodes_of_the_broker_die(cluster: RabbitMQCluster, fleet: Fleet) -> None:
    numbers = itertools.count()

    def ask() -> None:
        """Publish a round as a CRM has to: again, until the broker confirms it."""
        questions = [
            Asked(f"evt-{number}", f"EXT_{number % CONTACTS}", f"Question {number}: may I?")
            for number in itertools.islice(numbers, ROUND)
        ]

        def is_taken() -> bool:
            try:
                fleet.ask(questions)
            except AMQPError:
                return False
            return True

        # A cluster needs a moment to agree on who leads.
        wait_until(is_taken, within_s=60, what="the cluster to take questions")

    for _ in range(2):
        fleet.start_worker()
    ask()
    fleet.wait_for_replies(ROUND)
    first, second, _ = cluster.nodes
    # Two of three agree what was confirmed. The first has the classic queue of the doorbell, which is away
    # for as long as its node is.
    for dying in (first, second):
        ask()
        dying.kill()
        ask()
        fleet.wait_for_replies(len(fleet.asked))
        dying.start()
    assert fleet.judge().broken() == {}
    assert fleet.posts() == len(fleet.asked) == 5 * ROUND
