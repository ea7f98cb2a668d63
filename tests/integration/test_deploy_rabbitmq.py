"""deploy/rabbitmq on a real node: imported by an operator, used by a worker that may declare nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError

from tests.commands import Worker, askrelay, examine, said
from tests.contract.deployment import DEPLOY
from tests.servers.rabbitmq import RabbitMQ
from worker.adapters.doorbell import broker as doorbell
from worker.adapters.rabbitmq.topology import QUESTION_QUEUE_ARGUMENTS, REJECTED_QUEUE_ARGUMENTS
from worker.cli.exit_codes import ExitCode
from worker.sandbox.process import SandboxProcess

TOPOLOGY = json.loads((DEPLOY / "rabbitmq/definitions.json").read_text(encoding="utf-8"))
USER = json.loads((DEPLOY / "rabbitmq/user.json").read_text(encoding="utf-8"))
PASSWORD = "set-by-hand"


@dataclass(frozen=True)
class Operated:
    """A vhost that somebody set up by the definitions: they have fixed names, so it is a vhost of its own."""

    node: RabbitMQ
    vhost: str

    def url(self, user: str, password: str) -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{self.node.port}/{self.vhost}"

    def connect(self) -> pika.BlockingConnection:
        return self.node.connect(self.url("guest", "guest"))

    def take(self, name: str) -> None:
        """Import a file as the page says it, with the vhost in the place of ``/``."""
        text = (DEPLOY / "rabbitmq" / name).read_text(encoding="utf-8")
        (self.node.folder / name).write_text(text.replace('"vhost": "/"', f'"vhost": "{self.vhost}"'))
        self.node.rabbitmqctl("import_definitions", self.node._inside(self.node.folder / name))


@pytest.fixture(scope="module")
def operated(rabbitmq: RabbitMQ) -> Iterator[Operated]:
    rabbitmq.start()  # a test before this one may have left it dead
    operated = Operated(rabbitmq, rabbitmq.new_vhost().rpartition("/")[2])
    operated.take("definitions.json")
    operated.take("user.json")
    yield operated
    rabbitmq.rabbitmqctl("delete_user", "askrelay")
    rabbitmq.rabbitmqctl("delete_vhost", operated.vhost)


def may_log_in(operated: Operated, password: str) -> bool:
    try:
        operated.node.connect(operated.url("askrelay", password)).close()
    except AMQPError:
        return False
    return True


def by_name(kind: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in TOPOLOGY[kind]}


def test_definitions_are_what_a_worker_would_declare() -> None:
    queues = by_name("queues")
    assert {name: queue["arguments"] for name, queue in queues.items()} == {
        "askrelay.questions": QUESTION_QUEUE_ARGUMENTS,
        "askrelay.rejected": REJECTED_QUEUE_ARGUMENTS,
        "askrelay.doorbell": {
            "x-message-ttl": doorbell.RING_LASTS_MS,
            "x-max-length": doorbell.RINGS_AT_MOST,
        },
    }
    assert all(queue["durable"] for queue in queues.values())
    (exchange,) = TOPOLOGY["exchanges"]
    assert (exchange["name"], exchange["type"], exchange["durable"]) == ("crm.events", "topic", True)


def test_user_comes_without_a_password_and_may_configure_nothing() -> None:
    (user,), (permission,) = USER["users"], USER["permissions"]
    assert user["password_hash"] == ""
    assert user["tags"] == []
    assert permission["configure"] == "^$"


def test_nobody_gets_in_until_a_password_is_set_and_the_topology_can_be_imported_again(
    operated: Operated,
) -> None:
    assert not may_log_in(operated, "")
    assert not may_log_in(operated, "askrelay")
    operated.node.rabbitmqctl("change_password", "askrelay", PASSWORD)
    assert may_log_in(operated, PASSWORD)
    operated.take("definitions.json")
    assert may_log_in(operated, PASSWORD)


def test_policy_keeps_a_broad_policy_off_the_questions(operated: Operated) -> None:
    """One policy applies to a queue, the one with the highest priority: this one, which drops nothing."""
    operated.node.rabbitmqctl(
        *("set_policy", "-p", operated.vhost, "--priority", "10"),
        *("everything-expires", ".*", '{"message-ttl":1000}'),
    )
    try:
        rows = operated.node.rabbitmqctl(
            "list_queues", "-p", operated.vhost, "--no-table-headers", "name", "policy"
        ).splitlines()
        policies = dict(row.split("\t") for row in rows)
        assert policies["askrelay.questions"] == "askrelay-keep-everything"
        assert policies["askrelay.rejected"] == "askrelay-keep-everything"
    finally:
        operated.node.rabbitmqctl("clear_policy", "-p", operated.vhost, "everything-expires")


def test_a_question_is_answered_and_a_bad_event_rejected_without_the_right_to_declare(
    operated: Operated, tmp_path: Path
) -> None:
    operated.node.rabbitmqctl("change_password", "askrelay", PASSWORD)
    with SandboxProcess(latency_s=0.05) as sandbox:
        settings = {
            "RABBITMQ_URL": operated.url("askrelay", PASSWORD),
            "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
            "CUSTOMGPT_API_URL": sandbox.url,
            "CUSTOMGPT_API_KEY": "any",
            "CUSTOMGPT_PROJECT_ID": "123",
            "ASKRELAY_HEALTH_PORT": "0",
            "ASKRELAY_DECLARE": "false",
        }
        code, findings = examine(settings)
        assert code == ExitCode.OK, findings
        assert said(findings, "broker", "wrong") == ""
        with Worker(settings, tmp_path) as worker:
            worker.wait_for("bus.connected", link="consume")
            worker.wait_for("bus.connected", link="publish")
            # The CRM has a user of its own, who may have a queue for the reply.
            asked = askrelay(
                {**settings, "RABBITMQ_URL": operated.url("guest", "guest")},
                *("ask", "--contact", "EXT_1", "--question", "May I?", "--timeout", "60"),
            )
            assert asked.code == ExitCode.OK, asked.text
            with closing(operated.connect()) as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                channel.basic_publish(
                    "crm.events", "contact.question.asked", b"no event", pika.BasicProperties(delivery_mode=2)
                )
            worker.wait_for("event.rejected")
            assert worker.stop() == ExitCode.OK
            told = {line["event"] for line in worker.lines()}
    assert told & {"doorbell.silent", "bus.disconnected", "bus.topology_differs", "bus.declared"} == set()
    with closing(operated.connect()) as connection:
        _, _, body = connection.channel().basic_get("askrelay.rejected", auto_ack=True)
        assert body == b"no event"
