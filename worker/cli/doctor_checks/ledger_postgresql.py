"""A ledger on PostgreSQL: reach, tables, rights, and whether a commit survives a crash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from worker.adapters.ledger.database import Database
from worker.adapters.ledger.tables import metadata
from worker.adapters.ledger.transaction import Transaction
from worker.cli.doctor_checks.finding import Finding, Say
from worker.cli.doctor_checks.ledger import revision_finding
from worker.cli.errors import explain
from worker.core.errors import LedgerUnavailable

#: Settings of the server that decide whether what was committed stays (PROTOCOL A5), what they must not be,
#: and what to do about it.
_DURABILITY = (
    ("fsync", ("off",), "set it to on in postgresql.conf"),
    ("full_page_writes", ("off",), "set it to on in postgresql.conf"),
    # ``local`` and above wait for this server's disk.
    ("synchronous_commit", ("off",), "set it to on for this database: alter database ... set"),
)

#: What a worker does to its tables.
_RIGHTS = "select, insert, update, delete"

_FACTS = sa.text(
    "select current_setting('server_version') as version, current_setting('fsync') as fsync,"
    " current_setting('full_page_writes') as full_page_writes,"
    " current_setting('synchronous_commit') as synchronous_commit,"
    " current_setting('server_encoding') as encoding, pg_is_in_recovery() as is_standby,"
    " current_setting('transaction_read_only') as read_only, current_database() as database,"
    " to_regclass('alembic_version') is not null as has_tables"
)
_TABLES = sa.text(
    "select c.relname as name, has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')"
    " and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete') as is_usable"
    " from pg_class c where c.oid in (select to_regclass(name) from unnest(cast(:names as text[])) as name)"
)


def look_at_postgresql(url: str, say: Say) -> None:
    """Say what is so; one transaction that only reads."""
    database = Database(url)
    where = f"{database.url.host or 'a local socket'}{f':{database.url.port}' if database.url.port else ''}"
    try:
        with database.transaction() as transaction:
            facts = transaction.rows(_FACTS)[0]
            number = facts["version"].partition(" ")[0]
            say(Finding("ledger", "ok", f"PostgreSQL {number} at {where}, database {facts['database']}"))
            revision = None
            if facts["has_tables"]:
                revision = transaction.scalar(sa.text("select version_num from alembic_version"))
            say(revision_finding(revision, is_sqlite=False))
            for finding in (*_writing(facts), *_rights(transaction, bool(facts["has_tables"]))):
                say(finding)
    except LedgerUnavailable as error:
        problem = explain(error)
        say(Finding("ledger", "wrong", problem.message, "look at DATABASE_URL, and whether it is up"))
    finally:
        database.close()


def _writing(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge whether it takes writes and keeps them."""
    if facts["is_standby"] or facts["read_only"] == "on":
        yield Finding("ledger", "wrong", "it only reads: a standby", "name the primary in DATABASE_URL")
    losing = [(name, advice) for name, bad, advice in _DURABILITY if facts[name] in bad]
    for name, advice in losing:
        text = f"{name} is {facts[name]}: a crash may lose what was committed"
        yield Finding("ledger", "wrong", text, advice)
    if not losing:
        kept = f"fsync {facts['fsync']}, synchronous_commit {facts['synchronous_commit']}"
        yield Finding("ledger", "ok", f"it keeps what was committed ({kept})")
    if facts["encoding"] != "UTF8":
        text = f"its encoding is {facts['encoding']}, which cannot hold every question"
        yield Finding("ledger", "wrong", text, "create the database with: encoding 'UTF8' template template0")


def _rights(transaction: Transaction, has_tables: bool) -> Iterator[Finding]:
    """Judge what this user may do with the tables."""
    if not has_tables:
        return
    names = sorted(metadata.tables)
    refused = [row["name"] for row in transaction.rows(_TABLES, names=names) if not row["is_usable"]]
    if refused:
        text = f"this user may not change {', '.join(sorted(refused))}"
        yield Finding("ledger", "wrong", text, f"grant {_RIGHTS} on all tables in the schema")
