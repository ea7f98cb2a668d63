"""Whatever a command raises becomes a message with what to do, and an exit code."""

from __future__ import annotations

import errno
import socket
import sqlite3
from pathlib import Path

import psycopg
import pytest
from pika import exceptions as amqp
from sqlalchemy import exc as sql

from worker.cli import exit_codes
from worker.cli.errors import explain
from worker.cli.exit_codes import ExitCode
from worker.core import errors

CANARY = "canary-question"


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


DISK_FULL = sqlite3.OperationalError("database or disk is full")
NO_TABLE = sqlite3.OperationalError("no such table: question")
REFUSED = psycopg.OperationalError("connection failed: Connection refused\n\tIs the server running?")
ROW = psycopg.errors.UniqueViolation(f"duplicate key ({CANARY})")

CASES = [
    (errors.SettingsError("ASKRELAY_X is not a setting"), ExitCode.SETTINGS, "ASKRELAY_X"),
    (errors.LedgerUnavailable(), ExitCode.LEDGER, "DATABASE_URL"),
    (errors.CredentialsRejected(), ExitCode.API, "CUSTOMGPT_API_KEY"),
    (errors.ProjectNotFound(), ExitCode.API, "CUSTOMGPT_PROJECT_ID"),
    (errors.Unreachable(), ExitCode.API, "CUSTOMGPT_API_URL"),
    (errors.ReplyUnroutable(), ExitCode.BROKER, "RABBITMQ_URL"),
    (errors.InvalidQuestion("contact_id is empty"), ExitCode.USAGE, "contact_id is empty"),
    (errors.AttemptsExhausted(), ExitCode.FAILED_REPLY, "attempts_exhausted"),
    (amqp.ProbableAuthenticationError("x"), ExitCode.BROKER, "user or the password"),
    (
        amqp.AMQPConnectionError(amqp.ProbableAuthenticationError("x")),
        ExitCode.BROKER,
        "user or the password",
    ),
    (amqp.ProbableAccessDeniedError("x"), ExitCode.BROKER, "vhost"),
    (amqp.ChannelClosedByBroker(406, "inequivalent arg 'type'"), ExitCode.BROKER, "inequivalent arg"),
    (amqp.ChannelClosedByBroker(403, "access refused"), ExitCode.BROKER, "ASKRELAY_DECLARE=false"),
    (amqp.ChannelClosedByBroker(404, "no exchange 'x'"), ExitCode.BROKER, "no exchange 'x'"),
    (amqp.ConnectionBlockedTimeout("x"), ExitCode.BROKER, "alarm for memory or disk"),
    (amqp.AMQPConnectionError(), ExitCode.BROKER, "whether the broker is up"),
    (sql.OperationalError("select 1", {"q": CANARY}, NO_TABLE), ExitCode.LEDGER, "askrelay db upgrade"),
    (sql.OperationalError("select 1", {"q": CANARY}, DISK_FULL), ExitCode.LEDGER, "Make room"),
    (sql.OperationalError("select 1", {"q": CANARY}, REFUSED), ExitCode.LEDGER, "Connection refused"),
    (sql.IntegrityError("select 1", {"q": CANARY}, ROW), ExitCode.LEDGER, "UniqueViolation"),
    (caused(errors.LedgerUnavailable(), sql.OperationalError("", {}, REFUSED)), ExitCode.LEDGER, "refused"),
    (OSError(errno.EADDRINUSE, "in use"), ExitCode.MACHINE, "ASKRELAY_HEALTH_PORT"),
    (OSError(errno.ENOSPC, "No space"), ExitCode.MACHINE, "Make room"),
    (OSError(errno.EADDRNOTAVAIL, "x"), ExitCode.MACHINE, "ASKRELAY_HEALTH_HOST"),
    (PermissionError(errno.EACCES, "denied", "/etc/x"), ExitCode.MACHINE, "/etc/x"),
    (FileNotFoundError(errno.ENOENT, "No such file", "q.csv"), ExitCode.MACHINE, "q.csv"),
    (socket.gaierror(-2, "Name or service not known"), ExitCode.MACHINE, "host name"),
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ExitCode.MACHINE, "listens there"),
    (ExceptionGroup("group", [OSError(errno.EADDRINUSE, "x")]), ExitCode.MACHINE, "port is taken"),
    (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted"),
    (KeyError(CANARY), ExitCode.BUG, "this is a bug: KeyError"),
]


@pytest.mark.parametrize(("error", "code", "says"), CASES, ids=[repr(case[0])[:50] for case in CASES])
def test_error_is_explained_with_an_exit_code(error: BaseException, code: ExitCode, says: str) -> None:
    problem = explain(error)
    assert problem.exit_code == code
    assert says in problem.text
    assert problem.text.startswith("askrelay: ")
    assert CANARY not in problem.text


def test_several_wrong_settings_stand_one_per_line() -> None:
    text = explain(errors.SettingsError("A is wrong\nB is wrong")).text
    assert text == "askrelay: 2 settings cannot be used:\n  A is wrong\n  B is wrong\n"


def test_bug_shows_where_it_happened_without_its_message() -> None:
    try:
        int(CANARY)
    except ValueError as error:
        text = explain(error).text
    assert "test_cli_errors.py" in text
    assert "Please report" in text
    assert CANARY not in text


def test_every_error_of_the_tree_is_explained_and_none_as_a_bug() -> None:
    def leaves(kind: type[errors.AskrelayError]) -> list[type[errors.AskrelayError]]:
        return [leaf for sub in kind.__subclasses__() for leaf in (leaves(sub) or [sub])]

    for leaf in leaves(errors.AskrelayError):
        error = leaf.__new__(leaf)  # some take more than a detail
        errors.AskrelayError.__init__(error)
        assert explain(error).exit_code != ExitCode.BUG, leaf


def test_every_command_that_checks_is_named_by_the_exit_code_of_a_check() -> None:
    folder = Path(exit_codes.__file__).parent
    # How it is made, and a program that is no command.
    besides = {"exit_codes", "reference"}
    modules = [path for path in folder.glob("*.py") if path.stem not in besides]
    checks = {
        path.stem.partition("_")[0]
        for path in modules
        if "ExitCode.CHECK_FAILED" in path.read_text(encoding="utf-8")
    }
    assert {"doctor", "health"} <= checks
    assert sorted(name for name in checks if name not in ExitCode.CHECK_FAILED.meaning) == []


def test_exit_codes_have_a_sentence_each() -> None:
    assert all(code.meaning.endswith(".") for code in ExitCode)
    assert len({code.value for code in ExitCode}) == len(ExitCode)
