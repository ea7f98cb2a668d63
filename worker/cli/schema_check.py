"""``askrelay schema check``: what a worker would make of an event, told before it is sent."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas import MAX_EVENT_BYTES, CheckedEvent, RawEvent, check_event, meaning_of
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas import FieldProblem

#: Columns: of the text, and by which the explanation of a field stands further in.
_WIDTH, _INDENT = 80, 4

#: What is missing when only the body was given: the file has no AMQP properties.
_PROPERTIES = {
    "message_id": "The AMQP property that identifies a bare JSON object; give it with --message-id.",
    "app_id": "The AMQP property that stands for the source; give it with --app-id.",
}


def check(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The message's body; - reads it from stdin.", show_default=False),
    ],
    *,
    content_type: Annotated[
        str | None, typer.Option(help="The message's content type.", show_default=False)
    ] = None,
    message_id: Annotated[
        str | None,
        typer.Option(help="The message_id property, the id of a bare JSON object.", show_default=False),
    ] = None,
    app_id: Annotated[
        str | None,
        typer.Option(help="The app_id property, the source of a bare JSON object.", show_default=False),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type", help="The type property; bare JSON with a rating needs it.", show_default=False
        ),
    ] = None,
    content_encoding: Annotated[
        str | None, typer.Option(help="The content_encoding property.", show_default=False)
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="A header, as ce-id=evt-1; may be given again.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what is wrong with an event, field by field.

    Reads it as a worker does, and needs no broker and no settings. Notes name what would be taken but is
    probably a mistake, such as a misspelt field. What the event says is never repeated. Exits with 10 when a
    worker would reject it.

    Example: askrelay schema check event.json
    """
    body = _body(file)
    checked = check_event(
        RawEvent(
            body,
            content_type=content_type,
            message_id=message_id,
            app_id=app_id,
            type=type_,
            content_encoding=content_encoding,
            headers=_headers(header or ()),
        )
    )
    if as_json:
        print_json(_as_json(checked))
    else:
        typer.echo(_as_text(checked))
    if checked.reason is not None:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _body(file: str) -> bytes:
    """Read one byte more than is allowed at most: what is too large is told by that, whatever its size."""
    if file == "-":
        return sys.stdin.buffer.read(MAX_EVENT_BYTES + 1)
    with Path(file).open("rb") as opened:
        return opened.read(MAX_EVENT_BYTES + 1)


def _headers(given: Iterable[str]) -> dict[str, str]:
    headers = {}
    for each in given:
        name, is_pair, value = each.partition("=")
        if not is_pair:
            raise typer.BadParameter("must be NAME=VALUE", param_hint="--header")
        headers[name] = value
    return headers


def _as_json(checked: CheckedEvent) -> dict[str, object]:
    return {
        "is_taken": checked.reason is None,
        "reason": checked.reason,
        "problems": [{**_pair(each), "meaning": _meaning(each.field)} for each in checked.problems],
        "notes": [_pair(each) for each in checked.notes],
        "source": checked.source,
        "event_id": checked.event_id,
        "reply_id": checked.reply_id,
    }


def _pair(each: FieldProblem) -> dict[str, str | None]:
    return {"field": each.field or None, "problem": each.problem}


def _as_text(checked: CheckedEvent) -> str:
    if checked.reason is None and checked.reply_id is None:
        lines = ["OK: a worker would take this rating, if the question has an answer."]
    elif checked.reason is None:
        lines = ["OK: a worker would take this question.", f"  its reply will have the id {checked.reply_id}"]
    else:
        lines = [f"REJECTED: a worker would put this event aside as {checked.reason}."]
    for each in checked.problems:
        lines += _folded(f"{each.field} {each.problem}".strip(), 2)
        lines += _folded(_meaning(each.field) or "", 2 + _INDENT)
    if checked.notes:
        lines.append("Worth a look:")
    for each in checked.notes:
        lines += _folded(f"{each.field} {each.problem}", 2)
    return "\n".join(lines)


def _meaning(field: str) -> str | None:
    return _PROPERTIES.get(field) or meaning_of(field)


def _folded(text: str, indent: int) -> list[str]:
    blanks = " " * indent
    return textwrap.wrap(
        text.replace("``", ""), _WIDTH, initial_indent=blanks, subsequent_indent=blanks + "  "
    )
