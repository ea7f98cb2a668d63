"""``askrelay schema``: the published documents, and a check of an event against them."""

from __future__ import annotations

import difflib
from typing import Any

import typer
from typer.core import TyperGroup

from schemas import asyncapi_document, json_schema
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json
from worker.cli.schema_check import check


class _Documents(TyperGroup):
    """A group whose commands are the names of documents: one that is not there is not found, and says so."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command; the nearest name is told for one that there is not."""
        name = args[0]
        if name not in self.commands:
            near = difflib.get_close_matches(name, self.commands, n=1)
            advice = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(self.commands)}."
            typer.echo(f"askrelay: there is no schema called {name!r}. {advice}", err=True)
            raise typer.Exit(ExitCode.NOT_FOUND)
        return super().resolve_command(ctx, args)


schema = typer.Typer(cls=_Documents, invoke_without_command=True, add_completion=False, rich_markup_mode=None)


@schema.callback()
def _all(context: typer.Context) -> None:
    """Print the schemas of the events, or check an event.

    Without a name, one JSON object with the schema of every event.

    Example: askrelay schema asked
    """
    if context.invoked_subcommand is None:
        print_json(json_schema())


@schema.command()
def asked() -> None:
    """Print what to publish: a contact asked a question.

    Example: askrelay schema asked > asked.schema.json
    """
    print_json(json_schema()["asked"])


@schema.command()
def rated() -> None:
    """Print what to publish when a contact says whether an answer was of use.

    Example: askrelay schema rated > rated.schema.json
    """
    print_json(json_schema()["rated"])


@schema.command()
def answered() -> None:
    """Print what comes back when a question was answered.

    Example: askrelay schema answered > answered.schema.json
    """
    print_json(json_schema()["answered"])


@schema.command()
def failed() -> None:
    """Print what comes back when a question ended without an answer.

    Example: askrelay schema failed > failed.schema.json
    """
    print_json(json_schema()["failed"])


@schema.command()
def progress() -> None:
    """Print what comes while an answer is being written, with ASKRELAY_PROGRESS=true.

    Example: askrelay schema progress > progress.schema.json
    """
    print_json(json_schema()["progress"])


@schema.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document: exchange, queues, keys and messages.

    Example: askrelay schema asyncapi > asyncapi.json
    """
    print_json(asyncapi_document())


schema.command()(check)
