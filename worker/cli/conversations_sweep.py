"""``askrelay conversations sweep``: conversations that are there twice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.cli.api_calls import ask_api, moment_cell, one_line, project_id_of, settings_with_key
from worker.cli.conversations_read import TAG, AsJson, Project
from worker.cli.output import print_json, print_table
from worker.core.errors import ConversationGone

if TYPE_CHECKING:
    from worker.adapters.customgpt_admin import ConversationRow, CustomGptAdmin
    from worker.core.model import Conversation
    from worker.settings import Settings


#: goes: a worker deletes it. talking: it has messages, so it is kept. young: its create may be under way.
Fate = Literal["goes", "talking", "young"]


@dataclass(frozen=True, slots=True)
class Extra:
    """A conversation beside the one that the ledger uses for the same contact and thread."""

    row: ConversationRow
    #: The one in the ledger.
    used: Conversation
    messages: int
    fate: Fate


_FATES: dict[Fate, str] = {
    "goes": "goes",
    "talking": "kept: it has messages",
    "young": "kept: too young to tell",
}


def sweep(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what there is, and change nothing at all.")
    ] = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Show extra conversations, and let a worker delete those that were never used.

    An extra has the same tag as a conversation in the ledger and is not the one its questions go to: a create
    whose answer was lost, and came about later. A worker heals this by itself; without --dry-run this makes
    it look at once. The worker deletes, under its lease, and only what has no messages.

    Example: askrelay conversations sweep --dry-run
    """
    settings = settings_with_key()
    project_id = project_id_of(settings, project)
    extras = find_extras(settings, project_id)
    # A worker looks at all extras of a conversation, so those with a young one are left to themselves.
    due = {each.used.number for each in extras if each.fate == "goes"}
    due -= {each.used.number for each in extras if each.fate == "young"}
    if due and not dry_run:
        from worker.adapters.ledger.audit import Audit  # noqa: PLC0415 (slow)

        with Audit(settings.database_url) as audit:
            audit.heal_soon(sorted(due))
    if as_json:
        print_json(
            {
                "project_id": project_id,
                "is_dry_run": dry_run,
                "extras": [_as_json(each) for each in extras],
            }
        )
        return
    rows = [
        (
            each.row.session_id,
            moment_cell(each.row.created_at),
            str(each.messages),
            _FATES[each.fate],
            one_line(each.row.name),
        )
        for each in extras
    ]
    print_table(("SESSION", "CREATED", "MESSAGES", "FATE", "NAME"), rows)
    if due and dry_run:
        typer.echo("\nA worker deletes what goes by itself, sooner or later; without --dry-run at once.")
    elif due:
        typer.echo("\nA worker deletes what goes within seconds, as long as one runs.")
    elif not extras:
        typer.echo("\nThere are no extras.")


def find_extras(settings: Settings, project_id: int) -> list[Extra]:
    """Compare all conversations of the project with the ledger's; newest first."""
    from worker.adapters.ledger.audit import Audit  # noqa: PLC0415 (slow)
    from worker.core.conversations import tag_of  # noqa: PLC0415

    with Audit(settings.database_url) as audit:
        used = {tag_of(project_id, each): each for each in audit.saved(project_id)}

    async def look(api: CustomGptAdmin) -> list[Extra]:
        extras = []
        for row in await api.conversations(project_id):
            found = TAG.search(row.name)
            mine = used.get(found.group(1)) if found else None
            if mine is None or row.is_deleted or row.session_id == mine.session_id:
                continue
            if row.session_id in mine.forgotten_session_ids:
                continue
            try:
                stored = await api.messages(project_id, row.session_id)
            except ConversationGone:
                continue
            count = len(stored.messages)
            extras.append(Extra(row, mine, count, _fate_of(row, count, settings)))
        return extras

    return ask_api(settings, look)


def _fate_of(row: ConversationRow, messages: int, settings: Settings) -> Fate:
    """Say what becomes of an extra by the rule of PROTOCOL 4.5."""
    if messages:
        return "talking"
    settled_s = settings.send_grace_s + settings.request_timeout_s + settings.list_lag_s
    age_s = (
        None if row.created_at is None else time.time() - datetime.fromisoformat(row.created_at).timestamp()
    )
    return "young" if age_s is not None and age_s <= settled_s else "goes"


def _as_json(each: Extra) -> dict[str, Any]:
    return {
        "session_id": each.row.session_id,
        "conversation_id": each.row.conversation_id,
        "name": each.row.name,
        "created_at": each.row.created_at,
        "messages": each.messages,
        "fate": each.fate,
        "used_session_id": each.used.session_id,
        "used_conversation_id": each.used.conversation_id,
    }
