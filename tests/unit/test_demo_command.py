"""``askrelay demo``: its exit codes and what it says of wrong files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_demo_display import GOOD
from worker.cli.app import run_program
from worker.cli.exit_codes import ExitCode
from worker.demo import play as playing
from worker.demo.fleet import WorkerFailedError
from worker.demo.plan import Plan
from worker.sandbox.process import SandboxError


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Plans that were played; none of them is."""
    plans: list[Plan] = []

    def play(plan: Plan, _shown: object) -> object:
        plans.append(plan)
        return GOOD

    monkeypatch.setattr(playing, "play", play)
    return plans


def test_good_summary_ends_with_0(played: list[Plan], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["demo", "--json", "--latency", "0", "--workers", "3", "--calm"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["is_good"] is True
    [plan] = played
    assert (plan.latency_s, plan.workers, plan.is_calm, plan.is_story) == (0.0, 3, True, True)
    assert plan.rabbitmq_url is None


def test_broken_promise_ends_with_the_code_of_a_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(playing, "play", lambda *_: replace(GOOD, double_posts=1))
    assert run_program(["demo", "--json"]) == ExitCode.CHECK_FAILED
    assert json.loads(capsys.readouterr().out)["double_posts"] == 1


@pytest.mark.parametrize("error", [SandboxError("no port"), WorkerFailedError("worker 1 ended by itself")])
def test_process_that_does_not_do_its_part_is_told_without_a_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(*_: object) -> None:
        raise error

    monkeypatch.setattr(playing, "play", play)
    assert run_program(["demo"]) == ExitCode.CHECK_FAILED
    assert capsys.readouterr().err == f"askrelay: the demo broke off: {error}\n"


def test_file_without_the_columns_is_a_usage_error(
    played: list[Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "q.csv"
    path.write_text("contact,text\na,canary\n")
    assert run_program(["demo", "--questions", str(path)]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "q.csv has no column contact_id and no column question" in err
    assert "canary" not in err
    assert played == []


def test_file_that_cannot_be_read_is_told_with_its_name(
    played: list[Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["demo", "--questions", str(tmp_path / "none.csv")]) == ExitCode.MACHINE
    assert "none.csv" in capsys.readouterr().err
    assert run_program(["demo", "--questions", str(tmp_path)]) == ExitCode.MACHINE
    assert played == []


def test_broker_is_the_only_thing_taken_from_the_environment(
    played: list[Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://user:canary@host/")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run_program(["demo", "--bus", "rabbitmq", "--json"]) == ExitCode.OK
    assert played[0].rabbitmq_url == "amqp://user:canary@host/"
    assert "canary" not in repr(played[0])
    assert run_program(["demo", "--json"]) == ExitCode.OK
    assert played[1].rabbitmq_url is None
