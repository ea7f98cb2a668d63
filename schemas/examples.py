"""One example of each event: one question, asked, answered, and failed for having waited too long."""

from __future__ import annotations

from typing import Any, Final

from schemas.reply_ids import progress_id

ASKED_EXAMPLE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "evt-1",
    "source": "crm/acme",
    "type": "contact.question.asked",
    "time": "2026-11-20T20:00:00Z",
    "expirytime": "2026-11-20T21:00:00Z",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "data": {
        "contact_id": "EXT_12345",
        "question": "What are your support hours?",
        "thread_id": None,
        "lang": "en",
        "metadata": {"ticket": "T-9"},
    },
}

RATED_EXAMPLE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "rating-1",
    "source": "crm/acme",
    "type": "contact.answer.rated",
    "time": "2026-11-20T20:05:00Z",
    "data": {"question_id": "evt-1", "question_source": "crm/acme", "rating": "liked"},
}

_ENVELOPE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "aaba07ea-8f3f-53be-8fd7-fc5a62848d51",
    "source": "askrelay",
    "subject": "EXT_12345",
    "datacontenttype": "application/json",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

_IDENTITY: Final[dict[str, Any]] = {
    "question_id": "evt-1",
    "question_source": "crm/acme",
    "contact_id": "EXT_12345",
    "external_id": "EXT_12345",
    "thread_id": None,
    "metadata": {"ticket": "T-9"},
    "provider": "customgpt",
    "conversation_renewed": False,
    "asked_at": "2026-11-20T20:00:00Z",
}

ANSWERED_EXAMPLE: Final[dict[str, Any]] = {
    **_ENVELOPE,
    "type": "contact.question.answered",
    "time": "2026-11-20T20:00:03.250Z",
    "data": {
        **_IDENTITY,
        "project_id": 123,
        "api": "conversations",
        "conversation_id": 42,
        "session_id": "f1b9aaf0-3f0c-4a6e-9d50-6a2d3bb0a1c7",
        "message_id": 1,
        "answer": "Our support hours are 9 to 5 on weekdays.",
        "fallback": None,
        "citations": [{"id": 12, "title": None, "url": None}],
        "provider_metadata": {"external_id": "EXT_12345", "request_source": "api"},
        "outcome": "posted",
        "attempts": 1,
        "answered_at": "2026-11-20T20:00:03.250Z",
    },
}

FAILED_EXAMPLE: Final[dict[str, Any]] = {
    **_ENVELOPE,
    "type": "contact.question.failed",
    "time": "2026-11-20T21:00:00.000Z",
    "data": {
        **_IDENTITY,
        "project_id": 123,
        "api": "conversations",
        "conversation_id": None,
        "session_id": None,
        "message_id": None,
        "reason": "expired",
        "detail": "The time by which an answer was of use passed before the question was posted.",
        "attempts": 0,
        "failed_at": "2026-11-20T21:00:00.000Z",
    },
}

PROGRESS_EXAMPLE: Final[dict[str, Any]] = {
    **_ENVELOPE,
    "id": progress_id("crm/acme", "evt-1", 3),
    "type": "contact.question.progress",
    "time": "2026-11-20T20:00:02.000Z",
    "data": {
        **{
            name: value
            for name, value in _IDENTITY.items()
            if name not in {"conversation_renewed", "asked_at"}
        },
        "sequence": 3,
        "answer_so_far": "Our support hours are 9 to",
    },
}
