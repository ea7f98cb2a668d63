"""The calls about conversations: create, list, rename, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox import shapes
from worker.sandbox.envelope import ApiError, page_number, paginate
from worker.sandbox.projects import project_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.sandbox.call import Call
    from worker.sandbox.state import Conversation, Project
    from worker.sandbox.switches import Switches
    from worker.sandbox.world import World

#: As documented.
NAME_CHARS = 255


def create(world: World, call: Call) -> Any:
    """Create a conversation: always a new one, whatever its name."""
    project = project_of(world, call)
    name = call.text("name", longest=NAME_CHARS)
    if not name and world.switches.create_requires_name:
        raise ApiError(400, "The name field is required.")
    made = add_conversation(world, call, project, name or "New conversation")
    return shapes.conversation_created(made, world.switches)


def list_conversations(world: World, call: Call) -> Any:
    """List one page of a project's conversations."""
    project = project_of(world, call)
    drop_expired(world, call, project)
    switches = world.switches
    rows = _selected(world, call, project)
    by_date = call.query.get("orderBy") == "created_at"
    rows.sort(
        key=lambda each: (each.created_at if by_date else 0, each.conversation_id),
        reverse=call.query.get("order") != "asc",
    )
    return paginate(
        rows,
        page=page_number(call.query.get("page")),
        per_page=switches.conversations_per_page,
        path=call.path_url,
        render=lambda each: shapes.conversation(each, switches),
    )


def rename(world: World, call: Call) -> Any:
    """Rename a conversation."""
    conversation = conversation_of(world, call)
    name = call.text("name", longest=NAME_CHARS)
    if name is not None:
        world.store.rename_conversation(project_of(world, call), conversation, name)
        world.effects.record("conversation_renamed", call)
    return shapes.conversation(conversation, world.switches)


def delete(world: World, call: Call) -> Any:
    """Delete a conversation with its messages."""
    conversation = conversation_of(world, call)
    world.store.delete_conversation(project_of(world, call), conversation)
    world.effects.record("conversation_deleted", call)
    return {"deleted": True}


def add_conversation(
    world: World, call: Call, project: Project, name: str, *, session_id: str | None = None
) -> Conversation:
    """Make a conversation and record it."""
    made = world.store.add_conversation(project, name, session_id=session_id)
    call.session_id, call.conversation_id = made.session_id, made.conversation_id
    world.effects.record("conversation_created", call)
    return made


def conversation_of(world: World, call: Call) -> Conversation:
    """Return the conversation of the path; 404 when it is not there, or no longer."""
    project = project_of(world, call)
    drop_expired(world, call, project)
    session_id = call.params["sessionId"]
    conversation = project.conversations.get(session_id)
    if conversation is None:
        raise missing_session(world, session_id)
    call.conversation_id = conversation.conversation_id
    return conversation


def missing_session(world: World, session_id: str) -> ApiError:
    """Make the 404 of a session; its text is documented nowhere."""
    return ApiError(404, world.switches.missing_session_text.replace("{session_id}", session_id))


def drop_expired(world: World, call: Call, project: Project) -> None:
    """Apply the retention time."""
    for each in world.store.expire_conversations(project, world.switches.retention_s):
        world.note_loss(call, session_id=each.session_id, conversation_id=each.conversation_id)


def _selected(world: World, call: Call, project: Project) -> list[Conversation]:
    """Return what the query asks for, in no order."""
    if call.query.get("userFilter") == "anonymous":
        # Everything is made by the account's own key; nobody is anonymous here.
        return []
    switches = world.switches
    listable_until = world.clock.monotonic() - switches.conversation_list_lag_s
    wanted = call.query.get("name")
    is_named = _name_filter(wanted, switches)
    if wanted and switches.name_filter != "ignored":
        candidates = project.names.candidates(wanted)
    else:
        candidates = [*project.conversations.values(), *project.deleted.values()]
    return [
        each
        for each in candidates
        if (each.deleted_at is None or switches.list_shows_deleted)
        and each.created <= listable_until
        and is_named(each.name)
    ]


def _name_filter(wanted: str | None, switches: Switches) -> Callable[[str], bool]:
    mode = switches.name_filter
    if not wanted or mode == "ignored":
        return lambda _: True
    fold: Callable[[str], str] = str.lower if switches.name_filter_ignores_case else str
    part = fold(wanted)
    match mode:
        case "substring":
            return lambda name: part in fold(name)
        case "prefix":
            return lambda name: fold(name).startswith(part)
        case "exact":
            return lambda name: fold(name) == part
