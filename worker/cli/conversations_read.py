"""What the commands about conversations share: their options, and reading one from API and ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.api_calls import ask_api, end
from worker.cli.exit_codes import ExitCode
from worker.core.errors import ConversationGone, LedgerUnavailable
from worker.core.model import external_id_of
from worker.settings import HIGHEST_PROJECT_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from worker.adapters.customgpt_admin import ConversationRow, CustomGptAdmin, StoredConversation
    from worker.core.model import Conversation, RemoteMessage
    from worker.settings import Settings

    T = TypeVar("T")

Project = Annotated[
    int | None,
    typer.Option(
        "--project", min=1, max=HIGHEST_PROJECT_ID, help="The project, if not CUSTOMGPT_PROJECT_ID."
    ),
]
Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session id, as `list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

#: How a worker's name for a conversation ends (PROTOCOL 4): its tag, another one for each contact and thread.
TAG = re.compile(r" #([0-9a-f]{32})$")


def named_for(external_id: str) -> str:
    """Return how the names of a contact's conversations begin, the worker's and those of the CRM guide."""
    return f"crm:{external_id_of(external_id)}"


def is_named_for(name: str, external_id: str) -> bool:
    """Tell whether a name says that a conversation is this contact's, not of one whose id is longer."""
    begin = named_for(external_id)
    if not name.startswith(begin):
        return False
    rest = name[len(begin) :]
    if TAG.search(name):
        return TAG.fullmatch(rest) is not None
    # The guide writes "crm:EXT_12345" or "crm:EXT_12345 - ACME Inc.", with any dash.
    return not rest or re.match(r" +[-\u2010-\u2015]", rest) is not None


def read_conversation(settings: Settings, project_id: int, session_id: str) -> StoredConversation:
    """Read a conversation with all its messages; ends the command with 7 when there is none."""
    return at_session(settings, project_id, session_id, lambda api: api.messages(project_id, session_id))


def at_session(
    settings: Settings, project_id: int, session_id: str, calls: Callable[[CustomGptAdmin], Awaitable[T]]
) -> T:
    """Make calls about one session; ends the command with 7 when the project has none such."""

    async def ask(api: CustomGptAdmin) -> T | None:
        try:
            return await calls(api)
        except ConversationGone:
            # A 404 does not say what is missing: a missing project is another mistake, with another remedy.
            await api.project(project_id)
            return None

    found = ask_api(settings, ask)
    if found is None:
        end(
            ExitCode.NOT_FOUND,
            f"project {project_id} has no conversation with the session {session_id!r}",
            "See which there are: askrelay conversations list",
        )
    return found


def user_of_session(settings: Settings, session_id: str) -> Conversation | None:
    """Return the conversation in the ledger that messages go to this session for, or None."""
    from worker.adapters.ledger.audit import Audit  # noqa: PLC0415 (slow)

    with Audit(settings.database_url) as audit:
        return audit.user_of_session(session_id)


def adopter_of(settings: Settings, row: ConversationRow) -> Conversation | None:
    """Return the conversation in the ledger that has no session yet and would take this one."""
    from worker.adapters.ledger.audit import Audit  # noqa: PLC0415 (slow)
    from worker.core.conversations import tag_of  # noqa: PLC0415

    found = TAG.search(row.name)
    if found is None:
        return None
    external_id = row.name[: found.start()].removeprefix("crm:")
    with Audit(settings.database_url) as audit:
        record = audit.contact(external_id)
    for each in record.conversations:
        conversation = each.conversation
        project_id = conversation.project_id or settings.customgpt_project_id
        is_wanting = conversation.session_id is None and project_id is not None
        if is_wanting and tag_of(project_id or 0, conversation) == found.group(1):
            return conversation
    return None


def why_unavailable(error: LedgerUnavailable) -> str:
    """Say in a few words why the ledger cannot be read."""
    from worker.adapters.ledger import reason_of  # noqa: PLC0415 (slow)

    return error.detail or reason_of(error) or error.code


def message_json(each: RemoteMessage) -> dict[str, Any]:
    """Return a message for programs, with the API's metadata as far as it is kept."""
    return {
        "message_id": each.message_id,
        "created_at": each.created_at,
        "external_id": each.external_id,
        "question": each.question,
        "answer": each.answer,
        "citations": [citation.id for citation in each.citations],
        "metadata": each.metadata,
    }
