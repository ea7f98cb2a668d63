"""An answer that is being written, told to the bus as it grows: numbered, coalesced, before its reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas import progress_event, progress_id, timestamp_of
from worker.core.model import Progress
from worker.core.world import Turn

#: s. At most four events a second for one question: eyes follow no more; an answer has hundreds of pieces.
PAUSE_S = 0.25


@dataclass(slots=True)
class LiveAnswer:
    """The answer of one turn while it is streamed; ``stop`` it before the reply is recorded."""

    turn: Turn
    tell: Callable[[Progress], None]
    #: BOOTTIME at which the lease ends. From then on another worker may have published the reply.
    held_until: float
    _pieces: list[str] = field(default_factory=list)
    _sequence: int = 0
    #: Loop time of the next event at the earliest.
    _next_at: float = -math.inf
    _timer: asyncio.TimerHandle | None = None
    _is_over: bool = False

    def heard(self, piece: str) -> None:
        """Take a piece of the answer; it is told now, or together with those that come within the pause."""
        if not piece or self._is_over:
            return
        self._pieces.append(piece)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next_at:
                self._tell()
            else:
                self._timer = loop.call_at(self._next_at, self._tell)

    def stop(self) -> None:
        """Tell nothing more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        turn = self.turn
        if turn.world.clock.boottime() >= self.held_until:
            return
        self._next_at = asyncio.get_running_loop().time() + PAUSE_S
        self._sequence += 1
        self._pieces = ["".join(self._pieces)]
        question, conversation = turn.question, turn.conversation
        body = progress_event(
            question_id=question.event_id,
            question_source=question.source,
            contact_id=conversation.contact_id,
            external_id=conversation.external_id,
            thread_id=conversation.thread_id,
            metadata=question.metadata,
            sequence=self._sequence,
            answer_so_far=self._pieces[0],
            time=timestamp_of(turn.ledger_time()),
            traceparent=question.traceparent,
            tracestate=question.tracestate,
        )
        event_id = progress_id(question.source, question.event_id, self._sequence)
        self.tell(
            Progress(
                event_id=event_id,
                body=body,
                question_id=question.event_id,
                traceparent=question.traceparent,
                tracestate=question.tracestate,
            )
        )
