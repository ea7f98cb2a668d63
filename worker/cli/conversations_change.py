"""``askrelay conversations rename`` and ``delete``: what changes something at the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.api_calls import confirm, counted, end, one_line, project_id_of, settings_with_key
from worker.cli.conversations_read import (
    TAG,
    AsJson,
    Project,
    Session,
    Yes,
    adopter_of,
    at_session,
    read_conversation,
    user_of_session,
    why_unavailable,
)
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json
from worker.core.errors import LedgerUnavailable

if TYPE_CHECKING:
    from worker.adapters.customgpt_admin import ConversationRow, CustomGptAdmin
    from worker.settings import Settings

#: As documented by the API, in characters.
NAME_CHARS = 255


def rename(
    session_id: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name, at most 255 characters.")],
    *,
    project: Project = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a conversation another name.

    A worker finds a conversation it lost from its ledger by the tag that its name ends in; the question says
    so when the tag would go. Exits with 7 when the project has no conversation with this session.

    Example: askrelay conversations rename f1b9aaf0-5e4e-11eb-ae93-0242ac130002 "Old tests" --yes
    """
    if not name.strip() or len(name) > NAME_CHARS:
        raise typer.BadParameter(f"must have 1 to {NAME_CHARS} characters", param_hint="NAME")
    settings = settings_with_key()
    project_id = project_id_of(settings, project)
    before = read_conversation(settings, project_id, session_id).conversation
    old = "" if before is None else before.name
    lost = _tag_in(old) is not None and _tag_in(old) != _tag_in(name)
    warning = " Its tag goes: a worker that lost its ledger would make another conversation." if lost else ""
    confirm(f"Rename {one_line(old)!r} to {one_line(name)!r}?{warning}", is_sure=yes)
    renamed = at_session(
        settings, project_id, session_id, lambda api: api.rename_conversation(project_id, session_id, name)
    )
    if as_json:
        print_json({"project_id": project_id, "conversation": asdict(renamed)})
    else:
        typer.echo(f"conversation {renamed.session_id} is called {one_line(renamed.name)!r} now")


def delete(
    session_id: Session,
    *,
    project: Project = None,
    yes: Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete it even though the ledger uses it, or cannot be asked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a conversation with all its messages, for good.

    Refuses with 10 when a contact's questions go to it now, and with 5 when the ledger cannot say so. Exits
    with 7 when the project has no conversation with this session.

    Example: askrelay conversations delete f1b9aaf0-5e4e-11eb-ae93-0242ac130002 --yes
    """
    settings = settings_with_key()
    project_id = project_id_of(settings, project)
    stored = read_conversation(settings, project_id, session_id)
    if not force:
        _refuse_if_used(settings, session_id, stored.conversation)
    name = "" if stored.conversation is None else stored.conversation.name
    many = counted(len(stored.messages), "message") if stored.messages else "no messages"
    confirm(f"Delete {one_line(name)!r} with {many}, for good?", is_sure=yes)

    async def delete_it(api: CustomGptAdmin) -> bool:
        await api.delete_conversation(project_id, session_id)
        return True

    at_session(settings, project_id, session_id, delete_it)
    if as_json:
        print_json({"project_id": project_id, "session_id": session_id, "deleted": True})
    else:
        typer.echo(f"conversation {session_id} is deleted, with {many}")


def _refuse_if_used(settings: Settings, session_id: str, row: ConversationRow | None) -> None:
    try:
        user = user_of_session(settings, session_id)
        adopter = adopter_of(settings, row) if user is None and row is not None else None
    except LedgerUnavailable as error:
        end(
            ExitCode.LEDGER,
            f"the ledger cannot say whether a contact's questions go there: {why_unavailable(error)}",
            "Look at DATABASE_URL; --force deletes it all the same.",
        )
    advice = "--force deletes it; the contact's next question begins a new conversation."
    if user is not None:
        contact = one_line(user.contact_id)
        end(ExitCode.CHECK_FAILED, f"it is in use: the questions of contact {contact!r} go there", advice)
    if adopter is not None:
        contact = one_line(adopter.contact_id)
        text = f"it is about to be used: the next question of contact {contact!r} takes it over"
        end(ExitCode.CHECK_FAILED, text, advice)


def _tag_in(name: str) -> str | None:
    found = TAG.search(name)
    return found.group(1) if found else None
