"""``askrelay conversations``: what the API has, seen by a person."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from worker.cli.api_calls import ask_api, moment_cell, one_line, project_id_of, settings_with_key
from worker.cli.conversations_change import delete, rename
from worker.cli.conversations_read import (
    AsJson,
    Project,
    Session,
    is_named_for,
    message_json,
    named_for,
    read_conversation,
    user_of_session,
    why_unavailable,
)
from worker.cli.conversations_sweep import sweep
from worker.cli.output import print_json, print_table
from worker.core.errors import LedgerUnavailable
from worker.core.model import external_id_of
from worker.settings import Settings

conversations = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

#: Characters of a question or answer in a table on a terminal or in a pipe; --json has all of them.
_CELL_CHARS = 60


class User(StrEnum):
    """Who made a conversation, as the API tells it apart."""

    ALL = "all"
    ANONYMOUS = "anonymous"
    TEAM_MEMBER = "team_member"
    ME = "me"


@conversations.callback()
def _group() -> None:
    """List, read, rename and delete conversations at the API.

    Example: askrelay conversations list --external-id EXT_12345
    """


@conversations.command(name="list")
def list_(
    *,
    name: Annotated[
        str | None, typer.Option(help="Only those whose name has this part, in any case.")
    ] = None,
    external_id: Annotated[
        str | None, typer.Option("--external-id", help="Only those named for this contact.")
    ] = None,
    user: Annotated[User, typer.Option(help="Only those made by such a user.")] = User.ALL,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """List conversations, newest first, all pages.

    The API has no filter by external_id, so a contact's conversations are found by their name: the worker's
    (crm:ID #tag), and those named as in the CRM guide (crm:ID, crm:ID - anything).

    Example: askrelay conversations list --name crm: --user all --json
    """
    settings = settings_with_key()
    project_id = project_id_of(settings, project)
    part = name if external_id is None else named_for(external_id)
    found = ask_api(settings, lambda api: api.conversations(project_id, name_part=part, user=user.value))
    # What the API's own filter does is not documented: what it lets through is looked at again.
    if name is not None:
        found = [row for row in found if name.casefold() in row.name.casefold()]
    if external_id is not None:
        found = [row for row in found if is_named_for(row.name, external_id)]
    if as_json:
        print_json({"project_id": project_id, "conversations": [asdict(row) for row in found]})
        return
    rows = [
        (
            row.session_id,
            "-" if row.conversation_id is None else str(row.conversation_id),
            moment_cell(row.created_at),
            one_line(row.name) + (" (deleted)" if row.is_deleted else ""),
        )
        for row in found
    ]
    print_table(("SESSION", "ID", "CREATED", "NAME"), rows)


@conversations.command()
def show(session_id: Session, *, project: Project = None, as_json: AsJson = False) -> None:
    """Show one conversation, and what the ledger uses it for.

    Exits with 7 when the project has no conversation with this session.

    Example: askrelay conversations show f1b9aaf0-5e4e-11eb-ae93-0242ac130002
    """
    settings = settings_with_key()
    project_id = project_id_of(settings, project)
    stored = read_conversation(settings, project_id, session_id)
    row, messages = stored.conversation, stored.messages
    facts: dict[str, Any] = {
        "project_id": project_id,
        "session_id": session_id,
        "conversation_id": None if row is None else row.conversation_id,
        "name": None if row is None else row.name,
        "created_at": None if row is None else row.created_at,
        "updated_at": None if row is None else row.updated_at,
        "created_by": None if row is None else row.created_by,
        "messages": len(messages),
        "last_message_at": messages[0].created_at if messages else None,
        "external_ids": sorted({each.external_id for each in messages if each.external_id is not None}),
        "ledger": _use(settings, session_id),
    }
    if as_json:
        print_json(facts)
        return
    for label, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{label:<16} {'-' if shown in (None, '') else one_line(str(shown))}")


@conversations.command()
def messages(
    session_id: Session,
    *,
    external_id: Annotated[
        str | None, typer.Option("--external-id", help="Only those tagged with this external_id.")
    ] = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """List a conversation's messages with their external_id, oldest first, all pages.

    Prints what contacts wrote and what they were answered. Exits with 7 when the project has no conversation
    with this session.

    Example: askrelay conversations messages f1b9aaf0-5e4e-11eb-ae93-0242ac130002 --json
    """
    settings = settings_with_key()
    project_id = project_id_of(settings, project)
    stored = read_conversation(settings, project_id, session_id)
    found = list(reversed(stored.messages))
    if external_id is not None:
        found = [each for each in found if each.external_id == external_id_of(external_id)]
    if as_json:
        conversation = None if stored.conversation is None else asdict(stored.conversation)
        print_json(
            {
                "project_id": project_id,
                "conversation": conversation,
                "messages": [message_json(each) for each in found],
            }
        )
        return
    rows = [
        (
            str(each.message_id),
            moment_cell(each.created_at),
            one_line(each.external_id) or "-",
            one_line(each.question, at_most=_CELL_CHARS),
            "-" if each.answer is None else one_line(each.answer, at_most=_CELL_CHARS),
        )
        for each in found
    ]
    print_table(("ID", "AT", "EXTERNAL_ID", "QUESTION", "ANSWER"), rows)


def _use(settings: Settings, session_id: str) -> str:
    """Say what the ledger uses a session for; a ledger that is away is no reason to show nothing."""
    try:
        user = user_of_session(settings, session_id)
    except LedgerUnavailable as error:
        return f"not known: {why_unavailable(error)}"
    if user is None:
        return "no conversation uses it"
    thread = "" if user.thread_id is None else f", thread {user.thread_id}"
    return f"used for contact {user.contact_id}{thread}"


conversations.command()(rename)
conversations.command()(delete)
conversations.command()(sweep)
