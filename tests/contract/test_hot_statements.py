"""Every statement goes by an index: what it costs does not grow with the tables."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import pytest

from tests.bench_growth.fill import Contents, fill
from tests.contract.hot_statements import Statement, all_statements
from tests.contract.ledger_cases import address
from tests.servers.postgres import Postgres
from tests.simulation.simulation import Scenario, simulate
from tests.simulation.tables import Tables
from worker.adapters.ledger import upgrade
from worker.adapters.ledger.database import Database
from worker.adapters.ledger.transaction import Transaction
from worker.core.model import DIGEST_HEX

CONTENTS = Contents(finished=20_000, waiting=2_000, erased=20_000, contacts=5_000)
#: The tables that grow. The others hold a row for each worker or API key.
GROWING = frozenset({"questions", "conversations", "replies", "erased", "contact_days"})
#: Parameters that stand in a list of columns, where PostgreSQL cannot see that they are times.
TIMES = ("now", "due_at", "until", "heal_at", "soon")
#: Parameters that stand for many rows.
ROWS = ("rows", "keys")
#: What is in flight: no more rows than requests at once, however large the tables are.
IN_FLIGHT = ("questions_posting", "conversations_leased")
#: Gives leases back, once in a process's life.
AT_A_STOP = "update questions set expired_leases = 0"
#: Statements of one database.
OF_POSTGRESQL = re.compile("clock_timestamp|pg_postmaster")
OF_SQLITE = re.compile(
    "from sqlite_master|from identity|from workers.*from questions order by number desc limit 1"
)
#: The last row by its number: a scan of one step.
LATEST = "from questions order by number desc limit 1"
#: A table and, if there is one, its other name.
FROM = re.compile(r"(?:from|join|update|into) (\w+)(?: (?!where|join|set|on|order|limit|using|as)(\w+))?")
STATEMENTS = all_statements()


def short(value: object) -> str:
    """Name a test by the beginning of its statement."""
    return str(value)[:50]


@pytest.fixture(scope="module")
def filled_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    file = tmp_path_factory.mktemp("filled") / "ledger.db"
    upgrade(f"sqlite:///{file}")
    fill(f"sqlite:///{file}", CONTENTS)
    connection = sqlite3.connect(file)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def filled_postgres(postgres: Postgres) -> Iterator[Database]:
    """Return a ledger whose connection is set up as the worker's."""
    postgres.start()
    url = postgres.new_database()
    upgrade(address(url))
    fill(url, CONTENTS)
    database = Database(address(url))
    yield database
    database.close()
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def empty_postgres(postgres: Postgres) -> Iterator[Database]:
    """Return a new ledger whose connection is set up as the worker's."""
    postgres.start()
    url = postgres.new_database()
    upgrade(address(url))
    database = Database(address(url))
    yield database
    database.close()
    postgres.drop_database(url)


@pytest.mark.parametrize(
    "statement", [each for each in STATEMENTS if not OF_POSTGRESQL.search(each.sqlite)], ids=short
)
def test_statement_goes_by_an_index_on_sqlite(
    statement: Statement, filled_sqlite: sqlite3.Connection
) -> None:
    names = dict.fromkeys(re.findall(r"(?<!:):([a-z_]+)", statement.sqlite), 1)
    plan = filled_sqlite.execute(f"explain query plan {statement.sqlite}", {**names, "rows": "[]"}).fetchall()
    assert not list(scans(statement.sqlite, [row[3] for row in plan]))


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    "statement", [each for each in STATEMENTS if not OF_SQLITE.search(each.postgresql)], ids=short
)
def test_statement_goes_by_an_index_on_postgresql(
    statement: Statement, mode: str, filled_postgres: Database
) -> None:
    """A connection's first plans are made for the parameters, and the later ones once for all."""
    with filled_postgres.transaction() as transaction:
        plan = plan_of(statement, mode, transaction.connection.connection.driver_connection)
    assert not list(full_scans(plan, is_bounded=False))


@pytest.mark.parametrize(
    "statement", [each for each in STATEMENTS if not OF_SQLITE.search(each.postgresql)], ids=short
)
def test_statement_goes_by_an_index_in_a_ledger_that_was_never_analysed(
    statement: Statement, empty_postgres: Database
) -> None:
    """A plan that reads all conversations for each question would stay until the first analyze."""
    with empty_postgres.transaction() as transaction:
        raw = transaction.connection.connection.driver_connection
        plan = plan_of(statement, "force_generic_plan", raw)
    found = [scan for scan in full_scans(plan, is_bounded=False) if not scan.endswith(IN_FLIGHT)]
    assert not found or statement.postgresql.startswith(AT_A_STOP)


def test_no_statement_runs_that_was_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: set[str] = set()
    execute = Transaction._execute

    def noted(transaction: Transaction, statement: Any, *arguments: Any, **kinds: Any) -> Any:
        ran.add(statement.text)
        return execute(transaction, statement, *arguments, **kinds)

    monkeypatch.setattr(Transaction, "_execute", noted)
    tables = Tables()
    for seed in range(12):
        tables.empty()
        simulate(seed, Scenario(), tables)
    assert len(ran) > 30
    assert ran <= {statement.sqlite for statement in STATEMENTS}


def test_a_statement_without_an_index_is_noticed(
    filled_sqlite: sqlite3.Connection, filled_postgres: Database
) -> None:
    text = "select number from questions where event_id = :event_id"
    plan = filled_sqlite.execute(f"explain query plan {text}", {"event_id": ""}).fetchall()
    assert list(scans(text, [row[3] for row in plan])) == ["SCAN questions"]
    with filled_postgres.transaction() as transaction:
        connection = transaction.connection.connection.driver_connection
        assert list(
            full_scans(plan_of(Statement(text, text), "force_generic_plan", connection), is_bounded=False)
        )


def scans(statement: str, plan: Iterable[str]) -> Iterator[str]:
    """Yield the steps that read a growing table or index through; a limit bounds those by an index."""
    tables = {alias or table: table for table, alias in FROM.findall(statement)}
    for step in plan:
        if step.startswith("BLOOM FILTER"):
            yield step  # Made by reading the whole table.
        if (match := re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)) is None:
            continue
        is_bounded = match[2] in IN_FLIGHT or (match[2] and " limit " in statement) or LATEST in statement
        if tables.get(match[1]) in GROWING and not is_bounded:
            yield step


def plan_of(statement: Statement, mode: str, connection: psycopg.Connection) -> dict[str, Any]:
    """Return how PostgreSQL would run a statement."""
    text, names = statement.numbered()
    types = ", ".join("double precision" if name in TIMES else "unknown" for name in names)
    values = ", ".join(f"'{_example_of(name)}'" for name in names)
    with connection.cursor() as cursor:
        cursor.execute(f"set local plan_cache_mode = {mode}".encode())
        cursor.execute(f"prepare looked_at {f'({types})' if names else ''} as {text}".encode())
        cursor.execute(f"explain (format json) execute looked_at {f'({values})' if names else ''}".encode())
        row = cursor.fetchone()
        cursor.execute("deallocate looked_at")
    assert row is not None
    plan: dict[str, Any] = (json.loads(row[0]) if isinstance(row[0], str) else row[0])[0]["Plan"]
    return plan


def _example_of(name: str) -> str:
    if name.endswith("hash"):
        return "0" * DIGEST_HEX
    if name in ROWS:
        return "[[1]]"
    return str(time.time()) if name in TIMES else "1"


def full_scans(node: dict[str, Any], *, is_bounded: bool) -> Iterator[str]:
    """Yield the nodes that read a growing table or index through; a limit bounds those by an index."""
    is_bounded = is_bounded or node["Node Type"] == "Limit"
    table, kind = node.get("Relation Name"), node["Node Type"]
    if table in GROWING and kind != "ModifyTable":
        is_by_index = "Index Cond" in node or (is_bounded and "Index" in kind)
        if not is_by_index and kind != "Bitmap Heap Scan":
            yield f"{kind} of {table} by {node.get('Index Name')}"
    for child in node.get("Plans", []):
        yield from full_scans(child, is_bounded=is_bounded)
