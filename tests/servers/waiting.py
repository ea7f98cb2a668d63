"""Waits for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Pause between two looks, seconds: short beside what is waited for, long enough to leave the core to it.
LOOK_EVERY_S = 0.05


def wait_until(is_so: Callable[[], object], *, within_s: float, what: str) -> None:
    """Return as soon as ``is_so`` is true; raise TimeoutError naming ``what`` after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s in vain: {what}")
        time.sleep(LOOK_EVERY_S)
