"""A ledger that has been at work for long, made by SQL: rows as a worker leaves them, in seconds not days."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from worker.core.model import digest_of

#: What is filled, and the indexes made after the rows, in this order.
TABLES = ("conversations", "questions", "replies", "erased", "contact_days")
#: One failed question in so many; the others are answered.
FAILED_EACH = 50
#: Days over which what is finished is spread: nothing of it is old enough to be erased.
DAYS = 29
DAY_S = 86_400
#: A prime beside which neighbours in time are no neighbours among the contacts.
STRIDE = 7_368_787
#: Characters of a reply's body, about those of an answer of 300 characters.
BODY = 900


@dataclass(frozen=True)
class Contents:
    """How much a ledger holds."""

    finished: int = 0
    #: Accepted, and nobody has claimed them.
    waiting: int = 0
    #: Hashes of questions whose contents were erased.
    erased: int = 0
    #: Contacts with a conversation; what is finished and what waits is theirs in turn.
    contacts: int = 0


def contact_of(number: int) -> str:
    """Return the id of a filled conversation's contact."""
    return f"EXT_{number}"


def fill(url: str, contents: Contents) -> None:
    """Fill the empty tables of a ledger and bring the planner's statistics up to date."""
    if url.startswith("sqlite"):
        _fill_sqlite(url.removeprefix("sqlite:///"), contents)
    else:
        _fill_postgresql(url, contents)


#: Of what PostgreSQL keeps, the pages of which any may be asked for next, whoever asks what.
AT_RANDOM = (
    "erased_pkey",
    "questions_event_hash_key",
    "conversations",
    "conversations_pkey",
    "conversations_key_key",
)


def read_into_memory(url: str) -> None:
    """Have PostgreSQL read what questions ask for at random, as far as its memory goes.

    A server that has answered the filled questions has it there. Some thousand questions would not bring it.
    """
    if not url.startswith("sqlite"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create extension if not exists pg_prewarm")
            for name in AT_RANDOM:
                connection.execute("select pg_prewarm(cast(%s as regclass))", (name,))


#: {now}, {key}, {event}, {data}, {session} and {series} are the words of a dialect; the rest is the same.
_CONVERSATIONS = """
insert into conversations (number, key, route, contact_id, external_id, project_id, session_id,
    conversation_id, highest_message_id, lease_token, due_at, created_at)
select n, {key}, 'default', 'EXT_' || n, 'EXT_' || n, 123, {session}, n,
    :finished, 1 + :finished / :contacts,
    case when n <= :waiting then {now} - 60 + n * 30.0 / :contacts end, {now} - :days * 86400
from {series}
"""
_FINISHED = """
insert into questions (number, event_hash, data_hash, source, event_id, reply_id, conversation, state,
    content, received_at, is_redelivered, attempts, posts, intent_at, intent_session_id,
    baseline_message_id, session_id, message_id, outcome, code, finished_at)
select n, {event}, {data}, 'crm/test', 'old-' || n, {reply}, c,
    case when n % :each = 0 then 'failed' else 'answered' end, {content}, at, false, 1, 1, at + 0.1,
    {session_c}, n - 1, case when n % :each <> 0 then {session_c} end, case when n % :each <> 0 then n end,
    case when n % :each <> 0 then 'posted' end, case when n % :each = 0 then 'question_rejected' end, at + 3
from (select n, 1 + (n * {stride}) % :contacts as c,
    {now} - 86400.0 * :days * (:finished - n + 1) / :finished as at from {series}) as numbers
"""
_WAITING = """
insert into questions (number, event_hash, data_hash, source, event_id, reply_id, conversation, content,
    received_at, is_redelivered)
select :finished + n, {event_w}, {data}, 'crm/test', 'new-' || n, {reply}, 1 + (n - 1) % :contacts, {content},
    {now} - 60, false
from {series}
"""
_REPLIES = """
insert into replies (number, question, conversation, event_id, kind, body, headers, state, recorded_at,
    published_at)
select number, number, conversation, reply_id, state, {body}, {headers}, 'published', finished_at, finished_at
from questions where finished_at is not null order by number
"""
_ERASED = "insert into erased (event_hash, finished_at) select {event_e}, {now} - 86400 * 40 from {series}"

_DAYS = """
insert into contact_days (contact, day, asked)
select {data}, cast({now} / 86400 as integer) - n % 2, 3 from {series}
"""

_CONTENT = """'{"question":"What are your support hours in week ' || n || ', and whom may I call on Sunday?"\
,"lang":null,"metadata":{"ticket":"T-' || n || '"},"time":null,"traceparent":null,"tracestate":null}'"""
_HEADERS = """'{"question_id": "old-' || number || '", "traceparent": null, "tracestate": null}'"""


def _statements(contents: Contents) -> Iterator[tuple[str, int]]:
    """Yield statements with the length of their series."""
    yield _CONVERSATIONS, contents.contacts
    yield _FINISHED, contents.finished
    yield _WAITING, contents.waiting
    yield _REPLIES, contents.finished
    yield _ERASED, contents.erased
    yield _DAYS, contents.contacts


def _put_together(statement: str, words: dict[str, str], rows: int, contents: Contents) -> str:
    """Return a statement with the dialect's words and the numbers in it: nothing of it comes from outside."""
    for name, word in words.items():
        statement = statement.replace("{" + name + "}", word)
    numbers = {
        "rows": rows,
        "finished": contents.finished,
        "waiting": min(contents.waiting, contents.contacts),
        "contacts": max(contents.contacts, 1),
        "days": DAYS,
        "each": FAILED_EACH,
    }
    for name, number in numbers.items():
        statement = statement.replace(f":{name}", str(number))
    return statement


_POSTGRESQL = {
    "series": "generate_series(1, cast(:rows as bigint)) as n",
    "now": "extract(epoch from now())::float8",
    # What digest_of makes of the route, the contact and no thread.
    "key": "left(encode(sha256(convert_to("
    "'7:default' || (4 + length(n::text)) || ':EXT_' || n || '-', 'UTF8')), 'hex'), 32)::uuid",
    "session_c": "md5('s' || c)::uuid::text",
    "session": "md5('s' || n)::uuid::text",
    "event_w": "md5('w' || n)::uuid",
    "event_e": "md5('e' || n)::uuid",
    "event": "md5('a' || n)::uuid",
    "data": "md5('c' || n)::uuid",
    "reply": "md5('r' || n)::uuid::text",
    "stride": str(STRIDE),
    "content": _CONTENT,
    "headers": _HEADERS,
    "body": f"rpad('{{\"data\":{{\"answer\":\"' || number, {BODY}, ' Answer ' || event_id) || '\"}}}}'",
}

_SQLITE = {
    "series": "(with recursive series(n) as (select 1 where :rows > 0 union all select n + 1 from series"
    " where n < :rows) select n from series) as numbers_",
    "now": "cast(strftime('%s', 'now') as real)",
    "key": "key_of(n)",
    "session_c": "session_of(c)",
    "session": "session_of(n)",
    "event_w": "lower(hex(randomblob(16)))",
    "event_e": "lower(hex(randomblob(16)))",
    "event": "lower(hex(randomblob(16)))",
    "data": "lower(hex(randomblob(16)))",
    "reply": "session_of(n)",
    "stride": str(STRIDE),
    "content": _CONTENT,
    "headers": _HEADERS,
    "body": f'printf(\'{{"data":{{"answer":"%.*c"}}}}\', {BODY}, \'A\')',
}


def _fill_postgresql(url: str, contents: Contents) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        with _indexes_put_aside(connection):
            for statement, rows in _statements(contents):
                connection.execute(_put_together(statement, _POSTGRESQL, rows, contents).encode())
        for table in ("conversations", "questions", "replies"):
            connection.execute(
                sql.SQL(
                    "select setval(pg_get_serial_sequence({}, 'number'),"
                    " (select coalesce(max(number), 1) from {}))"
                ).format(sql.Literal(table), sql.Identifier(table))
            )
        connection.execute("vacuum analyze")


@contextmanager
def _indexes_put_aside(connection: psycopg.Connection) -> Iterator[None]:
    """Fill without indexes and make them afterwards: one sort instead of millions of descents."""
    constraints = connection.execute(
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
        " where contype in ('p', 'u') and conrelid::regclass::text = any(%s)",
        (list(TABLES),),
    ).fetchall()
    indexes = connection.execute(
        "select indexname, indexdef from pg_indexes where tablename = any(%s)"
        " and not exists (select 1 from pg_constraint where conname = indexname)",
        (list(TABLES),),
    ).fetchall()
    for table, name, _ in constraints:
        connection.execute(f"alter table {table} drop constraint {name}".encode())
    for name, _ in indexes:
        connection.execute(f"drop index {name}".encode())
    yield
    connection.execute("set maintenance_work_mem = '512MB'")
    for table, name, definition in constraints:
        connection.execute(f"alter table {table} add constraint {name} {definition}".encode())
    for _, definition in indexes:
        connection.execute(definition.encode())


def _fill_sqlite(file: str, contents: Contents) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.create_function(
            "key_of", 1, lambda n: digest_of("default", contact_of(n), None), deterministic=True
        )
        connection.create_function(
            "session_of", 1, lambda n: f"{n * STRIDE % 2**32:08x}-0000-4000-8000-{n:012x}", deterministic=True
        )
        connection.execute("pragma synchronous = off")
        indexes = connection.execute(
            "select name, sql from sqlite_master where type = 'index' and sql is not null"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"drop index {name}")
        connection.execute("begin")
        for statement, rows in _statements(contents):
            connection.execute(_put_together(statement, _SQLITE, rows, contents))
        connection.execute("commit")
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("analyze")
        connection.execute("pragma wal_checkpoint(truncate)")
    finally:
        connection.close()
