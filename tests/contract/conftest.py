"""Databases for the ledger's conformance suite: empty for each test, made once where that is slow."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.contract.ledger_cases import address, opened
from tests.servers.postgres import Postgres
from worker.adapters.ledger import SqlLedger, upgrade
from worker.adapters.ledger.tables import metadata


@pytest.fixture(scope="session")
def upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite ledger that tests copy: a migration takes longer than most of them."""
    file = tmp_path_factory.mktemp("ledger") / "template.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def upgraded_postgres(postgres: Postgres) -> Iterator[str]:
    """Return a PostgreSQL ledger that tests empty: to make and drop a database takes a second."""
    url = postgres.new_database()
    upgrade(address(url))
    yield url
    if postgres.pid:
        postgres.drop_database(url)


@pytest.fixture
def postgres_ledger_url(postgres: Postgres, upgraded_postgres: str) -> str:
    """Return the URL of an empty ledger on PostgreSQL."""
    postgres.start()  # a test before this one may have left it dead
    tables = [table.name for table in metadata.sorted_tables if table.name != "identity"]
    with psycopg.connect(upgraded_postgres, autocommit=True) as connection:
        # Whoever is still connected belongs to a test that failed.
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        connection.execute(f"truncate {', '.join(tables)} restart identity")
    return upgraded_postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty ledger; a test that asks for it runs once on each kind of database."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("upgraded_sqlite"), tmp_path / "ledger.db")
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("postgres_ledger_url")
    return url


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[SqlLedger]:
    """Return an empty ledger with the usual settings; files that want others make their own."""
    async with opened(ledger_url) as ledger:
        yield ledger
