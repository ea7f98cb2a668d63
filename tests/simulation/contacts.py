"""The people and their CRM: who asks what and when, and what an earlier life of the fleet left behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from schemas import timestamp_of
from tests.simulation.api import SimApi
from tests.simulation.judge import Asked
from tests.simulation.process import WALL
from tests.simulation.surroundings import PROJECT, Surroundings
from worker.core.conversations import name_of
from worker.core.model import Conversation

SOURCE = "crm/acme"
#: A contact id and a thread id.
Contact = tuple[str, str | None]
#: When a question is asked, its number, its contact and its text.
Planned = tuple[float, int, Contact, str]


def store(api: SimApi, session_id: str, text: str, external_id: str) -> None:
    """Let somebody else post in a conversation."""
    message = api.accept(session_id, text, external_id, None, 0.0)
    message.visible_at = message.accepted_at


class Contacts:
    """One to four contacts with three to twelve questions."""

    def __init__(self, here: Surroundings) -> None:
        self._here = here
        self.asked: list[Asked] = []
        #: Events that belong into the rejected queue.
        self.refused: list[bytes] = []

    def begin(self) -> None:
        """Plan who asks what and when."""
        chance, faults = self._here.chance, self._here.faults
        contacts = [
            (f"contact-{number}", chance.choice([None, None, "case"]))
            for number in range(chance.randint(1, 4))
        ]
        if faults.times("old_conversations") or self._here.rules.is_after_restore:
            for contact in contacts:
                for _ in range(chance.randint(0, 2)):
                    self._old_conversation(contact)
        rejected = faults.times("question_rejected")
        planned: list[Planned] = []
        for number in range(1, chance.randint(3, 12) + 1):
            contact = chance.choice(contacts)
            text = f"question {number}"
            if chance.random() < faults.rates.get("same_text", 0) and not self._here.rules.is_after_restore:
                text = "the same question"
            if rejected and chance.random() < 0.2:
                text = f"question {number}, rejected"
            at = chance.random() * self._here.busy_s * 0.9
            expires_at = None
            if chance.random() < faults.rates.get("expiry", 0):
                expires_at = at + chance.uniform(0, 40)
            planned.append((at, number, contact, text))
            self._here.later(at, self._ask, number, contact, text, expires_at)
        if self._here.rules.is_after_restore:
            self._post_before_restore(sorted(planned, key=lambda each: each[:2]))
        for number in range(faults.times("event_malformed")):
            body = json.dumps({"specversion": "1.0", "id": f"bad-{number}"}).encode()
            self._here.later(chance.random() * self._here.busy_s, self._send_bad, body)

    def _ask(self, number: int, contact: Contact, text: str, expires_at: float | None) -> None:
        chance, faults = self._here.chance, self._here.faults
        contact_id, thread_id = contact
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": f"evt-{number}",
            "source": SOURCE,
            "type": "contact.question.asked",
            "traceparent": f"00-{number:032x}-{1:016x}-01",
            "data": {"contact_id": contact_id, "thread_id": thread_id, "question": text},
        }
        if expires_at is not None:
            event["expirytime"] = timestamp_of(WALL + expires_at)
        body = json.dumps(event).encode()
        self.asked.append(
            Asked(
                key=str(number),
                event_id=event["id"],
                contact_id=contact_id,
                thread_id=thread_id,
                text=text,
                expires_at=expires_at,
                may_fail=self._failures(text, expires_at),
            )
        )
        self._here.trace("crm", f"ASKS {number} {contact} {text!r}")
        self._here.broker.ask(body)
        while faults.strikes("event_repeated"):
            self._here.later(chance.random() ** 2 * 80, self._here.broker.ask, body)
        if faults.times("event_conflict") and chance.random() < 0.2:
            event["data"]["question"] = "another question"
            other = json.dumps(event).encode()
            self._here.later(chance.random() * 20, self._send_bad, other)

    def _send_bad(self, body: bytes) -> None:
        """Send an event that has to be put aside."""
        self.refused.append(body)
        self._here.broker.ask(body)

    def _failures(self, text: str, expires_at: float | None) -> frozenset[str]:
        """Return the codes with which this question may fail in this run."""
        rates = self._here.faults.rates
        may_fail = {
            "expired": expires_at is not None,
            "question_rejected": "rejected" in text or "key_rejected" in rates,
            "attempts_exhausted": "refused" in rates,
            # A post that was taken is never made again, not even when its conversation was deleted since.
            "answer_unreadable": "answer_late" in rates
            or (self._here.api.is_streaming and "conversation_deleted" in rates),
            "outcome_unknown": self._here.rules.on_unknown == "hold",
            # To break A2 processes are stopped, and for longer than a lease.
            "crash_poison": self._here.api.broken_assumption == "A2"
            or not {"crash", "crash_at_point", "pause", "pause_at_point"}.isdisjoint(rates),
        }
        return frozenset(code for code, may in may_fail.items() if may)

    def _name(self, contact: Contact) -> str:
        """Return the name under which an earlier life of the fleet made this contact's conversation."""
        contact_id, thread_id = contact
        shape = Conversation(0, "default", contact_id, thread_id, contact_id, None, None, None, 0, None)
        return name_of(PROJECT, shape)

    def _old_conversation(self, contact: Contact) -> None:
        """Leave a conversation with messages behind from before the ledger was lost."""
        old = self._here.api.create(self._name(contact))
        self._here.api.effects[-1]["kind"] = "conversation_existed"
        old.listed_at = 0.0
        for _ in range(self._here.chance.randint(0, 3)):
            text = self._here.chance.choice(["the same question", "an old question"])
            store(self._here.api, old.session_id, text, contact[0])
        self._here.faults.counts["old_conversations"] += 1

    def _post_before_restore(self, planned: Sequence[Planned]) -> None:
        """Let the API have first questions that the ledger, restored from a backup, does not know of."""
        lost: set[Contact] = set()
        for _, number, contact, text in planned:
            name = self._name(contact)
            old = next((each for each in self._here.api.conversations.values() if each.name == name), None)
            if old is None or contact in lost or "rejected" in text or self._here.chance.random() < 0.4:
                lost.add(contact)
                continue
            message = self._here.api.accept(old.session_id, text, contact[0], str(number), 0.0)
            message.visible_at = message.accepted_at
            self._here.faults.counts["restored"] += 1
