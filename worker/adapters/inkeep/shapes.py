"""What is sent to Inkeep: the whole list of messages, under ids that never change."""

from __future__ import annotations

import json
import uuid
from typing import Any

from worker.core.mirroring import ConversationCopy, MirroredAnswer

#: Bytes. A body may have 2 MB; what is left is for everything beside the messages.
MESSAGES_BYTES = 1_990_000

#: Fields of a message that may be sent again as they were read; the others are the service's own.
_KEPT_FIELDS = (
    "id",
    "externalId",
    "externalUrl",
    "createdAt",
    "updatedAt",
    "role",
    "content",
    "name",
    "links",
    "properties",
    "userProperties",
    "tool_calls",
)


def upsert_of(conversation: ConversationCopy, *, kept: object = None) -> bytes:
    """Return the body that makes the copy be as the conversation is.

    ``kept`` is the list of messages that the copy has now: those that the ledger does not know stay before
    the others. The oldest are left out when all would be too large.
    """
    messages = [message for answer in conversation.answers for message in _messages(conversation, answer)]
    ours = {message["id"] for message in messages}
    older = [
        {name: each[name] for name in _KEPT_FIELDS if each.get(name) is not None}
        for each in (kept if isinstance(kept, list) else [])
        if isinstance(each, dict) and each.get("id") not in ours
    ]
    written = [json.dumps(message) for message in (*older, *messages)]
    fitting = _fitting(written)
    first, last = conversation.answers[0], conversation.answers[-1]
    head = {
        "id": conversation.copy_id,
        "type": "openai",
        "externalId": conversation.external_id,
        "updatedAt": last.answered_at,
        "userProperties": {"userId": conversation.external_id, "userType": "contact"},
        "properties": {
            "source": "askrelay",
            "provider": "customgpt",
            "threadId": conversation.thread_id,
            "projectId": conversation.project_id,
            "sessionId": conversation.session_id,
            "conversationId": conversation.conversation_id,
            "omittedMessages": len(written) - len(fitting),
        },
    }
    if not older:
        head["createdAt"] = first.asked_at
    # Each message was written to be measured, and is not written twice.
    return f'{json.dumps(head)[:-1]}, "messages": [{", ".join(fitting)}]}}'.encode("ascii")


def _messages(
    conversation: ConversationCopy, answer: MirroredAnswer
) -> tuple[dict[str, Any], dict[str, Any]]:
    number = None if answer.message_id is None else str(answer.message_id)
    about = {"questionSource": answer.question_source, "questionId": answer.question_id, "messageId": number}

    def message_id(role: str) -> str:
        name = json.dumps([answer.question_source, answer.question_id, role])
        return str(uuid.uuid5(uuid.UUID(conversation.copy_id), name))

    asked = {
        "id": message_id("user"),
        "externalId": answer.question_id,
        "role": "user",
        "content": answer.question,
        "createdAt": answer.asked_at,
        "properties": about,
        "userProperties": {"userId": conversation.external_id, "userType": "contact"},
    }
    answered: dict[str, Any] = {
        "id": message_id("assistant"),
        "externalId": number,
        "role": "assistant",
        "content": answer.answer,
        "createdAt": answer.answered_at,
        "properties": about,
    }
    links = [{"url": each.url, "title": each.title} for each in answer.citations if each.url]
    if links:
        answered["links"] = links
    return asked, answered


def _fitting(written: list[str]) -> list[str]:
    """Return the newest messages that a body has room for; the last pair always goes."""
    left, start = MESSAGES_BYTES, len(written)
    while start > 0 and (left := left - len(written[start - 1]) - 2) >= 0:
        start -= 1
    return written[min(start, max(len(written) - 2, 0)) :]
