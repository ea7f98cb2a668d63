"""Everything that was seen from outside: what was handed in, what the API did, what came out."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.core.model import external_id_of
from worker.demo.questions import Asked


@dataclass(frozen=True, slots=True)
class ReplySeen:
    """A reply event as it came off the bus."""

    #: Monotonic seconds.
    at: float
    body: bytes
    event: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """What the event says of the question and its answer."""
        found: dict[str, Any] = self.event["data"]
        return found

    @property
    def is_answer(self) -> bool:
        """Tell an answer from a failure."""
        return str(self.event["type"]).endswith(".answered")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that the sandbox made go wrong."""

    call: str
    #: The tag of the contact; None for a call that concerns no message.
    external_id: str | None
    fault: str
    status: int | None
    #: The API did what it was asked, whatever it said.
    was_done: bool


@dataclass(slots=True)
class Record:
    """Grows while the demo runs; asked in this order."""

    asked: Sequence[Asked]
    #: Monotonic seconds of each first hand-in, by event id.
    published: dict[str, float] = field(default_factory=dict)
    duplicates: int = 0
    #: In the order of arrival, by event id of the question.
    replies: dict[str, list[ReplySeen]] = field(default_factory=lambda: defaultdict(list))
    effects: list[dict[str, Any]] = field(default_factory=list)
    #: Monotonic seconds.
    killed_at: list[float] = field(default_factory=list)
    #: Requests that stored a message or made a conversation.
    _doers: set[int] = field(default_factory=set)

    @property
    def is_answered(self) -> bool:
        """Tell whether every question has a reply."""
        return len(self.replies) == len(self.asked)

    def waiting(self) -> list[Asked]:
        """Return what was handed in and has no reply, longest waiting first."""
        by_id = {asked.event_id: asked for asked in self.asked}
        return [by_id[event_id] for event_id in self.published if event_id not in self.replies]

    def hand_in(self, event_id: str, at: float) -> None:
        """Note that an event was published; the second time it is a duplicate."""
        if event_id in self.published:
            self.duplicates += 1
        else:
            self.published[event_id] = at

    def take_reply(self, body: bytes, at: float) -> ReplySeen:
        """Note a reply."""
        seen = ReplySeen(at, body, json.loads(body))
        self.replies[seen.data["question_id"]].append(seen)
        return seen

    def take_effects(self, effects: Iterable[dict[str, Any]]) -> list[Trouble]:
        """Note what the API did, and return the calls among it that went wrong by its own doing."""
        troubles = []
        for effect in effects:
            self.effects.append(effect)
            if effect["kind"] in ("message", "conversation_created"):
                self._doers.add(effect["request"])
            elif effect["kind"] == "request" and effect["fault"] is not None:
                troubles.append(
                    Trouble(
                        call=effect["call"],
                        external_id=effect["external_id"],
                        fault=effect["fault"],
                        status=effect["status"],
                        was_done=effect["request"] in self._doers,
                    )
                )
        return troubles

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the effects of one kind."""
        return [effect for effect in self.effects if effect["kind"] == kind]


def tag_of(asked: Asked) -> str:
    """Return the tag under which the API knows the contact."""
    return external_id_of(asked.contact_id)
