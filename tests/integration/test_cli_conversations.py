"""``askrelay conversations`` over HTTP against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator_case import Operator, question, recorded, tagged_name
from worker.adapters.ledger import upgrade
from worker.cli.exit_codes import ExitCode
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
    shared_sandbox.set_faults()
    shared_sandbox.set_switches(**defaults)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    upgrade(url)
    return url


@pytest.fixture
def operator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sandbox: SandboxProcess, url: str
) -> Operator:
    return Operator(monkeypatch, capsys, sandbox, url)


def names(told: dict) -> list[str]:
    return [each["name"] for each in told["conversations"]]


def test_list_shows_all_pages_newest_first(operator: Operator) -> None:
    for number in range(5):
        operator.conversation(f"crm:E{number}")
    assert names(operator.told("conversations", "list")) == [f"crm:E{number}" for number in (4, 3, 2, 1, 0)]
    heading, *lines = operator.run("conversations", "list").out.splitlines()
    assert heading.split() == ["SESSION", "ID", "CREATED", "NAME"]
    assert [line.split()[-1] for line in lines] == [f"crm:E{number}" for number in (4, 3, 2, 1, 0)]


def test_list_of_an_empty_project_is_empty(operator: Operator) -> None:
    assert operator.told("conversations", "list") == {
        "project_id": operator.project_id,
        "conversations": [],
    }


@pytest.mark.parametrize("mode", ["substring", "ignored"])
def test_list_by_name_shows_a_part_in_any_case_whatever_the_api_filters(
    operator: Operator, sandbox: SandboxProcess, mode: str
) -> None:
    for name in ("Sales north", "Support", "sales south", "Old SALES"):
        operator.conversation(name)
    sandbox.set_switches(name_filter=mode)
    found = operator.told("conversations", "list", "--name", "sales")
    assert names(found) == ["Old SALES", "sales south", "Sales north"]


def test_list_by_external_id_shows_those_named_for_the_contact_and_no_longer_id(operator: Operator) -> None:
    mine = [tagged_name(operator.project_id, "E1", thread) for thread in (None, "T-1")]
    guide = ["crm:E1", "crm:E1 \u2014 ACME Inc."]
    others = [
        tagged_name(operator.project_id, "E12"),
        tagged_name(operator.project_id, "E1 \u2014 B"),
        "crm:E1x",
        "crm:e1",
        "about crm:E1",
    ]
    for name in (*mine, *guide, *others):
        operator.conversation(name)
    assert sorted(names(operator.told("conversations", "list", "--external-id", "E1"))) == sorted(
        mine + guide
    )


def test_list_by_user_asks_the_api(operator: Operator) -> None:
    operator.conversation("mine")
    assert names(operator.told("conversations", "list", "--user", "anonymous")) == []
    assert names(operator.told("conversations", "list", "--user", "me")) == ["mine"]
    assert operator.run("conversations", "list", "--user", "nobody").code == ExitCode.USAGE


def test_list_waits_while_the_api_asks_for_a_pause(operator: Operator, sandbox: SandboxProcess) -> None:
    for number in range(3):
        operator.conversation(f"n{number}")
    throttle = {"kind": "throttle", "retry_after": "1"}
    sandbox.set_faults({"match": {"call": "list", "times": 1}, "action": throttle})
    ran = operator.run("conversations", "list")
    assert ran.code == ExitCode.OK
    assert len(ran.out.splitlines()) == 4
    assert "the API asks for a pause of 1 s" in ran.err


def test_list_looks_into_the_project_that_is_given(operator: Operator) -> None:
    operator.conversation("in the settings' project")
    other = operator.ask("POST", "/projects", project_name="Other", sitemap_path="example.com")["id"]
    assert operator.told("conversations", "list", "--project", str(other)) == {
        "project_id": other,
        "conversations": [],
    }


def test_show_tells_the_conversation_and_what_the_ledger_uses_it_for(operator: Operator, url: str) -> None:
    conversation = operator.conversation("crm:E1 test")
    operator.post(conversation["session_id"], "one", "E1")
    message = operator.post(conversation["session_id"], "two", "E1")
    told = operator.told("conversations", "show", conversation["session_id"])
    assert told["conversation_id"] == conversation["id"]
    assert (told["name"], told["messages"], told["external_ids"]) == ("crm:E1 test", 2, ["E1"])
    assert told["ledger"] == "no conversation uses it"
    recorded(url, operator, conversation, question(1, "E1", "two"), message)
    ran = operator.run("conversations", "show", conversation["session_id"])
    assert ran.code == ExitCode.OK
    assert "used for contact E1" in ran.out


def test_show_works_without_a_ledger(operator: Operator, tmp_path: Path) -> None:
    conversation = operator.conversation("crm:E1")
    operator.set(DATABASE_URL=f"sqlite:///{tmp_path / 'missing.db'}")
    assert operator.told("conversations", "show", conversation["session_id"])["ledger"].startswith(
        "not known"
    )
    assert not (tmp_path / "missing.db").exists()


def test_messages_shows_all_pages_oldest_first_with_their_external_id(operator: Operator) -> None:
    conversation = operator.conversation("crm:E1")
    made = [operator.post(conversation["session_id"], f"question {n}", f"E{n % 2}") for n in range(5)]
    told = operator.told("conversations", "messages", conversation["session_id"])
    assert told["conversation"]["session_id"] == conversation["session_id"]
    assert [(each["message_id"], each["question"], each["external_id"]) for each in told["messages"]] == [
        (each.message_id, each.question, each.external_id) for each in made
    ]
    assert [each["answer"] for each in told["messages"]] == [each.answer for each in made]
    mine = operator.told("conversations", "messages", conversation["session_id"], "--external-id", "E1")
    assert [each["question"] for each in mine["messages"]] == ["question 1", "question 3"]


def test_messages_table_keeps_one_line_per_message_and_steers_no_terminal(operator: Operator) -> None:
    conversation = operator.conversation("crm:E1")
    operator.post(conversation["session_id"], "two\nlines\x1b[2J\u202e", "E1")
    ran = operator.run("conversations", "messages", conversation["session_id"])
    assert len(ran.out.splitlines()) == 2
    assert "two lines" in ran.out
    assert not {"\x1b", "\u202e"} & set(ran.out)


def test_rename_gives_another_name_when_the_person_says_yes(operator: Operator) -> None:
    conversation = operator.conversation(tagged_name(operator.project_id, "E1"))
    ran = operator.run("conversations", "rename", conversation["session_id"], "new name", typed="y\n")
    assert ran.code == ExitCode.OK, ran.err
    assert "Its tag goes" in ran.err
    assert names(operator.told("conversations", "list")) == ["new name"]
    told = operator.told("conversations", "rename", conversation["session_id"], "newer", "--yes")
    assert told["conversation"]["name"] == "newer"


def test_rename_refuses_a_name_that_is_empty_or_too_long(operator: Operator) -> None:
    conversation = operator.conversation("kept")
    for name in (" ", "x" * 256):
        ran = operator.run("conversations", "rename", conversation["session_id"], name, "--yes")
        assert ran.code == ExitCode.USAGE
    assert names(operator.told("conversations", "list")) == ["kept"]
    assert operator.run("conversations", "rename", conversation["session_id"], "x" * 255, "--yes").code == 0


@pytest.mark.parametrize(("typed", "code"), [("n\n", ExitCode.INTERRUPTED), ("", ExitCode.INTERRUPTED)])
def test_delete_and_rename_change_nothing_unless_the_person_says_yes(
    operator: Operator, typed: str, code: ExitCode
) -> None:
    session_id = operator.conversation("kept")["session_id"]
    assert operator.run("conversations", "delete", session_id, typed=typed).code == code
    assert operator.run("conversations", "rename", session_id, "other", typed=typed).code == code
    assert names(operator.told("conversations", "list")) == ["kept"]


def test_delete_and_rename_ask_for_yes_where_nobody_can_be_asked(operator: Operator) -> None:
    session_id = operator.conversation("kept")["session_id"]
    for command in (["delete", session_id], ["rename", session_id, "other"]):
        ran = operator.run("conversations", *command)
        assert ran.code == ExitCode.USAGE
        assert "Add --yes" in ran.err
    assert names(operator.told("conversations", "list")) == ["kept"]


def test_delete_takes_the_conversation_with_its_messages(operator: Operator) -> None:
    session_id = operator.conversation("goes")["session_id"]
    operator.conversation("stays")
    operator.post(session_id, "one", "E1")
    ran = operator.run("conversations", "delete", session_id, "--yes")
    assert ran.code == ExitCode.OK, ran.err
    assert "1 message" in ran.out
    assert names(operator.told("conversations", "list")) == ["stays"]
    for command in (["delete", session_id, "--yes"], ["show", session_id], ["messages", session_id]):
        ran = operator.run("conversations", *command)
        assert ran.code == ExitCode.NOT_FOUND
        assert "has no conversation with the session" in ran.err


def test_delete_refuses_a_session_that_the_ledger_uses(operator: Operator, url: str) -> None:
    conversation = operator.conversation(tagged_name(operator.project_id, "E1"))
    message = operator.post(conversation["session_id"], "two", "E1")
    recorded(url, operator, conversation, question(1, "E1", "two"), message)
    ran = operator.run("conversations", "delete", conversation["session_id"], "--yes")
    assert ran.code == ExitCode.CHECK_FAILED
    assert "the questions of contact 'E1' go there" in ran.err
    assert operator.sessions() == [conversation["session_id"]]
    forced = operator.run("conversations", "delete", conversation["session_id"], "--yes", "--force")
    assert forced.code == ExitCode.OK
    assert operator.sessions() == []


def test_delete_refuses_a_session_that_a_question_is_being_posted_to(operator: Operator, url: str) -> None:
    conversation = operator.conversation(tagged_name(operator.project_id, "E1"))
    recorded(url, operator, conversation, question(1, "E1", "two"), None)
    assert operator.run("conversations", "delete", conversation["session_id"], "--yes").code == 10
    assert operator.sessions() == [conversation["session_id"]]


def test_delete_refuses_when_no_ledger_can_say_whether_it_is_used(operator: Operator, tmp_path: Path) -> None:
    session_id = operator.conversation("kept")["session_id"]
    operator.set(DATABASE_URL=f"sqlite:///{tmp_path / 'missing.db'}")
    ran = operator.run("conversations", "delete", session_id, "--yes")
    assert ran.code == ExitCode.LEDGER
    assert operator.sessions() == [session_id]
    assert operator.run("conversations", "delete", session_id, "--yes", "--force").code == ExitCode.OK


@pytest.mark.parametrize("session_id", ["..", ".", "a/../..", "%2e%2e"])
def test_session_that_looks_like_a_path_reaches_nothing_else(operator: Operator, session_id: str) -> None:
    operator.conversation("kept")
    ran = operator.run("conversations", "delete", session_id, "--yes", "--force")
    assert ran.code == ExitCode.NOT_FOUND
    assert names(operator.told("conversations", "list")) == ["kept"]


def test_change_with_an_unknown_outcome_says_so(operator: Operator, sandbox: SandboxProcess) -> None:
    session_id = operator.conversation("old")["session_id"]
    fault = {"kind": "reset", "when": "after_work", "at": "before_headers"}
    sandbox.set_faults({"match": {"call": "rename"}, "action": fault})
    ran = operator.run("conversations", "rename", session_id, "new", "--yes")
    assert ran.code == ExitCode.API
    assert "nobody knows whether it was done" in ran.err
    assert names(operator.told("conversations", "list")) == ["new"]


def test_wrong_key_and_wrong_project_are_told_apart_from_a_missing_session(operator: Operator) -> None:
    ran = operator.run("conversations", "messages", "some-session", "--project", "99999")
    assert ran.code == ExitCode.API
    assert "the API knows no such project" in ran.err
    operator.set(CUSTOMGPT_API_KEY="wrong")
    ran = operator.run("conversations", "list")
    assert ran.code == ExitCode.API
    assert "refuses the key" in ran.err


def test_settings_that_are_missing_are_named(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUSTOMGPT_PROJECT_ID")
    ran = operator.run("conversations", "list")
    assert (ran.code, "CUSTOMGPT_PROJECT_ID is not set" in ran.err) == (ExitCode.SETTINGS, True)
    monkeypatch.delenv("CUSTOMGPT_API_KEY")
    ran = operator.run("conversations", "list")
    assert (ran.code, "CUSTOMGPT_API_KEY is not set" in ran.err) == (ExitCode.SETTINGS, True)
