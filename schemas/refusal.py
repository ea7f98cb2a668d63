"""Why an event was refused."""

from __future__ import annotations

from typing import Literal

RefusalReason = Literal["malformed_event", "unsupported_event", "invalid_question", "event_too_large"]


class EventRefused(Exception):
    """The event cannot be taken in.

    ``reason`` is one of askrelay's error codes. ``detail`` names fields and positions and never holds
    anything the event said, so it may be logged and sent along in a header.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: RefusalReason = reason
        self.detail = detail
