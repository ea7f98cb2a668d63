"""A fleet as it is in production: broker and API over TLS, certificates checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.commands import CANARY, examine, said
from tests.fleet import Fleet, generated
from tests.servers.authority import Authority
from tests.servers.front import Front
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.cli.exit_codes import ExitCode

#: Contacts, and questions of each.
CONTACTS, EACH = 40, 5
REPLIES = CONTACTS * EACH


@pytest.fixture
def fleet(rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(
        rabbitmq=rabbitmq, names=amqp_names, database_url=f"sqlite:///{tmp_path}/ledger.db", folder=tmp_path
    ) as fleet:
        yield fleet


@pytest.fixture
def broker(rabbitmq: RabbitMQ, authority: Authority) -> Iterator[Front]:
    with Front([rabbitmq.port], tls=authority.server()) as front:
        yield front


@pytest.fixture
def api(fleet: Fleet, authority: Authority) -> Iterator[Front]:
    port = urlsplit(fleet.sandbox.url).port
    assert port is not None
    with Front([port], tls=authority.server()) as front:
        yield front


@pytest.fixture
def settings(
    broker: Front, api: Front, authority: Authority, amqp_names: AmqpNames, tmp_path: Path
) -> dict[str, str]:
    return {
        **amqp_names.environment(),
        "DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "CUSTOMGPT_API_KEY": CANARY,
        "CUSTOMGPT_PROJECT_ID": "123",
        "ASKRELAY_HEALTH_PORT": "0",
        "RABBITMQ_URL": f"amqps://guest:guest@localhost:{broker.port}/",
        "RABBITMQ_CA_FILE": str(authority.ca_file),
        "CUSTOMGPT_API_URL": f"https://localhost:{api.port}/api/v1",
        "CUSTOMGPT_CA_FILE": str(authority.ca_file),
    }


def test_questions_are_answered_over_tls(fleet: Fleet, settings: dict[str, str]) -> None:
    fleet.start_worker(**settings)
    fleet.ask(generated(contacts=CONTACTS, each=EACH))
    fleet.wait_for_replies(REPLIES)
    assert fleet.judge().broken() == {}
    assert fleet.posts() == REPLIES


def test_connections_that_are_cut_again_and_again_cost_no_question(
    fleet: Fleet, settings: dict[str, str], broker: Front, api: Front
) -> None:
    for _ in range(2):
        fleet.start_worker(**settings)
    fleet.ask(generated(contacts=CONTACTS, each=EACH))
    for part in range(1, 5):
        fleet.wait_until(lambda part=part: fleet.posts() >= part * REPLIES // 5, f"the posts of part {part}")
        (api if part % 2 else broker).cut()
    made = broker.connections + api.connections
    fleet.wait_for_replies(REPLIES)
    assert fleet.judge().broken() == {}
    assert broker.connections + api.connections > made, "nothing was cut"


def test_a_question_is_asked_by_hand_over_tls(fleet: Fleet, settings: dict[str, str]) -> None:
    fleet.start_worker(**settings)
    asked = ("ask", "--contact", "EXT_1", "--question", "Who are you?", "--json")
    assert json.loads(fleet.askrelay(*asked, **settings))["type"] == "contact.question.answered"


def test_doctor_finds_tls_well(settings: dict[str, str]) -> None:
    code, findings = examine(settings)
    assert code == ExitCode.OK, findings
    assert "over TLS" in said(findings, "api")
    assert "TLS" in said(findings, "broker")


def test_doctor_names_the_settings_that_trust_the_wrong_authority(
    settings: dict[str, str], tmp_path: Path
) -> None:
    stranger = str(Authority(tmp_path).ca_file)
    code, findings = examine({**settings, "RABBITMQ_CA_FILE": stranger, "CUSTOMGPT_CA_FILE": stranger})
    assert code != ExitCode.OK
    assert "RABBITMQ_CA_FILE" in said(findings, "broker", "wrong")
    assert "CUSTOMGPT_CA_FILE" in said(findings, "api", "wrong")
