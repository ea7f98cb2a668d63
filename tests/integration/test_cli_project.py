"""``askrelay project``, and what doctor says of an agent that still reads its sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import said
from tests.operator_case import Operator
from worker.cli import project_wait
from worker.cli.exit_codes import ExitCode
from worker.sandbox.process import SandboxProcess

SITEMAP = "https://www.example.com/sitemap.xml"


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: SandboxProcess) -> Iterator[SandboxProcess]:
    defaults = shared_sandbox.switches()
    shared_sandbox.set_switches(projects_per_page=2)
    yield shared_sandbox
    shared_sandbox.set_faults()
    shared_sandbox.set_switches(**defaults)


@pytest.fixture
def operator(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sandbox: SandboxProcess,
    tmp_path: Path,
) -> Operator:
    monkeypatch.setattr(project_wait, "FIRST_LOOK_S", 0.02)
    return Operator(monkeypatch, capsys, sandbox, f"sqlite:///{tmp_path / 'ledger.db'}")


def create(operator: Operator, *more: str, name: str = "Support") -> tuple[str, ...]:
    return ("project", "create", "--name", name, "--sitemap", SITEMAP, *more)


def api_findings(operator: Operator) -> list[dict[str, str]]:
    """Return what doctor finds; its exit code counts the broker, which is not there."""
    found: list[dict[str, str]] = json.loads(operator.run("doctor", "--json").out)["findings"]
    return found


def test_create_makes_a_project_that_a_conversation_can_begin_in(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUSTOMGPT_PROJECT_ID")  # an empty account has none
    ran = operator.run(*create(operator))
    assert ran.code == ExitCode.OK, ran.err
    name, _, number = ran.out.strip().partition("=")
    assert name == "CUSTOMGPT_PROJECT_ID"
    operator.set(CUSTOMGPT_PROJECT_ID=number)
    assert operator.told("project", "show")["sitemap_path"] == SITEMAP
    operator.project_id = int(number)
    session_id = operator.conversation("first")["session_id"]
    assert operator.post(session_id, "hello").answer
    assert "its chat is active" in said(api_findings(operator), "api", "ok")


def test_create_waits_until_the_sources_are_read_and_tells_how_far_it_is(
    operator: Operator, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(indexing_s=1.0)
    ran = operator.run(*create(operator))
    assert ran.code == ExitCode.OK, ran.err
    assert "is created" in ran.err.splitlines()[0]
    assert "indexing: " in ran.err
    assert " of 12 documents" in ran.err
    number = ran.out.strip().partition("=")[2]
    assert operator.told("project", "show", number)["is_chat_active"] is True


def test_create_without_waiting_says_that_it_is_not_ready(
    operator: Operator, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(indexing_s=3600.0)
    ran = operator.run(*create(operator, "--no-wait"))
    assert ran.code == ExitCode.OK
    assert ran.out.startswith("CUSTOMGPT_PROJECT_ID=")
    assert "it reads its sources now" in ran.err
    assert operator.told(*create(operator, "--no-wait"))["is_chat_active"] is False


def test_create_that_takes_too_long_keeps_the_project_and_says_so(
    operator: Operator, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(indexing_s=3600.0)
    ran = operator.run(*create(operator, "--timeout", "0.1"))
    assert ran.code == ExitCode.NO_ANSWER
    assert "still reads its sources" in ran.err
    number = ran.out.strip().partition("=")[2]
    shown = operator.run("project", "show", number)
    assert "indexing, 0 of 12 documents" in shown.out


def test_create_goes_on_waiting_while_the_api_is_away(operator: Operator, sandbox: SandboxProcess) -> None:
    sandbox.set_switches(indexing_s=0.5)
    away = {"kind": "reply", "when": "before_work", "status": 503}
    sandbox.set_faults(
        {"match": {"call": "get_project", "times": 2}, "action": away},
        {"match": {"call": "stats", "times": 1}, "action": away},
    )
    assert operator.run(*create(operator)).code == ExitCode.OK


def test_create_says_what_the_api_does_not_take(operator: Operator, sandbox: SandboxProcess) -> None:
    sandbox.set_switches(max_projects=1)
    ran = operator.run(*create(operator))
    assert ran.code == ExitCode.API
    assert "You have reached your agent limit" in ran.err
    assert ran.out == ""
    for option in ("--name", "--sitemap"):
        other = {"--name": "--sitemap", "--sitemap": "--name"}[option]
        ran = operator.run("project", "create", option, " ", other, "x")
        assert ran.code == ExitCode.USAGE


def test_create_whose_answer_is_lost_makes_no_second_project(
    operator: Operator, sandbox: SandboxProcess
) -> None:
    lost = {"kind": "reset", "when": "after_work", "at": "before_headers"}
    sandbox.set_faults({"match": {"call": "create_project", "times": 1}, "action": lost})
    ran = operator.run(*create(operator, name="Lost answer"))
    assert ran.code == ExitCode.API
    assert "nobody knows whether it was done" in ran.err
    assert len(operator.told("project", "list", "--name", "Lost answer")["projects"]) == 1


def test_list_shows_all_pages_newest_first_and_filters_by_name(operator: Operator) -> None:
    made = [
        operator.ask("POST", "/projects", project_name=f"List {n}", sitemap_path=SITEMAP)["id"]
        for n in range(5)
    ]
    found = operator.told("project", "list", "--name", "LIST")["projects"]
    assert [each["project_id"] for each in found] == made[::-1]
    assert len(operator.told("project", "list")["projects"]) > 5
    lines = operator.run("project", "list", "--name", "List 3").out.splitlines()
    assert lines[0].split() == ["ID", "STATE", "CREATED", "NAME"]
    assert len(lines) == 2
    assert lines[1].split()[:2] == [str(made[3]), "active"]


def test_show_tells_settings_and_indexing(operator: Operator, sandbox: SandboxProcess) -> None:
    told = operator.told("project", "show")
    assert told["project_id"] == operator.project_id
    assert told["indexing"] == {
        "pages_found": 12,
        "pages_crawled": 12,
        "pages_indexed": 12,
        "total_queries": 0,
    }
    assert told["settings"]["conversation_retention_period"] == "year"
    ran = operator.run("project", "show")
    assert "conversation_retention_period" in ran.out
    assert "active" in ran.out
    sandbox.set_switches(is_chat_active="false")
    assert "not active" in operator.run("project", "show").out


def test_show_of_a_project_that_is_not_there_says_so(operator: Operator) -> None:
    ran = operator.run("project", "show", "99999")
    assert ran.code == ExitCode.API
    assert "the API knows no such project" in ran.err


def test_usage_shows_what_is_left_of_the_plan(operator: Operator, sandbox: SandboxProcess) -> None:
    sandbox.set_switches(max_queries=1000)
    before = operator.told("project", "usage")["queries"]["used"]
    operator.post(operator.conversation("n")["session_id"], "one")
    told = operator.told("project", "usage")
    assert told["queries"] == {"used": before + 1, "limit": 1000}
    assert set(told) == {"queries", "projects", "storage_credits"}
    lines = operator.run("project", "usage").out.splitlines()
    assert lines[1].split() == ["queries", str(before + 1), "1,000", str(999 - before)]


def test_traffic_shows_by_which_way_a_project_was_asked(operator: Operator) -> None:
    session_id = operator.conversation("n")["session_id"]
    for text in ("one", "two"):
        operator.post(session_id, text)
    assert operator.told("project", "traffic") == {
        "project_id": operator.project_id,
        "sources": {"api": 2},
    }
    assert operator.run("project", "traffic").out.splitlines()[1].split() == ["api", "2"]


def test_doctor_names_an_agent_that_still_reads_its_sources(
    operator: Operator, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(indexing_s=3600.0)
    made = operator.ask("POST", "/projects", project_name="New", sitemap_path=SITEMAP)["id"]
    operator.set(CUSTOMGPT_PROJECT_ID=str(made))
    operator.project_id = made
    assert operator.post(operator.conversation("n")["session_id"], "too early").answer is None
    told = said(api_findings(operator), "api", "warning")
    assert f"project {made} is still indexing (0 of 12 documents)" in told
    assert "answers are empty until then" in told


def test_doctor_names_it_when_the_api_does_not_say_how_far_it_is(
    operator: Operator, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(indexing_s=3600.0)
    made = operator.ask("POST", "/projects", project_name="New", sitemap_path=SITEMAP)["id"]
    operator.set(CUSTOMGPT_PROJECT_ID=str(made))
    sandbox.set_faults({"match": {"call": "stats"}, "action": {"kind": "throttle"}})
    assert f"project {made} is still indexing: its chat" in said(api_findings(operator), "api", "warning")
