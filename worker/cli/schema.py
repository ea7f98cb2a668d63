"""``askrelay schema``."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from schemas import json_schema
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json


def schema(
    name: Annotated[
        str | None, typer.Argument(help="One event: asked, answered or failed.", show_default=False)
    ] = None,
) -> None:
    """Print the JSON Schema of the events.

    Without a name, one JSON object with the schema of every event.

    Example: askrelay schema asked
    """
    documents = json_schema()
    if name is None:
        print_json(documents)
        return
    if name not in documents:
        near = difflib.get_close_matches(name, documents, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(documents)}."
        typer.echo(f"askrelay: there is no event called {name!r}. {advice}", err=True)
        raise typer.Exit(ExitCode.NOT_FOUND)
    print_json(documents[name])
