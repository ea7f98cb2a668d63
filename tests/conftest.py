"""What tests may ask for. The servers start when the first test of a process wants them.

Every process of a run (pytest-xdist starts several) has servers of its own, so that a test may kill its
broker without breaking a test beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from tests.servers.reaper import Reaper


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """Return what ends our servers if this process dies before it can."""
    with closing(Reaper()) as reaper:
        yield reaper


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that signs certificates for this machine's own names."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def rabbitmq(reaper: Reaper) -> Iterator[RabbitMQ]:
    """Return a private RabbitMQ node."""
    with closing(RabbitMQ(reaper)) as node:
        node.start()
        yield node


@pytest.fixture(scope="session")
def postgres(reaper: Reaper) -> Iterator[Postgres]:
    """Return a private PostgreSQL cluster."""
    with closing(Postgres(reaper)) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def amqp_names(rabbitmq: RabbitMQ) -> Iterator[AmqpNames]:
    """Return the names of an exchange and queues for this test alone; they are deleted after it."""
    rabbitmq.start()  # a test before this one may have left it dead
    names = rabbitmq.names()
    yield names
    if rabbitmq.pid:
        rabbitmq.remove(names)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """Return the URL of an empty PostgreSQL database for this test alone."""
    postgres.start()
    url = postgres.new_database()
    yield url
    if postgres.pid:
        postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database; a test that asks for it runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
