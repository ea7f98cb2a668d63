"""Reads rows of the tables into what the core works with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.core.model import Conversation, Intent, MessageOptions, Question


def conversation_of(row: Mapping[str, Any]) -> Conversation:
    """Read a row of conversations."""
    return Conversation(
        number=row["number"],
        route=row["route"],
        contact_id=row["contact_id"],
        thread_id=row["thread_id"],
        external_id=row["external_id"],
        project_id=row["project_id"],
        session_id=row["session_id"],
        conversation_id=row["conversation_id"],
        highest_message_id=row["highest_message_id"],
        create_intent_at=row["create_intent_at"],
        forgotten_session_ids=tuple(json.loads(row["forgotten_session_ids"])),
        epoch=row["epoch"],
    )


def question_of(row: Mapping[str, Any], *, is_expired: bool = False) -> Question:
    """Read a row of questions; ``is_expired`` adds the lease whose end was just counted."""
    content = json.loads(row["content"])
    intent = None
    if row["state"] == "posting":
        intent = Intent(
            at=row["intent_at"],
            session_id=row["intent_session_id"],
            baseline_message_id=row["baseline_message_id"],
            looks=row["looks"],
            has_ended=bool(row["has_ended"]),
            is_accepted=bool(row["is_accepted"]),
        )
    return Question(
        number=row["number"],
        source=row["source"],
        event_id=row["event_id"],
        reply_id=row["reply_id"],
        text=content["question"],
        lang=content["lang"],
        metadata=content["metadata"],
        asked_at=content["time"],
        received_at=row["received_at"],
        expires_at=row["expires_at"],
        traceparent=content["traceparent"],
        tracestate=content["tracestate"],
        attempts=row["attempts"],
        posts=row["posts"],
        is_redelivered=bool(row["is_redelivered"]),
        is_over_limit=bool(row["is_over_limit"]),
        intent=intent,
        is_repost=row["outcome"] is not None,
        expired_leases=row["expired_leases"] + int(is_expired),
        options=MessageOptions(**content.get("options", {})),
        api=content.get("api"),
    )
