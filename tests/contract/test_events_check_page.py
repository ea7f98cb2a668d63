"""docs/how-to/check-an-event.md shows what really happens."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from schemas import AskedQuestion, RawEvent, decode_event
from schemas.examples import ANSWERED_EXAMPLE, ASKED_EXAMPLE
from worker.cli.app import run_program
from worker.cli.exit_codes import ExitCode

PAGE = (Path(__file__).parents[2] / "docs/how-to/check-an-event.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def block_with(language: str, words: str) -> str:
    (found,) = [each for each in blocks(language) if words in each]
    return found


@pytest.fixture(autouse=True)
def in_a_folder_with_the_files_the_page_speaks_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.json").write_text(json.dumps(ASKED_EXAMPLE["data"]))


@pytest.mark.parametrize(
    ("words", "data", "code"),
    [
        ("OK:", ASKED_EXAMPLE["data"], ExitCode.OK),
        ("REJECTED:", {"contactId": "EXT_12345", "question": "Why?"}, ExitCode.CHECK_FAILED),
    ],
)
def test_output_on_the_page_is_what_the_command_prints(
    words: str, data: Any, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("event.json").write_text(json.dumps({**ASKED_EXAMPLE, "data": data}))
    command, _, shown = block_with("console", words).partition("\n")
    assert run_program(shlex.split(command.removeprefix("$ askrelay "))) == code
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("words", ["--message-id", "--header"])
def test_command_for_a_body_without_its_event_succeeds(words: str) -> None:
    command = block_with("sh", words).replace("\\\n", "").removeprefix("askrelay ")
    assert run_program(shlex.split(command)) == ExitCode.OK


def test_python_check_on_the_page_runs() -> None:
    exec(block_with("python", "check_event"), {"body": json.dumps(ASKED_EXAMPLE).encode()})


def test_sdk_on_the_page_publishes_what_is_decoded_and_reads_a_reply(
    capsys: pytest.CaptureFixture[str],
) -> None:
    published: list[Any] = []

    class Channel:
        def basic_publish(self, *arguments: Any, **_: Any) -> None:
            published.append(arguments)

    names: dict[str, Any] = {"channel": Channel()}
    exec(block_with("python", "basic_publish"), names)
    ((exchange, key, body, properties),) = published
    assert (exchange, key) == ("crm.events", "contact.question.asked")
    raw = RawEvent(body, properties.content_type, headers=properties.headers)
    assert isinstance(decode_event(raw), AskedQuestion)
    names["properties"].headers = None
    exec(
        block_with("python", "from_rabbitmq_event"), {**names, "body": json.dumps(ANSWERED_EXAMPLE).encode()}
    )
    assert (
        capsys.readouterr().out.strip() == f"{ANSWERED_EXAMPLE['type']} {ANSWERED_EXAMPLE['data']['answer']}"
    )
