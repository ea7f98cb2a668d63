"""The main job, end to end, on real parts, judged from outside."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fleet import Fleet, generated
from tests.servers.rabbitmq import AmqpNames, RabbitMQ


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_url"))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path
) -> None:
    with Fleet(rabbitmq=rabbitmq, names=amqp_names, database_url=database_url, folder=tmp_path) as fleet:
        first, _ = fleet.start_worker(), fleet.start_worker()
        fleet.ask(generated(contacts=100, each=4))
        fleet.wait_until(lambda: fleet.posts() >= 200, "half of the posts")
        fleet.stop_worker(first, signal.SIGKILL)
        fleet.start_worker()
        fleet.wait_for_replies(400)
        judgement = fleet.judge()
    assert judgement.broken() == {}
    assert (judgement.posts, judgement.conversations, judgement.reply_ids) == (400, 100, 400)
