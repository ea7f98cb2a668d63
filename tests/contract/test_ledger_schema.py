"""The migrations make the tables that the code knows, whoever runs them; ``prepare`` refuses the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.pool import NullPool

from tests.contract.ledger_cases import address, beside, sql
from worker.adapters.ledger import current_revision, identity, latest_revision, prepare, schema, upgrade
from worker.adapters.ledger.database import Database
from worker.adapters.ledger.tables import metadata
from worker.core.errors import LedgerOutdated, LedgerUnavailable


@pytest.fixture
def empty_url(database_url: str) -> str:
    """Return the URL of a database without tables, as the settings hand it over."""
    return address(database_url)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new.db'}"


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> str:
    return address(postgres_url)


def as_made(url: str) -> dict[str, Any]:
    """Describe all tables and indexes, partial ones with their conditions."""
    with beside(url) as connection:
        inspector = sa.inspect(connection)
        found: dict[str, Any] = {}
        for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
            columns = {
                column["name"]: (str(column["type"]), column["nullable"], str(column.get("default")))
                for column in inspector.get_columns(table)
            }
            found[table] = (columns, inspector.get_pk_constraint(table)["constrained_columns"])
        statement = (
            "select name, sql from sqlite_master where type = 'index' and sql is not null"
            if url.startswith("sqlite")
            else "select indexname, indexdef from pg_indexes where schemaname = 'public'"
            " and tablename <> 'alembic_version'"
        )
        found["indexes"] = {
            name: " ".join(re.sub(r"\s+", " ", text).lower().split())
            for name, text in connection.execute(sa.text(statement))
        }
        return found


def test_migrations_make_what_the_code_knows(empty_url: str) -> None:
    upgrade(empty_url)
    with beside(empty_url) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_migrated_tables_are_the_ones_that_the_code_would_create(
    empty_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # What Alembic does not compare: defaults, keys and the conditions of partial indexes.
    upgrade(empty_url)
    if empty_url.startswith("sqlite"):
        direct_url = f"sqlite:///{tmp_path / 'direct.db'}"
    else:
        postgres = request.getfixturevalue("postgres")
        direct_url = postgres.new_database()
        request.addfinalizer(lambda: postgres.drop_database(direct_url))
    engine = sa.create_engine(address(direct_url), poolclass=NullPool)
    metadata.create_all(engine)
    engine.dispose()
    assert as_made(empty_url) == as_made(direct_url)


def test_an_upgrade_twice_changes_nothing(empty_url: str) -> None:
    assert current_revision(empty_url) is None
    assert upgrade(empty_url) == latest_revision()
    first, made = identity(empty_url), as_made(empty_url)
    assert upgrade(empty_url) == latest_revision() == current_revision(empty_url)
    assert (identity(empty_url), as_made(empty_url)) == (first, made)


def test_the_revisions_are_those_that_alembic_sees() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert scripts.get_current_head() == latest_revision()
    assert sorted(script.revision for script in scripts.walk_revisions()) == schema.known_revisions()


def test_every_ledger_is_somebody_else(tmp_path: Path) -> None:
    identities = []
    for name in ("a", "b"):
        url = f"sqlite:///{tmp_path / name}.db"
        upgrade(url)
        identities.append(identity(url))
    assert identities[0].ledger_id != identities[1].ledger_id
    assert identities[0].log_key != identities[1].log_key
    assert len(identities[0].log_key) == 64


def test_upgrades_by_several_processes_at_once_all_succeed(empty_url: str) -> None:
    program = (
        "import sys\n"
        "from worker.adapters.ledger import identity, upgrade\n"
        "sys.stdin.readline()\n"
        "print(upgrade(sys.argv[1]), identity(sys.argv[1]).ledger_id)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, [error for _, error in ends]
    assert len({out for out, _ in ends}) == 1, "every process sees the same ledger"


def test_sqlite_is_migrated_by_itself(empty_sqlite_url: str) -> None:
    first = prepare(empty_sqlite_url)
    assert current_revision(empty_sqlite_url) == latest_revision()
    assert prepare(empty_sqlite_url) == first


def test_postgresql_without_tables_is_refused_with_the_command_to_run(empty_postgres_url: str) -> None:
    with pytest.raises(LedgerOutdated, match="askrelay db upgrade"):
        prepare(empty_postgres_url)
    assert current_revision(empty_postgres_url) is None, "a refusal changes nothing"


def test_postgresql_that_is_up_to_date_is_taken(empty_postgres_url: str) -> None:
    upgrade(empty_postgres_url)
    assert prepare(empty_postgres_url) == identity(empty_postgres_url)


def set_revision(url: str, revision: str) -> None:
    sql(url, "update alembic_version set version_num = :revision", revision=revision)


def newer_by(revisions: int) -> str:
    return f"{int(latest_revision()[:4]) + revisions:04}"


def test_one_newer_revision_is_accepted_for_rolling_deploys(empty_url: str) -> None:
    upgrade(empty_url)
    set_revision(empty_url, newer_by(1))
    assert prepare(empty_url) == identity(empty_url)
    assert current_revision(empty_url) == newer_by(1)


def test_one_newer_revision_is_left_as_it_is_by_an_old_workers_upgrade(empty_url: str) -> None:
    # A service's unit runs it before every start of a worker.
    upgrade(empty_url)
    made = as_made(empty_url)
    set_revision(empty_url, newer_by(1))
    assert upgrade(empty_url) == newer_by(1) == current_revision(empty_url)
    assert as_made(empty_url) == made


@pytest.mark.parametrize("by", [2, 50])
@pytest.mark.parametrize("call", [prepare, upgrade])
def test_a_much_newer_revision_is_refused(empty_url: str, by: int, call: Callable[[str], object]) -> None:
    upgrade(empty_url)
    set_revision(empty_url, newer_by(by))
    with pytest.raises(LedgerOutdated, match="newer"):
        call(empty_url)


@pytest.mark.parametrize("revision", ["ae1027a6acf0", "head", "2"])
@pytest.mark.parametrize("call", [prepare, upgrade])
def test_the_tables_of_another_program_are_refused(
    empty_url: str, revision: str, call: Callable[[str], object]
) -> None:
    upgrade(empty_url)
    set_revision(empty_url, revision)
    with pytest.raises(LedgerOutdated, match=revision):
        call(empty_url)


def test_a_server_that_is_away_is_no_mistake_of_the_settings() -> None:
    with pytest.raises(LedgerUnavailable):
        prepare("postgresql+psycopg://askrelay@127.0.0.1:1/nowhere")


def test_sqlite_writes_ahead_and_waits_for_the_disk(empty_sqlite_url: str) -> None:
    prepare(empty_sqlite_url)
    database = Database(empty_sqlite_url)
    try:
        with database.transaction() as transaction:
            pragmas = {
                name: transaction.scalar(sa.text(f"pragma {name}"))
                for name in ("journal_mode", "synchronous")
            }
    finally:
        database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL
