"""``askrelay doctor`` against real servers: what is well, and what it says of what is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.commands import CANARY, askrelay, examine, said
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.ledger import upgrade
from worker.cli.exit_codes import ExitCode
from worker.sandbox.process import SandboxProcess


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def settings(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, sandbox: SandboxProcess, tmp_path: Path
) -> dict[str, str]:
    return {
        **amqp_names.environment(),
        "RABBITMQ_URL": rabbitmq.url,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "CUSTOMGPT_API_URL": sandbox.url,
        "CUSTOMGPT_API_KEY": CANARY,
        "CUSTOMGPT_PROJECT_ID": "123",
        "ASKRELAY_HEALTH_PORT": "0",
    }


def queues(rabbitmq: RabbitMQ) -> str:
    """Return every exchange, queue and binding of the broker."""
    return "\n".join(
        rabbitmq.rabbitmqctl(*arguments)
        for arguments in (
            ("list_exchanges", "name", "type"),
            ("list_queues", "name", "arguments"),
            ("list_bindings",),
        )
    )


def declare_all(rabbitmq: RabbitMQ, names: AmqpNames, **arguments: Any) -> None:
    """Declare exchange and question queue; the arguments replace some of the right ones, None leaves out."""
    right = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 2**31 - 1}
    chosen = {**right, **{name.replace("_", "-"): value for name, value in arguments.items()}}
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare(names.events_exchange, "topic", durable=True)
        channel.queue_declare(
            names.question_queue,
            durable=True,
            arguments={name: value for name, value in chosen.items() if value is not None},
        )


def test_doctor_finds_everything_well_on_sqlite_and_makes_nothing(
    rabbitmq: RabbitMQ, settings: dict[str, str], tmp_path: Path
) -> None:
    before = queues(rabbitmq)
    code, findings = examine(settings)
    assert code == ExitCode.OK, findings
    assert {each["check"] for each in findings} == {"settings", "broker", "ledger", "api", "clock", "port"}
    assert said(findings, "broker", "wrong") == ""
    assert "`askrelay run` makes it" in said(findings, "broker")
    assert queues(rabbitmq) == before
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_everything_well_on_postgresql(settings: dict[str, str], postgres_url: str) -> None:
    upgrade(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    code, findings = examine({**settings, "DATABASE_URL": postgres_url})
    assert code == ExitCode.OK, findings
    assert "fsync on, synchronous_commit on" in said(findings, "ledger")
    assert "agrees with PostgreSQL's" in said(findings, "clock")
    assert "agrees with the API's" in said(findings, "clock")


def test_doctor_changes_nothing_on_a_broker_that_has_everything(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, settings: dict[str, str]
) -> None:
    declare_all(rabbitmq, amqp_names)
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.queue_bind(amqp_names.question_queue, amqp_names.events_exchange, "#")
        channel.confirm_delivery()
        channel.basic_publish("", amqp_names.question_queue, b"waits")
    before = queues(rabbitmq)
    code, findings = examine(settings)
    assert code == ExitCode.OK, findings
    assert "topic, durable" in said(findings, "broker")
    assert "1 in it, 0 consuming" in said(findings, "broker")
    assert "may publish, consume and bind" in said(findings, "broker")
    assert queues(rabbitmq) == before
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        method, _, body = next(channel.consume(amqp_names.question_queue, auto_ack=True))
        assert (body, method.redelivered) == (b"waits", False)
        assert channel.cancel() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x_single_active_consumer": None}, "questions may be answered out of order"),
        ({"x_delivery_limit": 5}, "the broker may drop events after a number of redeliveries"),
        ({"x_message_ttl": 1000}, "the broker throws waiting messages away"),
        ({"x_queue_type": None, "x_delivery_limit": None}, "it is no quorum queue"),
    ],
)
def test_doctor_says_what_a_difference_of_the_question_queue_costs(
    rabbitmq: RabbitMQ,
    amqp_names: AmqpNames,
    settings: dict[str, str],
    arguments: dict[str, Any],
    says: str,
) -> None:
    declare_all(rabbitmq, amqp_names, **arguments)
    code, findings = examine(settings)
    assert code == ExitCode.CHECK_FAILED
    assert says in said(findings, "broker", "wrong")
    assert "delete it when it is empty" in said(findings, "broker", "wrong")


def test_doctor_takes_a_queue_without_a_delivery_limit_where_that_means_none(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, settings: dict[str, str]
) -> None:
    declare_all(rabbitmq, amqp_names, x_delivery_limit=None)
    code, findings = examine(settings)
    version = said(findings, "broker").partition("RabbitMQ ")[2].partition(".")[0]
    assert code == (ExitCode.OK if int(version) < 4 else ExitCode.CHECK_FAILED)


def test_doctor_says_which_rights_a_user_lacks(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, settings: dict[str, str]
) -> None:
    declare_all(rabbitmq, amqp_names)
    name = amqp_names.prefix
    rabbitmq.rabbitmqctl("add_user", name, CANARY)
    rabbitmq.rabbitmqctl("set_permissions", name, "^$", "^$", "^$")
    url = f"amqp://{name}:{CANARY}@127.0.0.1:{rabbitmq.port}/%2F"
    code, findings = examine({**settings, "RABBITMQ_URL": url})
    rabbitmq.rabbitmqctl("delete_user", name)
    wrong = said(findings, "broker", "wrong")
    assert code == ExitCode.CHECK_FAILED
    for what in ("publish replies", "put events aside", "take questions", "bind the queue", "not declare it"):
        assert what in wrong


def test_doctor_says_that_an_alarm_keeps_the_broker_from_taking_messages(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, settings: dict[str, str]
) -> None:
    declare_all(rabbitmq, amqp_names)
    with rabbitmq.alarmed():
        code, findings = examine(settings)
    assert code == ExitCode.CHECK_FAILED
    wrong = said(findings, "broker", "wrong")
    assert wrong.startswith("it takes no messages now, an alarm for memory or disk is on (low on memory)")
    assert "\n" not in wrong, "one finding says it all"


def test_doctor_names_what_is_missing_where_operators_declare(settings: dict[str, str]) -> None:
    code, findings = examine({**settings, "ASKRELAY_DECLARE": "false"})
    assert code == ExitCode.CHECK_FAILED
    assert said(findings, "broker", "wrong").count("is missing: declare it") == 3
    assert "cannot be seen over AMQP" in said(findings, "broker", "warning")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("alter database {} set synchronous_commit = off", "synchronous_commit is off"),
        ("alter database {} set default_transaction_read_only = on", "it only reads"),
    ],
)
def test_doctor_finds_a_postgresql_that_may_lose_or_refuse(
    settings: dict[str, str], postgres_url: str, change: str, says: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(change.format(postgres_url.rpartition("/")[2]))
    code, findings = examine({**settings, "DATABASE_URL": postgres_url})
    assert code == ExitCode.CHECK_FAILED
    assert says in said(findings, "ledger", "wrong")


def test_doctor_finds_an_encoding_that_cannot_hold_every_question(
    settings: dict[str, str], postgres: Postgres, postgres_url: str
) -> None:
    url = f"{postgres_url}_latin"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {url.rpartition('/')[2]} encoding 'LATIN1' template template0")
    code, findings = examine({**settings, "DATABASE_URL": url})
    postgres.drop_database(url)
    assert code == ExitCode.CHECK_FAILED
    assert "its encoding is LATIN1" in said(findings, "ledger", "wrong")


def test_doctor_ends_when_nothing_answers(settings: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        port = silent.getsockname()[1]
        code, findings = examine(
            {
                **settings,
                "RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{port}/",
                "DATABASE_URL": f"postgresql://127.0.0.1:{port}/none",
                "CUSTOMGPT_API_URL": f"http://127.0.0.1:{port}/api/v1",
            }
        )
    assert code == ExitCode.CHECK_FAILED
    for check in ("broker", "ledger", "api"):
        assert said(findings, check, "wrong"), check


def test_doctor_prints_a_line_per_finding_in_a_pipe(settings: dict[str, str]) -> None:
    ran = askrelay(settings, "doctor")
    assert ran.code == ExitCode.OK
    heading, *lines = ran.out.splitlines()
    assert heading.split() == ["STATE", "CHECK", "FINDING"]
    assert all(line.split()[0] in {"OK", "LOOK", "WRONG"} for line in lines)
    assert ran.err == ""


def test_doctor_tells_a_wrong_address_of_the_api_from_a_wrong_project(
    settings: dict[str, str], sandbox: SandboxProcess
) -> None:
    _, findings = examine({**settings, "CUSTOMGPT_API_URL": sandbox.root})
    wrong = said(findings, "api", "wrong")
    assert "CUSTOMGPT_API_URL" in wrong
    assert "CUSTOMGPT_PROJECT_ID" not in wrong
    _, findings = examine({**settings, "CUSTOMGPT_PROJECT_ID": "999"})
    assert "CUSTOMGPT_PROJECT_ID" in said(findings, "api", "wrong")


@pytest.mark.parametrize(
    ("switches", "state", "says"),
    [
        ({"is_chat_active": "false"}, "wrong", "its chat is not active: switch it on"),
        ({"is_chat_active": "null"}, "warning", "not active yet"),
        ({"max_queries": 0}, "wrong", "nothing is answered"),
    ],
)
def test_doctor_says_when_the_agent_cannot_answer(
    settings: dict[str, str], switches: dict[str, Any], state: str, says: str
) -> None:
    with SandboxProcess(switches=switches) as sandbox:
        code, findings = examine({**settings, "CUSTOMGPT_API_URL": sandbox.url})
    assert says in said(findings, "api", state)
    assert code == (ExitCode.OK if state == "warning" else ExitCode.CHECK_FAILED)
