"""A commit whose answer was lost, on a server that crashed and numbers its transactions anew."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from tests.servers.postgres import Postgres
from worker.adapters.ledger.database import CommitUnknown, Database
from worker.adapters.ledger.schema import upgrade

#: PostgreSQL gives numbers out again from the last one it had written down: far more than are missing.
LATER_TRANSACTIONS = 20


def sqlalchemy_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


@pytest.mark.quick
def test_a_commit_that_a_crash_undid_is_not_taken_for_a_later_one(
    postgres: Postgres, postgres_url: str
) -> None:
    upgrade(sqlalchemy_url(postgres_url))
    database = Database(sqlalchemy_url(postgres_url), marks_commits=True)
    with database.transaction() as transaction:
        transaction.run(sa.text("create table kept (number int)"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("checkpoint")  # from here on nothing of a transaction is on the disk by chance
    mark = 0
    with pytest.raises(CommitUnknown), database.transaction() as transaction:  # noqa: PT012
        mark = transaction.mark
        transaction.run(sa.text("insert into kept values (1)"))
        postgres.kill()
    postgres.start()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for _ in range(LATER_TRANSACTIONS):
            connection.execute("select pg_current_xact_id()")
        (rows,) = connection.execute("select count(*) from kept").fetchone() or (None,)
    assert database.was_committed(mark) is False
    assert rows == 0
    database.close()


@pytest.mark.quick
def test_a_commit_that_was_done_is_known_after_a_crash(postgres: Postgres, postgres_url: str) -> None:
    upgrade(sqlalchemy_url(postgres_url))
    database = Database(sqlalchemy_url(postgres_url), marks_commits=True)
    with database.transaction() as transaction:
        mark = transaction.mark
    database.disconnect()
    postgres.restart()
    assert database.was_committed(mark) is True
    assert database.was_committed(mark + 1) is False
    database.close()
