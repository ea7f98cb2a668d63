"""A database goes away and comes back, at the worst moments too: nothing is lost, nothing done twice."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

import psycopg
import pytest

from tests.contract.cut_line import CutLine
from tests.contract.ledger_cases import (
    SESSION,
    address,
    answered,
    asked,
    claim_one,
    ensured,
    in_session,
    opened,
    reply_to,
    snapshot,
    sql,
)
from tests.servers.postgres import Postgres
from worker.adapters.ledger import SqlLedger
from worker.adapters.ledger.database import TCP_USER_TIMEOUT_S, CommitUnknown, Database
from worker.core.errors import LedgerUnavailable

T = TypeVar("T")

#: s. Far longer than PostgreSQL needs to come back on a loaded machine.
BACK_WITHIN_S = 60.0


async def once_back(call: Callable[[], Awaitable[T]]) -> T:
    """Call again and again until the ledger is back."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while True:
        try:
            return await call()
        except LedgerUnavailable:
            assert time.monotonic() < deadline, "the ledger did not come back"
            await asyncio.sleep(0.05)


async def test_a_server_that_is_killed_makes_the_ledger_unavailable_and_is_found_again(
    postgres: Postgres, postgres_ledger_url: str
) -> None:
    states: list[bool] = []
    async with opened(postgres_ledger_url, on_state=lambda is_up, _: states.append(is_up)) as ledger:
        await ledger.accept([asked("before")])
        await asyncio.to_thread(postgres.kill)
        for _ in range(3):
            with pytest.raises(LedgerUnavailable):
                await ledger.accept([asked("meanwhile")])
        with pytest.raises(LedgerUnavailable):
            await ledger.claim(1)
        assert states == [False]
        await asyncio.to_thread(postgres.start)
        accepted = await once_back(lambda: ledger.accept([asked("before"), asked("after")]))
        assert [acceptance.result for acceptance in accepted] == ["repeat_unfinished", "new"]
        await once_back(lambda: ledger.claim(1))
        assert states == [False, True]


async def test_a_ledger_may_be_started_before_its_server(
    postgres: Postgres, postgres_ledger_url: str
) -> None:
    await asyncio.to_thread(postgres.stop)
    async with opened(postgres_ledger_url) as ledger:
        with pytest.raises(LedgerUnavailable):
            await ledger.accept([asked()])
        await asyncio.to_thread(postgres.start)
        assert (await once_back(lambda: ledger.accept([asked()])))[0].result == "new"


async def test_a_connection_that_an_operator_ends_is_made_again(postgres_ledger_url: str) -> None:
    async with opened(postgres_ledger_url) as ledger:
        await ledger.accept([asked("a")])
        sql(
            postgres_ledger_url,
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'askrelay'",
        )
        assert (await once_back(lambda: ledger.accept([asked("b")])))[0].result == "new"


async def test_a_lease_outlives_a_restart_of_the_server(postgres: Postgres, postgres_ledger_url: str) -> None:
    async with opened(postgres_ledger_url) as ledger:
        claim = await in_session(ledger, asked())
        await asyncio.to_thread(postgres.restart)
        intent = await once_back(
            lambda: ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        )
        assert intent.session_id == SESSION


@pytest.fixture
def line(postgres_ledger_url: str) -> Iterator[CutLine]:
    with CutLine(postgres_ledger_url) as line:
        yield line


@pytest.fixture
async def ledger(line: CutLine) -> AsyncIterator[SqlLedger]:
    async with opened(line.url) as ledger:
        yield ledger


async def test_a_commit_whose_answer_is_lost_gives_the_true_result(
    line: CutLine, ledger: SqlLedger, postgres_ledger_url: str
) -> None:
    line.cut("answer")
    accepted = await ledger.accept([asked("a"), asked("b", "EXT_2")])
    assert line.cuts == 1
    assert [acceptance.result for acceptance in accepted] == ["new", "new"]
    assert len(snapshot(postgres_ledger_url)["questions"]) == 2


async def test_a_claim_whose_answer_is_lost_is_held(
    line: CutLine, ledger: SqlLedger, postgres_ledger_url: str
) -> None:
    await ledger.accept([asked()])
    line.cut("answer")
    claim = await claim_one(ledger)
    assert (line.cuts, claim.lease.token) == (1, 1)
    await ensured(ledger, claim)
    assert sql(postgres_ledger_url, "select lease_token from conversations") == [{"lease_token": 1}]


async def test_an_intent_whose_answer_is_lost_is_begun_once(
    line: CutLine, ledger: SqlLedger, postgres_ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    line.cut("answer")
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    (row,) = snapshot(postgres_ledger_url)["questions"]
    assert line.cuts == 1
    assert (row["posts"], row["state"], row["intent_at"]) == (1, "posting", intent.at)


async def test_an_end_whose_answer_is_lost_is_recorded_once_and_its_reply_handed_out(
    line: CutLine, ledger: SqlLedger, postgres_ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    line.cut("answer")
    end = await ledger.finish(claim.lease, claim.question.number, answered(1), reply_to(claim))
    assert line.cuts == 1
    assert end.reply is not None
    rows = snapshot(postgres_ledger_url)
    assert [row["number"] for row in rows["replies"]] == [end.reply.number]
    assert (rows["questions"][0]["state"], rows["questions"][0]["attempts"]) == ("answered", 1)


async def test_every_caller_of_a_shared_commit_whose_answer_is_lost_gets_its_own_result(
    line: CutLine, ledger: SqlLedger, postgres_ledger_url: str
) -> None:
    line.cut("answer")
    results = await asyncio.gather(*(ledger.accept([asked(f"evt-{i}", f"c-{i}")]) for i in range(20)))
    assert line.cuts == 1
    assert [result[0].result for result in results] == ["new"] * 20
    assert len(snapshot(postgres_ledger_url)["questions"]) == 20


async def test_a_commit_that_never_arrived_is_unavailable_and_nothing_is_done(
    line: CutLine, ledger: SqlLedger, postgres_ledger_url: str
) -> None:
    await ledger.accept([asked("before")])
    before = snapshot(postgres_ledger_url)
    line.cut("commit")
    with pytest.raises(LedgerUnavailable):
        await ledger.accept([asked("a")])
    assert line.cuts == 1
    assert snapshot(postgres_ledger_url) == before
    assert (await once_back(lambda: ledger.accept([asked("a")])))[0].result == "new"


async def test_an_end_that_never_arrived_can_be_done_again(line: CutLine, ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    line.cut("commit")
    number = claim.question.number
    with pytest.raises(LedgerUnavailable):
        await ledger.finish(claim.lease, number, answered(1), reply_to(claim))
    assert await once_back(lambda: ledger.finish(claim.lease, number, answered(1), reply_to(claim)))


async def test_a_server_that_dies_with_a_commit_on_the_way_is_asked_when_it_is_back(
    line: CutLine, ledger: SqlLedger, postgres: Postgres, postgres_ledger_url: str
) -> None:
    line.cut("answer")
    accepting = asyncio.ensure_future(ledger.accept([asked()]))
    deadline = time.monotonic() + BACK_WITHIN_S
    while not line.cuts:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
    await asyncio.to_thread(postgres.restart)
    try:
        result = (await accepting)[0].result
    except LedgerUnavailable:
        result = "nothing"
    rows = snapshot(postgres_ledger_url)["questions"]
    assert (result, len(rows)) in {("new", 1), ("nothing", 0)}


@pytest.mark.parametrize(
    "said",
    [
        psycopg.errors.lookup("58030")("could not write to the log"),
        psycopg.InternalError("received 2 results from command 'COMMIT'"),
        psycopg.DatabaseError("lost synchronization with server"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_ends_during_a_commit_leaves_it_unknown_whatever_was_said(
    postgres_ledger_url: str, said: psycopg.Error
) -> None:
    database = Database(address(postgres_ledger_url), marks_commits=True)

    def end(raw: psycopg.Connection) -> None:
        raw.close()
        raise said

    try:
        with pytest.raises(CommitUnknown), database.transaction() as transaction:  # noqa: PT012
            raw = transaction.connection.connection.driver_connection
            raw.commit = lambda: end(raw)  # type: ignore[union-attr]
        assert not database.is_connected()
    finally:
        database.close()


def test_a_connection_that_is_closed_is_an_outage_whatever_is_done_with_it(postgres_ledger_url: str) -> None:
    database = Database(address(postgres_ledger_url))
    try:
        with database.transaction() as transaction:
            raw = transaction.connection.connection.driver_connection
        raw.close()  # type: ignore[union-attr]
        with pytest.raises(LedgerUnavailable), database.transaction():
            pass
        with database.transaction() as transaction:
            assert transaction.now > 0
    finally:
        database.close()


def test_a_database_host_that_vanished_is_noticed(postgres_ledger_url: str) -> None:
    # Nothing is unacknowledged while an answer is waited for: only keep-alives notice then.
    database = Database(address(postgres_ledger_url))
    try:
        with database.transaction() as transaction:
            raw = transaction.connection.connection.driver_connection
            assert raw is not None
            with socket.socket(fileno=socket.dup(raw.fileno())) as line:
                assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == (
                    TCP_USER_TIMEOUT_S * 1000
                )
                idle_s = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                assert idle_s <= TCP_USER_TIMEOUT_S
    finally:
        database.close()
