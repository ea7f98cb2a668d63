"""``askrelay status`` on ledgers that the worker's own code has filled."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console

from tests.commands import askrelay
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.ledger import report, upgrade
from worker.adapters.ledger.database import Database
from worker.adapters.ledger.ledger import LedgerConfig, SqlLedger, open_ledger
from worker.adapters.ledger.report import Reports
from worker.cli import status
from worker.cli.exit_codes import ExitCode
from worker.core.errors import OutcomeUnknown, ReplyUnroutable
from worker.core.model import (
    AcceptedQuestion,
    Answered,
    Claim,
    Failed,
    GateNews,
    RemoteMessage,
    Reply,
    Snooze,
)
from worker.core.pace import Pace

#: Nothing listens there.
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"


@pytest.fixture
def ledger_url(database_url: str) -> str:
    url = database_url.replace("postgresql:", "postgresql+psycopg:")
    upgrade(url)
    return url


def make_ledger(url: str) -> SqlLedger:
    return open_ledger(
        LedgerConfig(
            url=url,
            worker_id="host-1-abc",
            version="0.1.0",
            gate_key="0123456789abcdef",
            pace=Pace(0, 0),
            lease_s=30,
            request_timeout_s=120,
            keep_days=30,
            dedup_days=365,
        )
    )


def asked(number: int, contact: str | None = None) -> AcceptedQuestion:
    return AcceptedQuestion(
        source="crm/test",
        event_id=f"evt-{number}",
        reply_id=f"reply-{number}",
        route="default",
        contact_id=contact or f"EXT_{number}",
        thread_id=None,
        text=f"canary question {number}",
        lang=None,
        metadata={"ticket": "canary metadata"},
        asked_at="2026-11-20T20:00:00Z",
        expires_at=None,
        traceparent=None,
        tracestate=None,
    )


def reply_to(claim: Claim) -> Reply:
    body = json.dumps({"data": {"answer": "canary answer"}}).encode()
    return Reply(claim.question.reply_id, "answered", body, claim.question.event_id)


async def begin(ledger: SqlLedger, claim: Claim) -> str:
    """Bring a claimed question to the state of being posted; returns the session."""
    session_id = f"session-{claim.conversation.number}"
    await ledger.save_session(
        claim.lease, project_id=123, session_id=session_id, conversation_id=7, highest_message_id=4
    )
    await ledger.begin_post(claim.lease, claim.question.number, session_id=session_id)
    return session_id


async def fill(ledger: SqlLedger) -> None:
    """Bring six questions to six different ends, and leave two waiting behind one another."""
    await ledger.accept([asked(number) for number in range(6)])
    claims = {claim.question.event_id: claim for claim in (await ledger.claim(6)).turns}
    for number, claim in enumerate(claims[f"evt-{number}"] for number in range(6)):
        match number:
            case 0 | 1:  # answered; the reply of the second goes nowhere
                session_id = await begin(ledger, claim)
                message = RemoteMessage(5, "", "canary answer", None)
                answered = Answered(message, session_id, "posted", None)
                end = await ledger.finish(claim.lease, claim.question.number, answered, reply_to(claim))
                assert end.reply is not None
                if number:
                    await ledger.mark_unpublished([end.reply.number], ReplyUnroutable.code)
                else:
                    await ledger.mark_published([end.reply.number])
            case 2 | 3:  # failed, one of them held
                code = OutcomeUnknown.code if number == 2 else "question_rejected"
                await ledger.finish(claim.lease, claim.question.number, Failed(code), reply_to(claim))
            case 4:  # its outcome is unknown
                await begin(ledger, claim)
                unknown = Snooze(OutcomeUnknown.code, 5.0, keeps_intent=True, is_look=True)
                await ledger.finish(claim.lease, claim.question.number, unknown, None)
            case _:  # still in work
                await begin(ledger, claim)
    await ledger.accept([asked(6, "EXT_5"), asked(7, "EXT_5")])
    await ledger.sweep()
    await ledger.report(GateNews("pause", "credentials_rejected", 60.0))


async def filled(url: str) -> None:
    ledger = make_ledger(url)
    ledger.start()
    try:
        await fill(ledger)
    finally:
        await ledger.stop()


def settings(url: str, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "RABBITMQ_URL": NO_BROKER, **more}


async def test_status_counts_what_is_in_every_state(ledger_url: str) -> None:
    await filled(ledger_url)
    ran = askrelay(settings(ledger_url), "status", "--json")
    assert ran.code == ExitCode.OK, ran.err
    told = json.loads(ran.out)
    assert {name: told[name] for name in ("waiting", "in_flight", "unknown", "held", "failed")} == {
        "waiting": 2,
        "in_flight": 1,
        "unknown": 1,
        "held": 1,
        "failed": {"question_rejected": 1},
    }
    assert told["oldest_s"] >= 0
    assert told["finished_looked_at"] == 4
    assert told["outbox"]["waiting"] == 2
    assert told["outbox"]["unroutable"] == 1
    assert told["rejected"] is None
    assert told["gates"][0]["reason"] == "credentials_rejected"
    assert told["gates"][0]["is_open"] is False
    assert [worker["worker_id"] for worker in told["workers"]] == ["host-1-abc"]
    assert told["at_least"] == []
    assert "canary" not in ran.text


async def test_status_reads_like_a_page_and_fits_80_columns(
    ledger_url: str,
) -> None:
    await filled(ledger_url)
    ran = askrelay(settings(ledger_url), "status")
    assert ran.code == ExitCode.OK, ran.err
    assert re.search(r"^waiting +2 ", ran.out, re.MULTILINE)
    assert re.search(r"^gate +closed +the API refuses the key; tried again in", ran.out, re.MULTILINE)
    assert re.search(r"^rejected +n/a ", ran.out, re.MULTILINE)
    assert max(map(len, ran.out.splitlines())) <= 80


async def test_status_counts_the_rejected_queue(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    upgrade(url)
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.queue_declare(amqp_names.rejected_queue, durable=True)
        channel.confirm_delivery()
        for _ in range(3):
            channel.basic_publish("", amqp_names.rejected_queue, b"unreadable")
    known = settings(url, **amqp_names.environment(), RABBITMQ_URL=rabbitmq.url)
    assert json.loads(askrelay(known, "status", "--json").out)["rejected"] == 3


def test_status_of_an_empty_ledger_is_all_zeros(ledger_url: str) -> None:
    told = json.loads(askrelay(settings(ledger_url), "status", "--json").out)
    assert (told["waiting"], told["oldest_s"], told["gates"], told["workers"]) == (0, None, [], [])


def test_status_without_a_ledger_says_so_and_makes_none(tmp_path: Path) -> None:
    ran = askrelay(settings(f"sqlite:///{tmp_path / 'none.db'}"), "status")
    assert ran.code == ExitCode.LEDGER
    assert "there is no ledger at" in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


async def test_counts_stop_at_their_bound_and_say_so(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(ledger_url)
    monkeypatch.setattr(report, "OPEN_ROWS", 2)
    monkeypatch.setattr(report, "FINISHED_ROWS", 2)
    with Reports(ledger_url) as reports:
        seen = reports.ledger()
    assert seen.finished == 2
    assert seen.at_least == {"waiting", "oldest", "held", "failed", "outbox"}
    rows = {row[0]: row[1] for row in status.rows_of(status.Status(seen, None))}
    assert rows["oldest"].endswith("+")
    assert int(rows["outbox"].rstrip("+")) + int(rows["unroutable"].rstrip("+")) == 2
    assert rows["in flight"] == "1"


async def test_status_counts_duplicate_and_late_posts(ledger_url: str) -> None:
    await filled(ledger_url)
    database = Database(ledger_url)
    with database.transaction() as transaction:
        transaction.run(
            sa.text(
                "update questions set duplicate_message_id = 9, late_post_at = 1 where event_id = 'evt-0'"
            )
        )
    database.close()
    told = json.loads(askrelay(settings(ledger_url), "status", "--json").out)
    assert (told["duplicate_posts"], told["late_posts"]) == (1, 1)


def report_statements() -> dict[str, str]:
    found = {name: value for name, value in vars(report).items() if isinstance(value, sa.TextClause)}
    assert len(found) > 8
    return {name: str(value) for name, value in found.items()}


#: Small by what they hold: one row per API key, one per process of the last day.
SMALL_TABLES = {"_GATES", "_WORKERS"}


@pytest.mark.parametrize("name", sorted(set(report_statements()) - SMALL_TABLES))
def test_statement_goes_by_an_index_on_sqlite(name: str, tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path / 'ledger.db'}")
    statement = report_statements()[name]
    parameters = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        plan = [row[3] for row in connection.execute(f"explain query plan {statement}", parameters)]
    tables = [step for step in plan if re.match(r"(SCAN|SEARCH) (?!counted_rows|latest)", step)]
    assert tables
    assert all(" USING " in step for step in tables), plan


async def test_watch_redraws_on_a_terminal(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(ledger_url)
    screen = io.StringIO()
    looks: list[int] = []

    with Reports(ledger_url) as reports:

        def look() -> status.Status:
            looks.append(1)
            if len(looks) > 3:
                raise KeyboardInterrupt
            return status.Status(reports.ledger(), None)

        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setattr("rich.get_console", lambda: Console(file=screen, force_terminal=True, width=80))
        monkeypatch.setattr(
            "rich.live.get_console", lambda: Console(file=screen, force_terminal=True, width=80)
        )
        monkeypatch.setattr(status, "LOOK_EVERY_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            status._watch(look, as_json=False)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert drawn.count("waiting") >= 3
    assert max(map(len, drawn.splitlines())) <= 80


def test_watch_in_a_pipe_prints_a_json_line_per_look(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "LOOK_EVERY_S", 0.0)
    with Reports(ledger_url) as reports:
        looks = iter([1, 2])

        def look() -> status.Status:
            if next(looks, None) is None:
                raise KeyboardInterrupt
            return status.Status(reports.ledger(), 0)

        with pytest.raises(KeyboardInterrupt):
            status._watch(look, as_json=True)
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["rejected"] for line in lines] == [0, 0]
