"""The program: its commands and what they have in common."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.exit_codes import ExitCode
from worker.cli.lazy import Command, LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "askrelay"

#: In the order of `askrelay --help`. To add a command, add a line.
COMMANDS = (
    Command("run", "worker.cli.run", "run", "Run a worker until it is told to stop (SIGTERM or Ctrl-C)."),
    Command(
        "demo",
        "worker.cli.demo",
        "demo",
        "Watch workers answer while requests fail and one is killed.",
    ),
    Command("ask", "worker.cli.ask", "ask", "Ask one question through the broker and print its answer."),
    Command(
        "doctor",
        "worker.cli.doctor",
        "doctor",
        "Check everything a worker needs, and say what to do.",
    ),
    Command("status", "worker.cli.status", "status", "Show what waits, what failed and who works."),
    Command(
        "health",
        "worker.cli.health",
        "health",
        "Ask the worker on this host whether it is alive, or ready.",
    ),
    Command(
        "question",
        "worker.cli.question",
        "question",
        "Look at single questions, or let a conversation go on.",
    ),
    Command(
        "lookup",
        "worker.cli.lookup",
        "lookup",
        "Look a contact up in ledger and API: do they agree?",
    ),
    Command(
        "conversations",
        "worker.cli.conversations",
        "conversations",
        "List, read, rename and delete conversations at the API.",
    ),
    Command(
        "project",
        "worker.cli.project",
        "project",
        "Create and look at projects: the agents that answer.",
    ),
    Command("settings", "worker.cli.settings", "settings", "Show every setting with its value and origin."),
    Command("db", "worker.cli.db", "db", "Bring the ledger's tables up to date."),
    Command(
        "sandbox",
        "worker.cli.sandbox",
        "sandbox",
        "Serve a faithful local CustomGPT and print its URL.",
    ),
    Command(
        "schema",
        "worker.cli.schema",
        "schema",
        "Print the schemas of the events, or check an event.",
    ),
    Command(
        "contact-hash",
        "worker.cli.contact_hash",
        "contact_hash",
        "Print the hash that logs show for a contact.",
    ),
)


def version_text() -> str:
    """Return the program's version and the ledger revision it was written for."""
    from worker.adapters.ledger import latest_revision  # noqa: PLC0415 (slow, and only --version needs it)

    return f"{PROGRAM} {metadata.version(PROGRAM)} (ledger revision {latest_revision()})"


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(version_text())
        raise typer.Exit


def _program(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version and the ledger's revision, and exit.",
        ),
    ] = False,
) -> None:
    """Answers the questions of CRM contacts with a CustomGPT agent.

    Takes questions from RabbitMQ, keeps one conversation per contact, posts each question once and publishes
    the answer. Settings come from the environment: `askrelay settings` lists them.

    Example: askrelay settings --json
    """


def _is_text(word: str) -> bool:
    """Tell whether it is text: what the system could not decode comes as lone surrogates."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def command_line() -> Any:
    """Return typer's command for the whole program."""
    # Plain help: it is quicker, and the same on a terminal, in a pipe and on paper.
    app = typer.Typer(name=PROGRAM, cls=LazyGroup.of(COMMANDS), rich_markup_mode=None, no_args_is_help=True)
    app.callback()(_program)
    return typer.main.get_command(app)


def run_program(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; whatever it raises becomes a message on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    if strange := next((word for word in words if not _is_text(word)), None):
        # Neither a database nor the API could be asked for it, nor could it be printed.
        sys.stderr.write(f"{PROGRAM}: {strange!a} is not UTF-8\n")
        return ExitCode.USAGE
    try:
        command_line().main(args=words, prog_name=PROGRAM)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:  # noqa: BLE001 (the last place that can turn it into a message)
        from worker.cli.errors import explain  # noqa: PLC0415 (only a failure needs it)

        problem = explain(error)
        sys.stderr.write(problem.text)
        return problem.exit_code
    return 0
