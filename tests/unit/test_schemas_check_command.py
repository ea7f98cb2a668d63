"""``askrelay schema check`` and ``askrelay schema asyncapi``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas import asyncapi_document, reply_id
from schemas.examples import ASKED_EXAMPLE
from worker.cli.app import run_program
from worker.cli.exit_codes import ExitCode

DATA = ASKED_EXAMPLE["data"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(ASKED_EXAMPLE))
    return path


def test_good_event_ends_with_ok_and_the_id_of_its_reply(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["schema", "check", str(file)]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "OK: a worker would take this question.",
        f"  its reply will have the id {reply_id('crm/acme', 'evt-1')}",
    ]


def test_wrong_event_is_told_field_by_field_within_80_columns(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps({**ASKED_EXAMPLE, "data": {"contactId": "canary", "question": ""}}))
    assert run_program(["schema", "check", str(file)]) == ExitCode.CHECK_FAILED
    out = capsys.readouterr().out
    assert out.startswith(
        "REJECTED: a worker would put this event aside as invalid_question.\n"
        "  data.contact_id is missing\n"
        "      The contact in the CRM."
    )
    assert "\n  data.question is blank\n      The text as the contact wrote it" in out
    assert out.endswith("Worth a look:\n  data.contactId is ignored; did you mean data.contact_id?\n")
    assert max(map(len, out.splitlines())) <= 80
    assert "canary" not in out


def test_json_tells_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(json.dumps({**ASKED_EXAMPLE, "data": {"question": "?", "prompt": "?"}}))
    assert run_program(["schema", "check", str(file), "--json"]) == ExitCode.CHECK_FAILED
    told = json.loads(capsys.readouterr().out)
    assert told["problems"][0].pop("meaning").startswith("The contact in the CRM.")
    assert told == {
        "is_taken": False,
        "reason": "invalid_question",
        "problems": [{"field": "data.contact_id", "problem": "is missing"}],
        "notes": [{"field": "data.prompt", "problem": "is ignored"}],
        "source": None,
        "event_id": None,
        "reply_id": None,
    }
    file.write_text(json.dumps(ASKED_EXAMPLE))
    assert run_program(["schema", "check", str(file), "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["is_taken"], told["source"], told["event_id"]) == (True, "crm/acme", "evt-1")


def test_event_is_read_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(json.dumps(ASKED_EXAMPLE).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert run_program(["schema", "check", "-"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("OK")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--message-id", "evt-1"],
        ["--message-id", "evt-1", "--app-id", "crm/acme", "--content-type", "application/json"],
        [
            f"--header={prefix}{name}={ASKED_EXAMPLE[name]}"
            for name, prefix in zip(
                ("id", "source", "type", "specversion"),
                ("ce-", "cloudEvents:", "cloudEvents_", "ce-"),
                strict=True,
            )
        ],
    ],
    ids=["bare", "bare with a source", "binary"],
)
def test_data_alone_is_taken_with_what_amqp_would_carry_beside_it(arguments: list[str], file: Path) -> None:
    file.write_text(json.dumps(DATA))
    assert run_program(["schema", "check", str(file)]) == ExitCode.CHECK_FAILED
    assert run_program(["schema", "check", str(file), *arguments]) == ExitCode.OK


def test_bare_rating_is_taken_with_the_type_that_amqp_would_carry(file: Path) -> None:
    file.write_text(json.dumps({"question_id": "evt-1", "rating": "liked"}))
    arguments = ["schema", "check", str(file), "--message-id", "rating-1"]
    assert run_program(arguments) == ExitCode.CHECK_FAILED
    assert run_program([*arguments, "--type", "contact.answer.rated"]) == ExitCode.OK


def test_missing_property_is_told_with_the_option_that_gives_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps(DATA))
    assert run_program(["schema", "check", str(file)]) == ExitCode.CHECK_FAILED
    assert "give it with\n        --message-id" in capsys.readouterr().out


def test_header_without_a_value_is_a_usage_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", "check", str(file), "--header", "ce-id"]) == ExitCode.USAGE
    assert "NAME=VALUE" in capsys.readouterr().err


def test_file_that_is_not_there_is_told_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", "check", "/nowhere/event.json"]) == ExitCode.MACHINE
    err = capsys.readouterr().err
    assert "/nowhere/event.json" in err
    assert "Traceback" not in err


def test_file_without_an_end_is_read_to_the_limit_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", "check", "/dev/zero"]) == ExitCode.CHECK_FAILED
    assert "event_too_large" in capsys.readouterr().out


def test_check_needs_no_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKRELAY_CONCURRENCY", "none")
    assert run_program(["schema", "check", str(file)]) == ExitCode.OK


def test_asyncapi_document_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", "asyncapi"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == asyncapi_document()


@pytest.mark.parametrize("name", ["asked", "answered", "failed", "progress"])
def test_each_schema_is_printed_by_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", name]) == ExitCode.OK
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed["$id"] == f"urn:askrelay:schema:contact.question.{name}"


def test_schema_that_is_near_to_none_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", "zzz"]) == ExitCode.NOT_FOUND
    assert "There are: asked, rated, answered, failed, progress, asyncapi, check." in capsys.readouterr().err
