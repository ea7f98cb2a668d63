"""Twenty ways to get it wrong: each is tried for real, and told plainly by `run` or `doctor`.

What is told stands in docs/reference/troubleshooting.md, in the same order.
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pika
import psycopg
import pytest

from tests.commands import CANARY, ROOT, Ran, Worker, askrelay, examine, said
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.ledger import latest_revision, upgrade
from worker.adapters.ledger.database import Database
from worker.cli.doctor_checks import ledger_sqlite
from worker.cli.exit_codes import ExitCode
from worker.sandbox.process import SandboxProcess

#: The worker under a limit of 64 KiB for every file that it writes, as a full disk would have it.
SMALL_FILES = (
    "-c",
    (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from worker.cli.app import run_program\n"
        "sys.exit(run_program())\n"
    ),
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: SandboxProcess, tmp_path: Path) -> dict[str, str]:
    """Return settings that are right but for the broker, which is away."""
    return {
        "RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{free_port()}/",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "CUSTOMGPT_API_URL": sandbox.url,
        "CUSTOMGPT_API_KEY": CANARY,
        "CUSTOMGPT_PROJECT_ID": "123",
        "ASKRELAY_HEALTH_PORT": "0",
        "ASKRELAY_REQUESTS_PER_MINUTE": "0",
    }


@pytest.fixture
def on_broker(settings: dict[str, str], rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> dict[str, str]:
    """Return settings that are right altogether."""
    return {**settings, **amqp_names.environment(), "RABBITMQ_URL": rabbitmq.url}


def ask(rabbitmq: RabbitMQ, names: AmqpNames, count: int = 1) -> None:
    """Publish questions of different contacts."""
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(count):
            body = {"contact_id": f"EXT_{number}", "question": "May I?"}
            properties = pika.BasicProperties(message_id=f"evt-{number}", delivery_mode=2)
            channel.basic_publish("", names.question_queue, json.dumps(body).encode(), properties)


def hurry(url: str) -> None:
    """Let the next probe begin now instead of within a minute."""
    database = Database(url)
    with database.transaction() as transaction:
        transaction.connection.exec_driver_sql("update gates set closed_until = 0")
    database.close()


def refused(ran: Ran, code: ExitCode, *says: str) -> None:
    """Check that a command ended with a code and a plain message."""
    assert ran.code == code, ran.text
    assert "Traceback" not in ran.text
    assert CANARY not in ran.text
    assert ran.err.startswith("askrelay: ")
    for text in says:
        assert text in ran.err


# 1 and 2: key and project.


def test_wrong_key_halts_until_its_file_is_mended(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, on_broker: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("wrong")
    del on_broker["CUSTOMGPT_API_KEY"]
    on_broker["CUSTOMGPT_API_KEY_FILE"] = str(file)
    code, findings = examine(on_broker)
    assert code == ExitCode.CHECK_FAILED
    assert "refuses the key: make one at" in said(findings, "api", "wrong")
    with Worker(on_broker, tmp_path) as worker:
        worker.wait_for("bus.connected", link="consume")
        ask(rabbitmq, amqp_names)
        worker.wait_for("agent.unavailable", error_code="credentials_rejected")
        status = json.loads(askrelay(on_broker, "status", "--json").out)
        assert (status["gates"][0]["reason"], status["waiting"]) == ("credentials_rejected", 1)
        file.write_text(CANARY)
        hurry(on_broker["DATABASE_URL"])
        worker.wait_for("gate.opened", reason="credentials_rejected")
        worker.wait_for("turn.finished", verdict="answered")
        assert worker.stop() == ExitCode.OK


def test_wrong_project_halts_and_fails_nothing(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, on_broker: dict[str, str], tmp_path: Path
) -> None:
    wrong = {**on_broker, "CUSTOMGPT_PROJECT_ID": "999"}
    code, findings = examine(wrong)
    assert code == ExitCode.CHECK_FAILED
    assert "knows no project 999: CUSTOMGPT_PROJECT_ID is" in said(findings, "api", "wrong")
    with Worker(wrong, tmp_path) as worker:
        worker.wait_for("bus.connected", link="consume")
        ask(rabbitmq, amqp_names)
        worker.wait_for("agent.unavailable", error_code="project_not_found")
        status = json.loads(askrelay(wrong, "status", "--json").out)
        assert (status["waiting"], status["failed"]) == (1, {})
        assert worker.stop() == ExitCode.OK
    with Worker(wrong, tmp_path) as worker:
        # What the first one found out stands in the ledger.
        worker.wait_for("agent.unavailable", error_code="project_not_found")
        assert worker.stop() == ExitCode.OK


# 3 to 8: the broker.


def test_broker_down_is_waited_for(
    settings: dict[str, str], rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    known = {**settings, **amqp_names.environment(), "RABBITMQ_URL": rabbitmq.url}
    rabbitmq.stop()
    code, findings = examine(known)
    assert code == ExitCode.CHECK_FAILED
    assert "the connection was refused: look at RABBITMQ_URL" in said(findings, "broker", "wrong")
    with Worker(known, tmp_path) as worker:
        worker.wait_for("bus.disconnected", error_code="broker_unreachable")
        rabbitmq.start()
        worker.wait_for("bus.connected", link="consume")
        worker.wait_for("bus.connected", link="publish")
        assert worker.stop() == ExitCode.OK


@pytest.mark.parametrize(
    ("end_of_url", "error_code", "says"),
    [
        (
            "guest:canary-secret@{}/%2F",
            "broker_credentials_rejected",
            "refused the user name or the password",
        ),
        ("guest:guest@{}/none", "broker_vhost_refused", "the virtual host does not exist"),
    ],
    ids=["password", "vhost"],
)
def test_broker_that_refuses_is_told_and_waited_for(
    *,
    on_broker: dict[str, str],
    rabbitmq: RabbitMQ,
    tmp_path: Path,
    end_of_url: str,
    error_code: str,
    says: str,
) -> None:
    on_broker["RABBITMQ_URL"] = "amqp://" + end_of_url.format(f"127.0.0.1:{rabbitmq.port}")
    code, findings = examine(on_broker)
    assert code == ExitCode.CHECK_FAILED
    assert says in said(findings, "broker", "wrong")
    assert "RABBITMQ_URL" in said(findings, "broker", "wrong")
    with Worker(on_broker, tmp_path) as worker:
        line = worker.wait_for("bus.disconnected", error_code=error_code)
        assert says in line["detail"]
        assert worker.stop() == ExitCode.OK


def test_exchange_of_another_type_is_told_by_doctor(
    on_broker: dict[str, str], rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    with closing(rabbitmq.connect()) as connection:
        connection.channel().exchange_declare(amqp_names.events_exchange, "headers", durable=True)
    code, findings = examine(on_broker)
    assert code == ExitCode.CHECK_FAILED
    assert "is of the type headers, not topic: delete it, or name another" in said(
        findings, "broker", "wrong"
    )


def test_queue_with_other_arguments_is_told_and_used(
    on_broker: dict[str, str], rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    with closing(rabbitmq.connect()) as connection:
        connection.channel().queue_declare(amqp_names.question_queue, durable=True)
    code, findings = examine(on_broker)
    assert code == ExitCode.CHECK_FAILED
    assert "questions may be answered out of order: delete it" in said(findings, "broker", "wrong")
    with Worker(on_broker, tmp_path) as worker:
        line = worker.wait_for("bus.topology_differs")
        assert "delete the queue when it is empty" in line["detail"]
        worker.wait_for("bus.connected", link="consume")
        assert worker.stop() == ExitCode.OK


def test_no_permission_to_declare_is_told_and_waited_for(
    on_broker: dict[str, str], rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    name = amqp_names.prefix
    rabbitmq.rabbitmqctl("add_user", name, CANARY)
    rabbitmq.rabbitmqctl("set_permissions", name, "^$", ".*", ".*")
    known = {**on_broker, "RABBITMQ_URL": f"amqp://{name}:{CANARY}@127.0.0.1:{rabbitmq.port}/%2F"}
    code, findings = examine(known)
    assert code == ExitCode.CHECK_FAILED
    assert "this user may not declare it: declare it, or allow" in said(findings, "broker", "wrong")
    with Worker(known, tmp_path) as worker:
        line = worker.wait_for("bus.disconnected", error_code="broker_topology", link="consume")
        assert "set ASKRELAY_DECLARE=false, or allow this user to configure it" in line["detail"]
        rabbitmq.rabbitmqctl("set_permissions", name, ".*", ".*", ".*")
        worker.wait_for("bus.connected", link="consume")
        assert worker.stop() == ExitCode.OK
    rabbitmq.rabbitmqctl("delete_user", name)


# 9 to 12: the ledger.


def test_database_down_is_waited_for(
    on_broker: dict[str, str], postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    upgrade(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    known = {**on_broker, "DATABASE_URL": postgres_url}
    postgres.stop()
    code, findings = examine(known)
    assert code == ExitCode.CHECK_FAILED
    assert re.search("refused.*: look at DATABASE_URL", said(findings, "ledger", "wrong"))
    with Worker(known, tmp_path) as worker:
        worker.wait_for("ledger.lost", error_code="ledger_unavailable")
        postgres.start()
        worker.wait_for("ledger.recovered")
        worker.wait_for("bus.connected", link="consume")
        assert worker.stop() == ExitCode.OK


def test_old_revision_names_the_command(settings: dict[str, str], postgres_url: str) -> None:
    settings["DATABASE_URL"] = postgres_url
    ran = askrelay(settings, "run")
    assert ran.code in {ExitCode.SETTINGS, ExitCode.LEDGER}
    assert "Run: askrelay db upgrade" in ran.err
    assert "Traceback" not in ran.text
    code, findings = examine(settings)
    assert code == ExitCode.CHECK_FAILED
    assert "its tables are not there yet: run: askrelay db upgrade" in said(findings, "ledger", "wrong")


def test_revision_that_is_too_new_names_the_remedy(settings: dict[str, str], postgres_url: str) -> None:
    upgrade(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    settings["DATABASE_URL"] = postgres_url
    ran = askrelay(settings, "run")
    assert ran.code in {ExitCode.SETTINGS, ExitCode.LEDGER}
    assert "Install a newer askrelay" in ran.err
    assert "Traceback" not in ran.text
    code, findings = examine(settings)
    assert code == ExitCode.CHECK_FAILED
    assert "newer than this program knows" in said(findings, "ledger", "wrong")
    refused(askrelay(settings, "db", "upgrade"), ExitCode.LEDGER, "Install a newer askrelay")


def test_upgrade_by_a_program_that_is_one_revision_behind_does_nothing(settings: dict[str, str]) -> None:
    upgrade(settings["DATABASE_URL"])
    with closing(sqlite3.connect(settings["DATABASE_URL"].removeprefix("sqlite:///"))) as ledger, ledger:
        ledger.execute("update alembic_version set version_num = ?", (f"{int(latest_revision()) + 1:04}",))
    ran = askrelay(settings, "db", "upgrade")
    assert ran.code == ExitCode.OK
    assert "there is nothing to do" in ran.out


def test_full_disk_at_the_start_is_waited_for(settings: dict[str, str], tmp_path: Path) -> None:
    with Worker(settings, tmp_path, program=SMALL_FILES) as worker:
        worker.wait_for("ledger.lost", error_code="ledger_unavailable")
        assert worker.stop() == ExitCode.OK


def test_full_disk_is_told_by_db_upgrade(settings: dict[str, str]) -> None:
    ran = askrelay(settings, "db", "upgrade", program=SMALL_FILES)
    refused(ran, ExitCode.LEDGER, "the ledger's disk does not take what is written", "whether it is full")


def test_full_disk_is_told_by_doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full:
        f_bavail, f_frsize = 3, 1024 * 1024

    monkeypatch.setattr(ledger_sqlite.os, "statvfs", lambda _: Full)
    findings: list[str] = []
    ledger_sqlite.look_at_sqlite(
        f"sqlite:///{tmp_path / 'ledger.db'}", lambda each: findings.append(f"{each.state} {each.line}")
    )
    assert any(
        re.search(r"^wrong the disk of .* is full \(3 MB free\); make room", each) for each in findings
    )


# 13: the port.


def test_port_that_is_taken_is_told(settings: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        _, findings = examine({**settings, "ASKRELAY_HEALTH_PORT": port})
        ran = askrelay({}, "sandbox", "--port", port)
    assert f"127.0.0.1:{port} is taken" in said(findings, "port", "warning")
    assert "choose another ASKRELAY_HEALTH_PORT" in said(findings, "port", "warning")
    assert ran.code != ExitCode.OK
    assert "Choose another with --port" in ran.err
    assert "Traceback" not in ran.text


# 14, 15, 16 and 20: settings.


def unreadable(tmp_path: Path) -> dict[str, str]:
    """Name a folder where a file with the key should be: it cannot be read, not even by root."""
    return {"CUSTOMGPT_API_KEY": "", "CUSTOMGPT_API_KEY_FILE": str(tmp_path)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: {"ASKRELAY_CONCURENCY": "7"}, "did you mean ASKRELAY_CONCURRENCY?"),
        (lambda _: {"ASKRELAY_CONCURRENCY": "0"}, "it must be a whole number from 1 to 10000"),
        (lambda _: {"CUSTOMGPT_API_URL": "http://api.example.com/api/v1"}, "it must be https://"),
        (unreadable, "which cannot be read: Is a directory"),
    ],
    ids=["unknown", "range", "plain-http", "unreadable-secret"],
)
def test_wrong_setting_stops_the_start_and_is_told_by_doctor(
    settings: dict[str, str],
    tmp_path: Path,
    change: Callable[[Path], dict[str, str]],
    says: str,
) -> None:
    wrong = {**settings, **change(tmp_path)}
    refused(askrelay(wrong, "run"), ExitCode.SETTINGS, says)
    code, findings = examine(wrong)
    assert code == ExitCode.CHECK_FAILED
    assert says in said(findings, "settings", "wrong")


def test_several_wrong_settings_are_told_at_once(settings: dict[str, str]) -> None:
    wrong = {**settings, "ASKRELAY_LEASE_S": "soon", "ASKRELAY_LEESE_S": "3", "ASKRELAY_SETTLE_S": "100"}
    refused(askrelay(wrong, "run"), ExitCode.SETTINGS, "3 settings cannot be used:")
    _, findings = examine(wrong)
    assert len(findings) == 3


# 17: the clock.


class AnHourAhead(BaseHTTPRequestHandler):
    """An API whose date is far from ours."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "Thu, 20 Nov 2036 20:00:00 GMT"

    def log_message(self, *_: object) -> None:
        pass


def test_clock_that_is_off_is_told_by_doctor(settings: dict[str, str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), AnHourAhead) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api/v1"
        code, findings = examine({**settings, "CUSTOMGPT_API_URL": url})
        server.shutdown()
    assert code == ExitCode.CHECK_FAILED
    assert re.search(r"clock is [\d,]+ s behind the API's: set this host's", said(findings, "clock", "wrong"))


# 18: the sandbox.


def test_sandbox_that_was_not_started_is_told(
    on_broker: dict[str, str], rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    port = free_port()
    on_broker["CUSTOMGPT_API_URL"] = f"http://127.0.0.1:{port}/api/v1"
    code, findings = examine(on_broker)
    assert code == ExitCode.CHECK_FAILED
    assert f"start it: askrelay sandbox --port {port}" in said(findings, "api", "wrong")
    with Worker(on_broker, tmp_path) as worker:
        worker.wait_for("bus.connected", link="consume")
        ask(rabbitmq, amqp_names, count=8)
        worker.wait_for("turn.finished", verdict="retry", error_code="unreachable")
        worker.wait_for("gate.closed", reason="breaker")
        with SandboxProcess(port=port):
            worker.wait_for("gate.opened", reason="breaker")
            worker.wait_for("turn.finished", verdict="answered")
        assert worker.stop() == ExitCode.OK


# 19: the demo.


def test_csv_without_the_columns_is_told_by_the_demo(tmp_path: Path) -> None:
    file = tmp_path / "questions.csv"
    file.write_text("customer,text\n1,hello\n")
    ran = askrelay({}, "demo", "--questions", str(file))
    assert ran.code == ExitCode.USAGE
    assert "has no column contact_id" in ran.err
    assert "Traceback" not in ran.text


def test_every_way_stands_in_the_docs() -> None:
    page = (ROOT / "docs" / "reference" / "troubleshooting.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert numbers == list(range(1, 21))
