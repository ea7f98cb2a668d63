"""The command line as a user meets it."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from worker.adapters.logs import ContactHash
from worker.cli.app import COMMANDS, run_program
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_table
from worker.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.cli.lazy import Command

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's settings, and a state folder of the test's own."""
    names = {name for setting in SETTINGS for name in (*setting.names, *setting.file_names)}
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def every_command() -> Iterator[tuple[str, Any]]:
    """Yield each command with its full name, those inside groups too."""
    for command in COMMANDS:
        loaded = command.load()
        yield command.name, loaded
        for name, inner in getattr(loaded, "commands", {}).items():
            yield f"{command.name} {name}", inner


EVERY = list(every_command())


def test_help_lists_every_command_and_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert all(f"  {command.name}" in out for command in COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


def test_help_imports_no_command_and_no_heavy_library() -> None:
    script = (
        "import sys; from worker.cli.app import run_program; run_program(['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " {'pydantic', 'sqlalchemy', 'aiohttp', 'pika', 'dramatiq', 'structlog', 'rich', 'asyncio'}])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_command_is_listed_with_the_first_line_of_its_help(command: Command) -> None:
    assert inspect.cleandoc(command.load().help).splitlines()[0] == command.summary


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_command_has_help_with_an_example(
    name: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Example: " in command.help
    assert f"askrelay {name.partition(' ')[0]}" in command.help
    assert run_program([*name.split(), "--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "Example: " in out
    assert max(map(len, out.splitlines())) <= 80


def test_module_is_the_same_program_as_the_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "worker", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.startswith("Usage: askrelay ")


def test_version_names_the_program_and_the_ledger_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["--version"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.startswith(f"askrelay {metadata.version('askrelay')} (ledger revision ")


def test_mistyped_command_is_a_usage_error_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["setings"]) == ExitCode.USAGE
    assert "Did you mean 'settings'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("question", "show", "\udcff", "x"), ("question", "unblock", "x", "\udcff"), ("lookup", "\udcff")],
)
def test_argument_that_is_not_utf_8_is_a_usage_error(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(words) == ExitCode.USAGE
    assert capsys.readouterr().err == "askrelay: '\\udcff' is not UTF-8\n"


@pytest.mark.parametrize("words", [("conversations", "sweep", "--project"), ("project", "show")])
def test_number_that_no_ledger_holds_is_a_usage_error(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program([*words, "9" * 20]) == ExitCode.USAGE
    assert "9223372036854775807" in capsys.readouterr().err


def test_settings_are_shown_with_their_origin_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKRELAY_CONCURRENCY", "7")
    monkeypatch.setenv("CUSTOMGPT_API_KEY", "canary-key")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://user:canary-password@host/")
    assert run_program(["settings"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "canary" not in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["ASKRELAY_CONCURRENCY"] == ["7", "turns", "environment"]
    assert rows["CUSTOMGPT_API_KEY"] == ["***", "environment"]
    assert rows["RABBITMQ_URL"] == ["amqp://user:***@host/", "environment"]
    assert rows["ASKRELAY_LEASE_S"] == ["30", "seconds", "default"]


def test_settings_as_json_hold_value_unit_and_origin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("canary-key")
    monkeypatch.setenv("CUSTOMGPT_API_KEY_FILE", str(tmp_path / "key"))
    assert run_program(["settings", "--json"]) == ExitCode.OK
    out = capsys.readouterr().out
    told = json.loads(out)
    assert list(told) == [setting.name for setting in SETTINGS]
    assert told["ASKRELAY_LEASE_S"]["value"] == 30
    assert told["ASKRELAY_LEASE_S"]["unit"] == "seconds"
    assert told["CUSTOMGPT_API_KEY"]["value"] == "***"
    assert told["CUSTOMGPT_API_KEY"]["variable"] == "CUSTOMGPT_API_KEY_FILE"
    assert "canary" not in out


def test_wrong_setting_ends_with_its_own_exit_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKRELAY_CONCURENCY", "7")
    assert run_program(["settings"]) == ExitCode.SETTINGS
    err = capsys.readouterr().err
    assert err == "askrelay: ASKRELAY_CONCURENCY is not a setting: did you mean ASKRELAY_CONCURRENCY?\n"


def test_schema_prints_one_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["schema", "asked"]) == ExitCode.OK
    one = json.loads(capsys.readouterr().out)
    assert run_program(["schema"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["asked"] == one


def test_schema_that_is_not_there_is_not_found_and_the_nearest_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_program(["schema", "aksed"]) == ExitCode.NOT_FOUND
    assert "Did you mean asked?" in capsys.readouterr().err


def test_contact_hash_takes_the_key_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKRELAY_LOG_KEY", "0123456789abcdef")
    assert run_program(["contact-hash", "EXT_1"]) == ExitCode.OK
    assert capsys.readouterr().out.strip() == ContactHash("0123456789abcdef")("EXT_1")


def test_contact_hash_takes_the_key_of_the_ledger_and_makes_no_ledger_to_find_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["contact-hash", "EXT_1"]) == ExitCode.LEDGER
    assert not (tmp_path / "state").exists()
    assert run_program(["db", "upgrade"]) == ExitCode.OK
    capsys.readouterr()
    assert run_program(["contact-hash", "EXT_1"]) == ExitCode.OK
    first = capsys.readouterr().out
    assert run_program(["contact-hash", "EXT_1"]) == ExitCode.OK
    assert capsys.readouterr().out == first
    assert len(first.strip()) == 16


def test_db_upgrade_of_a_database_that_is_away_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:canary-password@127.0.0.1:1/askrelay")
    assert run_program(["db", "upgrade"]) == ExitCode.LEDGER
    err = capsys.readouterr().err
    assert "Look at DATABASE_URL" in err
    assert "canary" not in err
    assert "Traceback" not in err


def test_table_on_a_terminal_folds_into_80_columns_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(("SETTING", "VALUE", "FROM"), [("ASKRELAY_REQUESTS_PER_MINUTE", "v" * 100, "default")])
    out = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("v") == 100
    assert "ASKRELAY_REQUESTS_PER_MINUTE" in out


def test_table_in_a_pipe_keeps_a_row_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("one", "v" * 200), ("two", "")])
    assert capsys.readouterr().out.splitlines() == ["A    B", f"one  {'v' * 200}", "two"]
