"""The questions of the bench, and how each contender wants them wrapped."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

#: One question in four comes from a contact that nobody has heard of.
NEW_EVERY = 4
#: A prime, so that the known contacts take turns without an order.
STRIDE = 7919
TEXT = (
    "Hello, I ordered a pair of running shoes last week and they turned out to be half a size too small. "
    "Can I exchange them for the next size up without paying for shipping twice, and how long will it take?"
)


@dataclass(frozen=True, slots=True)
class Message:
    """What goes onto the bus."""

    body: bytes
    content_type: str = "application/json"
    properties: dict[str, Any] = field(default_factory=dict)


#: Wraps an event for a contender.
Wrap = Callable[[dict[str, Any]], Message]


def known_contact(number: int) -> str:
    """Name a contact that has a conversation already."""
    return f"EXT_{100_000 + number}"


def event(number: int, *, run: str, known: int) -> dict[str, Any]:
    """Make the question of this number; every fourth, the first included, is of a new contact."""
    is_new = number % NEW_EVERY == 0
    contact = f"NEW_{run}_{number}" if is_new else known_contact(number * STRIDE % known)
    return event_of(f"{run}-{number}", contact)


def event_of(event_id: str, contact: str) -> dict[str, Any]:
    """Make one question of this contact."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "crm/bench",
        "type": "contact.question.asked",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "contact_id": contact,
            # The number makes each text one of its own, so that the API can tell a question posted twice.
            "question": f"{TEXT} ({event_id})",
            "lang": "en",
            "metadata": {"ticket": f"T-{event_id}", "channel": "web", "locale": "en-GB"},
        },
    }


def as_cloudevent(event: dict[str, Any]) -> Message:
    """Wrap an event as what it is."""
    return Message(json.dumps(event).encode(), "application/cloudevents+json")


def as_json(event: dict[str, Any]) -> Message:
    """Wrap an event as JSON, for a framework that looks at the content type."""
    return Message(json.dumps(event).encode())


def as_dramatiq(event: dict[str, Any]) -> Message:
    """Wrap an event as the message that dramatiq's own ``send`` makes."""
    message = {
        "queue_name": "bench",
        "actor_name": "answer",
        "args": [event],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": 1_795_204_800_000,
    }
    return Message(json.dumps(message, separators=(",", ":")).encode())


def as_celery(event: dict[str, Any]) -> Message:
    """Wrap an event as the message that Celery's own ``delay`` makes (its protocol 2)."""
    task_id = str(uuid.uuid4())
    headers = {
        "lang": "py",
        "task": "answer",
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "(...)",
        "kwargsrepr": "{}",
        "origin": "bench",
        "ignore_result": True,
    }
    body = [[event], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    properties = {"headers": headers, "correlation_id": task_id, "content_encoding": "utf-8"}
    return Message(json.dumps(body).encode(), properties=properties)
