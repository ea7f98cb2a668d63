"""Plan limits, enforced as a sliding minute and a count of calls at once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.sandbox.clock import Clock

#: Length of the window: plans are sold in requests a minute.
WINDOW_S = 60.0
#: What a caller over the limit of calls at once is told to wait: one of them will have ended by then.
AT_ONCE_WAIT_S = 1.0


class Pace:
    """Remembers when calls were admitted. A refused call does not count."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._admitted: deque[float] = deque()

    def admit(self, *, per_minute: int, at_once: int, being_served: int) -> float | None:
        """Admit a call (None) or return the seconds until another try makes sense. A limit of 0 is none.

        ``being_served`` counts this call too.
        """
        if at_once and being_served > at_once:
            return AT_ONCE_WAIT_S
        if not per_minute:
            self._admitted.clear()
            return None
        now = self._clock.monotonic()
        while self._admitted and self._admitted[0] <= now - WINDOW_S:
            self._admitted.popleft()
        if len(self._admitted) >= per_minute:
            # Not the oldest: when the limit was lowered, several must leave the window first.
            return self._admitted[len(self._admitted) - per_minute] + WINDOW_S - now
        self._admitted.append(now)
        return None
