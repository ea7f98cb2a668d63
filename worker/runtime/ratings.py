"""Sends ratings of answers to the API's feedback, one after the other, within the fleet's pace.

Setting a reaction again changes nothing, so an unknown outcome is simply tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.core.errors import (
    AssistantError,
    ConversationGone,
    GateClosed,
    LedgerError,
    QuestionRejected,
    RatingUnmatched,
)
from worker.core.policy import pause_of
from worker.core.ports import Clock, Log, Randomness
from worker.core.rating import DueRating, RatingLedger, Reaction
from worker.runtime.vitals import Pulse

#: Ratings taken together; they are sent one by one.
BATCH = 10
#: s. How often each process looks for ratings that are due.
LOOK_S = 5.0
#: s. Pauses between tries of one rating.
PAUSES_S = (2.0, 300.0)
#: s. A gate that is closed is asked again after this at the latest.
GATE_S = 60.0

#: The API will never take these.
_FINAL = (ConversationGone, QuestionRejected, RatingUnmatched)


class Rater(Protocol):
    """The call of the API that takes ratings."""

    def rate_answer(
        self, project_id: int, session_id: str, message_id: int, reaction: Reaction
    ) -> Awaitable[None]:
        """Set the reaction to an answer; a repeat changes nothing."""
        ...


@dataclass(slots=True)
class Ratings:
    """Takes what is due and sends it."""

    ledger: RatingLedger
    rater: Rater
    clock: Clock
    randomness: Randomness
    log: Log
    #: Shared with the sweeper. Beside its turns the gate knows one request at once of this process: who heals
    #: or rates has it.
    place: asyncio.Lock = field(default_factory=asyncio.Lock)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        """Look soon: a rating came."""
        self._wake.set()

    async def run(self, pulse: Pulse | None = None) -> None:
        """Send what is due, for ever."""
        pulse = pulse or Pulse(self.clock)
        while True:
            pulse.beat()
            self._wake.clear()
            taken: list[DueRating] = []
            closed_s = 0.0
            try:
                taken = await self.ledger.take_ratings(BATCH)
                for place, rating in enumerate(taken):
                    pulse.beat()
                    try:
                        await self._send(rating)
                    except GateClosed as closed:
                        closed_s = await self._hold_up(taken[place:], closed)
                        break
            except LedgerError:
                pass  # What was taken is due again when its lease runs out.
            if closed_s:
                # However many wait, one asks whether the gate is open again.
                await self.clock.sleep(closed_s)
            elif len(taken) < BATCH:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.randomness.uniform(LOOK_S * 0.7, LOOK_S)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _hold_up(self, ratings: Sequence[DueRating], closed: GateClosed) -> float:
        """Give back what was not sent, and return for how many seconds."""
        again_in_s = min(max(closed.retry_in_s, PAUSES_S[0]), GATE_S)
        await asyncio.gather(
            *(
                self.ledger.end_rating(each, "held_up", code=closed.code, again_in_s=again_in_s)
                for each in ratings
            )
        )
        return again_in_s

    async def _send(self, rating: DueRating) -> None:
        try:
            await self._rate(rating)
        except _FINAL as refused:
            self.log(
                "rating.refused",
                question_id=rating.question_id,
                event_source=rating.question_source,
                message_id=rating.message_id,
                error_code=refused.code,
            )
            await self.ledger.end_rating(rating, "refused", code=refused.code)
        except AssistantError as failure:
            if not rating.tries:
                # The later tries would say the same, for days while the API is away.
                self.log(
                    "rating.put_off",
                    question_id=rating.question_id,
                    event_source=rating.question_source,
                    message_id=rating.message_id,
                    error_code=failure.code,
                )
            shortest, longest = PAUSES_S
            pause_s = min(longest, shortest * 2.0 ** min(rating.tries, 10))
            if (news := pause_of(failure)) is not None:
                pause_s = news.pause_s
                await self.ledger.report(news)
            again_in_s = self.randomness.uniform(pause_s / 2, pause_s)
            await self.ledger.end_rating(rating, "put_off", code=failure.code, again_in_s=again_in_s)
        else:
            self.log(
                "rating.sent",
                question_id=rating.question_id,
                event_source=rating.question_source,
                message_id=rating.message_id,
            )
            await self.ledger.end_rating(rating, "rated")

    async def _rate(self, rating: DueRating) -> None:
        if rating.message_id is None or rating.session_id is None or rating.project_id is None:
            # It failed after the rating had been accepted, or keeps no conversation.
            raise RatingUnmatched
        async with self.place:
            try:
                await self.ledger.admit_read(None, "healing")
                await self.rater.rate_answer(
                    rating.project_id, rating.session_id, rating.message_id, rating.rating
                )
            finally:
                await self.ledger.end_healing()
