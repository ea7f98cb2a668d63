"""Turns whatever a command raises into a message that says what to do, and an exit code.

A traceback is printed for a bug only, and never with messages or locals of foreign exceptions: they may hold
a question, an answer or a password.
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.cli.exit_codes import ExitCode
from worker.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Frames of a bug's traceback: enough to find the place, few enough to read.
FRAMES = 8

_LOOK_AT_API = "Look at CUSTOMGPT_API_URL and the network; `askrelay doctor` tells more."
_LOOK_AT_KEY = "Look at CUSTOMGPT_API_KEY and CUSTOMGPT_PROJECT_ID."
_LOOK_AT_MIRROR = "Look at INKEEP_API_KEY and INKEEP_API_URL; `askrelay status` tells more."
_LOOK_AT_LEDGER = "Look at DATABASE_URL, and whether the database is up; `askrelay doctor` tells more."
_LOOK_AT_BROKER = "Look at RABBITMQ_URL, and whether the broker is up; `askrelay doctor` tells more."

#: The first line that fits decides, so leaves stand before the classes above them.
_OURS: tuple[tuple[type[errors.AskrelayError], ExitCode, str], ...] = (
    (errors.LedgerOutdated, ExitCode.LEDGER, ""),
    (errors.LedgerError, ExitCode.LEDGER, _LOOK_AT_LEDGER),
    (errors.CredentialsRejected, ExitCode.API, _LOOK_AT_KEY),
    (errors.ProjectNotFound, ExitCode.API, _LOOK_AT_KEY),
    (errors.AssistantError, ExitCode.API, _LOOK_AT_API),
    (errors.MirrorError, ExitCode.API, _LOOK_AT_MIRROR),
    (errors.ReplyError, ExitCode.BROKER, _LOOK_AT_BROKER),
    (errors.DoorbellError, ExitCode.BROKER, _LOOK_AT_BROKER),
    (errors.EventError, ExitCode.USAGE, ""),
    (errors.TurnError, ExitCode.FAILED_REPLY, ""),
    (errors.AskrelayError, ExitCode.BUG, ""),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What to print on stderr, and the exit code."""

    exit_code: ExitCode
    #: What is wrong, in one line or several.
    message: str
    #: What to do about it; empty when the message says so.
    advice: str = ""

    @property
    def text(self) -> str:
        """The lines to print."""
        first, *rest = self.message.splitlines() or [""]
        lines = [f"askrelay: {first}", *rest, *([f"  {self.advice}"] if self.advice else [])]
        return "\n".join(lines) + "\n"


def explain(error: BaseException) -> Problem:
    """Return the message and the exit code for an exception, looking into groups and causes."""
    candidates = list(_related(error))
    for candidate in candidates:
        if problem := _known(candidate):
            return problem
    return _bug(error)


def _related(error: BaseException, depth: int = 4) -> Iterator[BaseException]:
    """Yield the exception, then members of a group, then its cause."""
    yield error
    if depth == 0:
        return
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _related(member, depth - 1)
    if error.__cause__ is not None:
        yield from _related(error.__cause__, depth - 1)


def _known(error: BaseException) -> Problem | None:
    if isinstance(error, errors.AskrelayError):
        return _ours(error)
    if isinstance(error, KeyboardInterrupt):
        return Problem(ExitCode.INTERRUPTED, "interrupted")
    # Libraries are told apart by name, because importing them to compare classes would cost every start.
    match _library(error):
        case "pika":
            return _broker(error)
        case "sqlalchemy" | "psycopg" | "sqlite3":
            return _ledger(error)
        case "aiohttp":
            return Problem(ExitCode.API, f"the API cannot be reached ({type(error).__name__})", _LOOK_AT_API)
        case _:
            return _machine(error) if isinstance(error, OSError) else None


def _ours(error: errors.AskrelayError) -> Problem:
    if isinstance(error, errors.SettingsError):
        return _settings(error)
    if not error.detail and error.__cause__ and (cause := _known(error.__cause__)):
        return cause  # ours says what failed, the cause says why
    exit_code, advice = next(row[1:] for row in _OURS if isinstance(error, row[0]))
    return Problem(exit_code, f"{_sentence(error)} ({error.code})", advice)


def _settings(error: errors.SettingsError) -> Problem:
    lines = error.detail.splitlines()
    if len(lines) > 1:
        head = f"{len(lines)} settings cannot be used:"
        return Problem(ExitCode.SETTINGS, "\n".join([head, *(f"  {line}" for line in lines)]))
    return Problem(ExitCode.SETTINGS, _sentence(error))


def _sentence(error: errors.AskrelayError) -> str:
    return error.detail or str(error)


def _broker(error: BaseException) -> Problem:
    """Say what RabbitMQ did; its reply texts name queues and users, never contents."""
    reply_code, reply_text = getattr(error, "reply_code", None), getattr(error, "reply_text", "")
    names = {type(part).__name__ for part in _related(error)} | set(_names_inside(error))
    if "ProbableAuthenticationError" in names or "AuthenticationError" in names:
        message, advice = "RabbitMQ refuses the user or the password", "Look at RABBITMQ_URL."
    elif "ProbableAccessDeniedError" in names:
        message, advice = "RabbitMQ knows no such vhost, or it is not for this user", "Look at RABBITMQ_URL."
    elif "ConnectionBlockedTimeout" in names:
        message = "RabbitMQ takes no messages now: its alarm for memory or disk is on"
        advice = (
            "Make room there; `rabbitmqctl status` shows the alarm. What waits may be taken once it is over."
        )
    elif reply_code == 406:
        message = f"RabbitMQ has it with other properties: {reply_text}"
        advice = "Delete it there, or name another one in the settings; `askrelay doctor` tells more."
    elif reply_code == 403:
        message = f"RabbitMQ does not permit it: {reply_text}"
        advice = "Give the user the permission, or set ASKRELAY_DECLARE=false when operators declare."
    elif reply_code in {404, 530}:
        message = f"RabbitMQ does not have it: {reply_text}"
        advice = "Declare it, set ASKRELAY_DECLARE=true, or look at RABBITMQ_URL for a wrong vhost."
    else:
        message = f"RabbitMQ cannot be reached ({type(error).__name__})"
        advice = _LOOK_AT_BROKER
    return Problem(ExitCode.BROKER, message, advice)


def _names_inside(error: BaseException) -> Iterator[str]:
    """Yield the classes of exceptions that pika hands over as arguments of another."""
    for argument in error.args:
        if isinstance(argument, BaseException):
            yield type(argument).__name__
            yield from (type(inner).__name__ for inner in getattr(argument, "exceptions", ()))


def _ledger(error: BaseException) -> Problem:
    """Say what the database did; text is shown for operational errors only, others repeat parameters."""
    origin = getattr(error, "orig", None) or error
    name = type(origin).__name__
    text = ""
    if name == "OperationalError":
        text = ": " + (str(origin).splitlines() or [""])[0].strip()
    if name == "UndefinedTable" or "no such table" in text:
        return Problem(ExitCode.LEDGER, "the ledger has no tables yet", "Run: askrelay db upgrade")
    if "disk" in text and "full" in text:
        return Problem(ExitCode.LEDGER, f"the ledger's disk is full{text}", "Make room, then start again.")
    if "disk I/O error" in text:
        message = f"the ledger's disk does not take what is written{text}"
        return Problem(ExitCode.LEDGER, message, "Look whether it is full, over a quota or broken.")
    return Problem(ExitCode.LEDGER, f"the ledger cannot be used ({name}){text}", _LOOK_AT_LEDGER)


def _machine(error: OSError) -> Problem:
    where = f": {error.filename}" if error.filename else ""
    match error:
        case OSError(errno=errno.EADDRINUSE):
            message, advice = "the port is taken", "Choose another: ASKRELAY_HEALTH_PORT, or --port."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            message, advice = f"the disk is full{where}", "Make room, then start again."
        case OSError(errno=errno.EADDRNOTAVAIL):
            message, advice = (
                "this machine does not have that address",
                "Look at ASKRELAY_HEALTH_HOST, or --host.",
            )
        case PermissionError():
            message, advice = (
                f"no permission{where}",
                "Give this user the right to it, or name another place.",
            )
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
            message, advice = f"{error.strerror}{where}", "Look at how the path is spelt."
        case socket.gaierror():
            message, advice = "a host name is not known here", "Look at the host in the address."
        case ssl.SSLCertVerificationError():
            message = f"the certificate is not to be trusted: {error.verify_message}"
            advice = "For an authority of your own, set RABBITMQ_CA_FILE."
        case ConnectionError() | TimeoutError():
            message = f"the other side cannot be reached ({type(error).__name__})"
            advice = "Look at the address, and whether something listens there."
        case _:
            message = f"the system says: {error.strerror or type(error).__name__}{where}"
            advice = "`askrelay doctor` may tell more."
    return Problem(ExitCode.MACHINE, message, advice)


def _bug(error: BaseException) -> Problem:
    from worker.adapters.logs.exceptions import frames, type_name  # noqa: PLC0415 (only a bug needs it)

    lines = [
        f"this is a bug: {type_name(error)}",
        *(f"  {frame}" for frame in frames(error.__traceback__)[-FRAMES:]),
    ]
    return Problem(
        ExitCode.BUG, "\n".join(lines), "Please report it with these lines and `askrelay --version`."
    )


def _library(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
