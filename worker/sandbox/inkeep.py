"""Inkeep's Analytics API, at the root of the same server: conversations that somebody mirrors to it.

It is another vendor's: keys, errors and pace are its own, and nothing here counts as a call to CustomGPT.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from worker.sandbox.envelope import ApiError, date_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.sandbox.call import Call
    from worker.sandbox.world import World

#: Bytes of a request, as documented.
MAX_BODY_BYTES = 2_000_000
#: A key of a web integration may write, and read nothing.
WEB_KEY = "web-"
#: As documented, in conversations of one page.
_PAGE_SIZE = 20

_TYPES = ("openai", "support_ticket", "support_copilot")
_ROLES = ("system", "user", "assistant")
#: What a caller may set and what is given back, null when it was not set.
_FIELDS = (
    "externalId",
    "externalUrl",
    "supportTicketConversationId",
    "projectId",
    "integrationId",
    "properties",
    "userProperties",
    "tags",
)
_MESSAGE_FIELDS = ("externalId", "externalUrl", "name", "links", "properties", "userProperties", "tool_calls")


@dataclass(slots=True)
class Mirror:
    """What was mirrored, by id, oldest first."""

    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))


def upsert(world: World, call: Call) -> Any:
    """Create a conversation, or replace the one that has its id; the list of messages is always whole."""
    body = call.body
    if not body:
        raise ApiError(400, "Bad Request")
    kind, messages = body.get("type"), body.get("messages")
    if kind not in _TYPES or not isinstance(messages, list) or not messages:
        raise ApiError(422, "Unprocessable Entity")
    if not all(_is_message(each, kind) for each in messages):
        raise ApiError(422, "Unprocessable Entity")
    mirror = world.mirror
    number = body.get("id") or f"conv_{uuid.uuid4().hex}"
    if not isinstance(number, str) or not isinstance(body.get("externalId"), str | None):
        raise ApiError(422, "Unprocessable Entity")
    now = date_text(world.clock.wall(), world.switches)
    before = mirror.conversations.get(number, {})
    made = {
        "id": number,
        "type": kind,
        "createdAt": body.get("createdAt") or before.get("createdAt") or now,
        "updatedAt": body.get("updatedAt") or now,
        **{name: body.get(name) for name in _FIELDS},
        "visibility": body.get("visibility") or "private",
        "messages": [_message(world, each, number, kind, now) for each in messages],
    }
    made["messagesOpenAIFormat"] = [
        {name: each[name] for name in ("role", "name", "content", "tool_calls") if each.get(name) is not None}
        for each in made["messages"]
    ]
    mirror.conversations[number] = made
    call.session_id, call.external_id = number, body.get("externalId")
    world.effects.record("conversation_mirrored", call)
    return made


def get(world: World, call: Call) -> Any:
    """Return a conversation by its id."""
    _refuse_web_key(call)
    found = world.mirror.conversations.get(call.params["id"])
    if found is None:
        raise ApiError(404, "Not Found")
    return found


def get_external(world: World, call: Call) -> Any:
    """Return the conversation with an external id; the latest, where there are several."""
    _refuse_web_key(call)
    wanted = call.params["externalId"]
    for each in reversed(world.mirror.conversations.values()):
        if each["externalId"] == wanted:
            return each
    raise ApiError(404, "Not Found")


def list_conversations(world: World, call: Call) -> Any:
    """List one page of conversations, newest first."""
    _refuse_web_key(call)
    limit, offset = (
        _whole(call.query.get(name), usual) for name, usual in (("limit", _PAGE_SIZE), ("offset", 0))
    )
    everything = list(reversed(world.mirror.conversations.values()))
    page = everything[offset : offset + limit]
    return {"conversations": page, "total": len(everything), "pageSize": limit, "count": len(page)}


def delete(world: World, call: Call) -> Any:
    """Delete a conversation."""
    _refuse_web_key(call)
    if world.mirror.conversations.pop(call.params["id"], None) is None:
        raise ApiError(404, "Not Found")
    return {"success": True, "message": "Conversation deleted"}


def _is_message(each: Any, kind: str) -> bool:
    if not isinstance(each, dict) or not isinstance(each.get("role"), str):
        return False
    content = each.get("content")
    if kind != "openai":
        return content is None or isinstance(content, str)
    return each["role"] in _ROLES and isinstance(content, str | list)


def _message(
    world: World, each: Mapping[str, Any], conversation: str, kind: str, now: str | None
) -> dict[str, Any]:
    return {
        "id": each.get("id") or f"msg_{next(world.mirror.numbers)}",
        "type": kind,
        "conversationId": conversation,
        "createdAt": each.get("createdAt") or now,
        "updatedAt": each.get("updatedAt") or now,
        "role": each["role"],
        "content": each.get("content"),
        **{name: each.get(name) for name in _MESSAGE_FIELDS},
    }


def _refuse_web_key(call: Call) -> None:
    if call.headers.get("Authorization", "").partition(" ")[2].strip().startswith(WEB_KEY):
        raise ApiError(403, "Forbidden")


def _whole(text: str | None, usual: int) -> int:
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ApiError(400, "Bad Request")
    return int(text)
