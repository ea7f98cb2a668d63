"""``askrelay lookup`` and ``conversations sweep``: ledger and API side by side."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fleet import Fleet, generated
from tests.operator_case import Operator, question, recorded, tagged_name
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.clock import SystemClock
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.adapters.ledger import upgrade
from worker.adapters.ledger.ledger import LedgerConfig, open_ledger
from worker.cli import conversations_sweep
from worker.cli.exit_codes import ExitCode
from worker.core.healing import Healer
from worker.core.model import RemoteMessage, external_id_of
from worker.core.pace import Pace
from worker.sandbox.process import SandboxProcess


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: SandboxProcess) -> Iterator[SandboxProcess]:
    defaults = shared_sandbox.switches()
    shared_sandbox.set_switches(conversations_per_page=2, messages_per_page=2)
    yield shared_sandbox
    shared_sandbox.set_switches(**defaults)


@pytest.fixture
def url(database_url: str) -> str:
    url = database_url.replace("postgresql:", "postgresql+psycopg:")
    upgrade(url)
    return url


@pytest.fixture
def operator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sandbox: SandboxProcess, url: str
) -> Operator:
    made = Operator(monkeypatch, capsys, sandbox, url)
    made.set(ASKRELAY_LIST_LAG_S="0.001")
    return made


def answered(operator: Operator, url: str, contact: str = "E1", count: int = 3) -> dict[str, Any]:
    """Post and record questions of a contact; returns the conversation."""
    conversation = operator.conversation(tagged_name(operator.project_id, contact))
    for number in range(count):
        each = question(number, contact, f"canary question {number}")
        message = operator.post(conversation["session_id"], each.text, contact)
        recorded(url, operator, conversation, each, message)
    return conversation


def kinds(told: dict[str, Any], *, wrong_only: bool = False) -> list[str]:
    return [
        finding["kind"]
        for each in told["conversations"]
        for finding in each["findings"]
        if not (wrong_only and finding["agrees"])
    ]


def test_lookup_shows_that_ledger_and_api_agree(operator: Operator, url: str) -> None:
    conversation = answered(operator, url)
    told = operator.told("lookup", "E1")
    assert (told["agrees"], kinds(told)) == (True, [])
    (seen,) = told["conversations"]
    assert (seen["session_id"], seen["conversation_id"]) == (conversation["session_id"], conversation["id"])
    assert [each["question_id"] for each in seen["messages"]] == ["evt-0", "evt-1", "evt-2"]
    assert {each["external_id"] for each in seen["messages"]} == {"E1"}
    assert [each["message_id"] for each in seen["messages"]] == [
        each["ledger_message_id"] for each in seen["messages"]
    ]


def test_lookup_reads_like_a_page_and_keeps_contents_to_itself_unless_asked(
    operator: Operator, url: str
) -> None:
    answered(operator, url)
    ran = operator.run("lookup", "E1")
    assert ran.code == ExitCode.OK, ran.err
    assert ran.out.endswith("ledger and API agree\n")
    assert "canary" not in ran.out
    assert "evt-2" in ran.out
    with_content = operator.run("lookup", "E1", "--content").out
    assert "canary question 2" in with_content
    assert "sandbox answer" in with_content


def test_lookup_of_a_contact_that_nobody_knows_is_not_found(operator: Operator) -> None:
    assert operator.run("lookup", "E404").code == ExitCode.NOT_FOUND


def test_lookup_of_a_waiting_question_agrees(operator: Operator, url: str) -> None:
    conversation = answered(operator, url, count=1)
    recorded(url, operator, conversation, question(5, "E1", "still waiting"), "outcome_unknown")
    told = operator.told("lookup", "E1")
    assert told["agrees"]
    assert [each["state"] for each in told["conversations"][0]["messages"]] == ["answered", "failed"]


def test_lookup_finds_a_message_that_the_ledger_does_not_know(operator: Operator, url: str) -> None:
    conversation = answered(operator, url)
    elsewhere = operator.post(conversation["session_id"], "who else asks here?", "E1")
    told = operator.told("lookup", "E1", code=ExitCode.CHECK_FAILED)
    assert kinds(told) == ["from_elsewhere"]
    assert told["conversations"][0]["findings"][0]["message_id"] == elsewhere.message_id
    assert "WRONG  from_elsewhere" in operator.run("lookup", "E1").out


def test_lookup_finds_a_question_that_was_posted_twice(operator: Operator, url: str) -> None:
    conversation = answered(operator, url)
    operator.post(conversation["session_id"], "canary question 1", "E1")
    told = operator.told("lookup", "E1", code=ExitCode.CHECK_FAILED)
    assert kinds(told) == ["posted_twice"]
    assert told["conversations"][0]["findings"][0]["question_id"] == "evt-1"


def test_lookup_finds_a_recorded_message_that_the_api_lacks(operator: Operator, url: str) -> None:
    conversation = answered(operator, url, count=1)
    missing = RemoteMessage(999_999_999, "gone", "a", "E1")
    recorded(url, operator, conversation, question(7, "E1", "gone"), missing)
    assert kinds(operator.told("lookup", "E1", code=ExitCode.CHECK_FAILED)) == ["message_missing"]


def test_lookup_finds_a_message_under_another_external_id_or_text(operator: Operator, url: str) -> None:
    conversation = answered(operator, url, count=1)
    for number, (text, tag) in enumerate([("right text", "E2"), ("another text", "E1"), ("untagged", None)]):
        message = operator.post(conversation["session_id"], text, tag)
        sent = "right text" if number < 2 else "untagged"
        recorded(url, operator, conversation, question(10 + number, "E1", sent), message)
    told = operator.told("lookup", "E1", code=ExitCode.CHECK_FAILED)
    assert kinds(told) == ["external_id_differs", "text_differs", "external_id_differs"]


def test_lookup_finds_an_extra_conversation_and_says_what_is_in_it(operator: Operator, url: str) -> None:
    answered(operator, url)
    empty = operator.conversation(tagged_name(operator.project_id, "E1"))
    used = operator.conversation(tagged_name(operator.project_id, "E1"))
    operator.post(used["session_id"], "hello", "E1")
    told = operator.told("lookup", "E1", code=ExitCode.CHECK_FAILED)
    found = {each["session_id"]: each["text"] for each in told["conversations"][0]["findings"]}
    assert set(found) == {empty["session_id"], used["session_id"]}
    assert "empty" in found[empty["session_id"]]
    assert "1 message" in found[used["session_id"]]


def test_lookup_finds_that_the_conversation_is_gone(operator: Operator, url: str) -> None:
    conversation = answered(operator, url)
    operator.ask("DELETE", f"/projects/{operator.project_id}/conversations/{conversation['session_id']}")
    told = operator.told("lookup", "E1", code=ExitCode.CHECK_FAILED)
    assert kinds(told) == ["conversation_missing"]
    assert told["conversations"][0]["is_at_api"] is False


def test_lookup_finds_a_conversation_that_the_ledger_does_not_know(operator: Operator, url: str) -> None:
    operator.conversation("crm:E7 \u2014 ACME Inc.")
    operator.conversation("crm:E77 \u2014 ACME Inc.")
    told = operator.told("lookup", "E7", code=ExitCode.CHECK_FAILED)
    assert kinds(told) == ["conversation_unknown"]
    assert told["conversations"][0]["is_in_ledger"] is False


def test_lookup_keeps_threads_apart(operator: Operator, url: str) -> None:
    for number, thread in enumerate((None, "T-1")):
        conversation = operator.conversation(tagged_name(operator.project_id, "E1", thread))
        each = question(number, "E1", f"in {thread}", thread)
        recorded(
            url, operator, conversation, each, operator.post(conversation["session_id"], each.text, "E1")
        )
    assert [each["thread_id"] for each in operator.told("lookup", "E1")["conversations"]] == [None, "T-1"]
    told = operator.told("lookup", "E1", "--thread", "T-1")
    assert [each["thread_id"] for each in told["conversations"]] == ["T-1"]
    assert operator.run("lookup", "E1", "--thread", "T-2").code == ExitCode.NOT_FOUND


def test_lookup_of_a_thread_finds_its_conversation_that_the_ledger_does_not_know(operator: Operator) -> None:
    for thread in (None, "T-1", "T-2"):
        operator.conversation(tagged_name(operator.project_id, "E1", thread))
    told = operator.told("lookup", "E1", "--thread", "T-1", code=ExitCode.CHECK_FAILED)
    assert [each["name"] for each in told["conversations"]] == [tagged_name(operator.project_id, "E1", "T-1")]


def test_lookup_takes_a_contact_id_that_is_too_long_for_a_tag(operator: Operator) -> None:
    contact = "x" * 200
    name = tagged_name(operator.project_id, external_id_of(contact))
    operator.conversation(name)
    told = operator.told("lookup", contact, code=ExitCode.CHECK_FAILED)
    assert told["external_id"].startswith("sha256:")
    assert [each["name"] for each in told["conversations"]] == [name]


def test_lookup_follows_a_conversation_that_was_renamed(operator: Operator, url: str) -> None:
    conversation = answered(operator, url)
    session_id = conversation["session_id"]
    assert operator.run("conversations", "rename", session_id, "something else", "--yes").code == ExitCode.OK
    told = operator.told("lookup", "E1")
    assert told["agrees"]
    assert told["conversations"][0]["name"] == "something else"


def test_lookup_without_a_ledger_says_so(operator: Operator, tmp_path: Path) -> None:
    operator.set(DATABASE_URL=f"sqlite:///{tmp_path / 'missing.db'}")
    assert operator.run("lookup", "E1").code == ExitCode.LEDGER


@pytest.mark.parametrize("kind", ["away", "without tables"])
def test_lookup_of_a_ledger_that_cannot_be_read_says_why(
    operator: Operator, tmp_path: Path, kind: str
) -> None:
    if kind == "away":
        operator.set(DATABASE_URL="postgresql://user:canary@127.0.0.1:1/askrelay")
    else:
        (tmp_path / "empty.db").touch()
        operator.set(DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    ran = operator.run("lookup", "E1")
    assert ran.code == ExitCode.LEDGER
    assert ("onnection" if kind == "away" else "askrelay db upgrade") in ran.err
    assert "canary" not in ran.text
    session_id = operator.conversation("kept")["session_id"]
    assert operator.told("conversations", "show", session_id)["ledger"].startswith("not known: ")
    assert operator.run("conversations", "delete", session_id, "--yes").code == ExitCode.LEDGER


def test_lookup_agrees_with_what_a_fleet_has_done(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    with Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=f"sqlite:///{tmp_path / 'fleet.db'}",
        folder=tmp_path,
        latency_s=0.01,
    ) as fleet:
        fleet.start_worker()
        fleet.ask(generated(4, 10))
        fleet.wait_for_replies(40)
        contact = fleet.asked[0].contact_id
        told = json.loads(fleet.askrelay("lookup", contact, "--json"))
        mine = sorted(each.event_id for each in fleet.asked if each.contact_id == contact)
    assert told["agrees"]
    assert sorted(each["question_id"] for each in told["conversations"][0]["messages"]) == mine


def test_sweep_shows_extras_and_changes_nothing_when_dry(operator: Operator, url: str) -> None:
    answered(operator, url)
    extra = operator.conversation(tagged_name(operator.project_id, "E1"))
    used = operator.conversation(tagged_name(operator.project_id, "E1"))
    operator.post(used["session_id"], "hello", "E1")
    operator.conversation(tagged_name(operator.project_id, "E2"))
    before = operator.sessions()
    told = operator.told("conversations", "sweep", "--dry-run")
    assert {each["session_id"]: each["fate"] for each in told["extras"]} == {
        extra["session_id"]: "young",
        used["session_id"]: "talking",
    }
    assert operator.sessions() == before
    assert "kept: too young" in operator.run("conversations", "sweep", "--dry-run").out


def test_sweep_of_a_project_without_extras_says_so(operator: Operator, url: str) -> None:
    answered(operator, url)
    assert "There are no extras." in operator.run("conversations", "sweep", "--dry-run").out


def heal(operator: Operator, url: str) -> None:
    """Do what a worker's sweeper does, until nothing is due."""

    async def work() -> None:
        ledger = open_ledger(
            LedgerConfig(
                url=url,
                worker_id="healer",
                version="0",
                gate_key="0123456789abcdef",
                pace=Pace(0, 0),
                lease_s=30,
                request_timeout_s=120,
                keep_days=30,
                dedup_days=365,
            )
        )
        config = CustomGptConfig(api_url=operator.sandbox.url)
        ledger.start()
        try:
            async with CustomGpt(config, key=lambda: "1|key", log=lambda *_, **__: None) as api:
                while await Healer(ledger, api, SystemClock(), lambda *_, **__: None).heal_one():
                    pass
        finally:
            await ledger.stop()

    asyncio.run(work())


def test_sweep_lets_a_worker_delete_what_was_never_used(
    operator: Operator, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = answered(operator, url)
    operator.conversation(tagged_name(operator.project_id, "E1"))
    used = operator.conversation(tagged_name(operator.project_id, "E1"))
    operator.post(used["session_id"], "hello", "E1")
    heal(operator, url)
    assert len(operator.told("conversations", "list")["conversations"]) == 3, "nothing is due yet"
    # An hour later, for the command: the create of an extra is certainly over by then.
    later = SimpleNamespace(time=lambda: time.time() + 3600)
    monkeypatch.setattr(conversations_sweep, "time", later)
    told = operator.told("conversations", "sweep")
    assert [each["fate"] for each in told["extras"]] == ["talking", "goes"]
    heal(operator, url)
    left = operator.told("conversations", "list")["conversations"]
    assert {each["session_id"] for each in left} == {conversation["session_id"], used["session_id"]}
