"""Time as the sandbox sees it; a test hands in its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Clock:
    """Two ways to read the time, in seconds."""

    #: Never jumps; comparable with other processes of the same machine.
    monotonic: Callable[[], float] = time.monotonic
    #: Seconds since the epoch; what the API's own dates are made from.
    wall: Callable[[], float] = time.time
