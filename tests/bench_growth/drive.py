"""Drives a ledger as a worker does, without broker and API: what is left is the ledger and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench_growth.fill import contact_of
from tests.contract.ledger_cases import PROJECT, asked
from worker.adapters.ledger import SqlLedger
from worker.core.model import AcceptedQuestion, Answered, Claim, OutboxReply, RemoteMessage, Reply

#: Turns in flight, and events in one batch of intake.
IN_FLIGHT = 64
BATCH = 64
#: One new contact in four questions, as in `make bench`.
NEW_EACH = 4

_BODY = b'{"data":{"answer":"' + b"An answer. " * 80 + b'"}}'


@dataclass
class Askers:
    """Who asks: each fourth a new contact, the others known ones, each with the same chance."""

    #: So many were filled in.
    contacts: int
    #: Names the new contacts, so that those of two runs on one ledger do not meet.
    name: str
    seed: int = 1
    _newcomers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def of(self, number: int) -> str:
        """Return the contact of the question of this number; ask for one after the other."""
        if number % NEW_EACH == 0:
            contact_id = f"{self.name}-{number}"
            self._newcomers.append(contact_id)
            return contact_id
        if self.contacts:
            return contact_of(self._chance.randint(1, self.contacts))
        # Any of them: the last one's questions would wait for each other, and go in small transactions.
        return self._chance.choice(self._newcomers)


@dataclass
class Driver:
    """One process's worth of work on a ledger; ``contacts`` were filled in, the others are new."""

    ledger: SqlLedger
    contacts: int
    #: Names this driver's events and contacts, so that two on one ledger do not meet.
    name: str
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _messages: itertools.count[int] = field(default_factory=lambda: itertools.count(time.time_ns() // 1000))

    def __post_init__(self) -> None:
        self._askers = Askers(self.contacts, self.name)

    def questions(self, count: int) -> list[AcceptedQuestion]:
        """Return the next events: each fourth of a new contact, the others of known ones."""
        return [self._question(next(self._numbers)) for _ in range(count)]

    async def work(self, count: int) -> None:
        """Accept, claim, post, finish and publish so many questions, with IN_FLIGHT turns at a time."""
        done, accepted = 0, 0
        under_way: set[asyncio.Task[OutboxReply | None]] = set()
        marks: set[asyncio.Task[None]] = set()
        while done < count:
            if accepted < count and accepted - done < IN_FLIGHT:
                batch = min(BATCH, count - accepted)
                await self.ledger.accept(self.questions(batch))
                accepted += batch
            room = min(IN_FLIGHT, count - done) - len(under_way)
            if room > 0:
                claims = await self.ledger.claim(room, begins_posts=True)
                under_way |= {asyncio.create_task(self.turn(claim)) for claim in claims.turns}
            ended, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            if replies := [reply for task in ended if (reply := task.result()) is not None]:
                marks.add(asyncio.create_task(self.publish(replies)))
            done += len(ended)
        await asyncio.gather(*marks)

    async def turn(self, claim: Claim) -> OutboxReply | None:
        """Do what a turn does to the ledger when the API answers at once."""
        conversation, question = claim.conversation, claim.question
        session_id, begun = conversation.session_id, claim.begun
        if session_id is None:
            session_id = f"{conversation.number:032x}"
            await self.ledger.begin_create(claim.lease, PROJECT)
            begun = await self.ledger.save_session(
                claim.lease,
                project_id=PROJECT,
                session_id=session_id,
                conversation_id=conversation.number,
                highest_message_id=0,
                begins_post_of=question.number,
            )
        if begun is None:
            await self.ledger.begin_post(claim.lease, question.number, session_id=session_id)
        message = RemoteMessage(next(self._messages), question.text, "An answer.", conversation.external_id)
        reply = Reply(question.reply_id, "answered", _BODY, question.event_id)
        verdict = Answered(message, session_id, "posted", None)
        return (await self.ledger.finish(claim.lease, question.number, verdict, reply)).reply

    async def publish(self, replies: Sequence[OutboxReply]) -> None:
        """Mark replies as published; the ledger lets marks wait for something to go along with."""
        while replies:
            replies = await self.ledger.mark_published([reply.number for reply in replies])

    def _question(self, number: int) -> AcceptedQuestion:
        return asked(
            f"{self.name}-{number}",
            self._askers.of(number),
            reply_id=f"00000000-0000-5000-8000-{number:012x}",
            text=f"What are your support hours in week {number}, and whom may I call on a Sunday?",
            metadata={"ticket": f"T-{number}"},
        )
