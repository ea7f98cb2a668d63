"""A streamed answer: what its frames tell, in the order in which they come (API-FACTS 1.3).

The first frame of the API's own proves that it took the post. The last one, ``finish``, names the message and
lacks most of it. A stream that ends before that, or that cannot be read, has an unknown outcome.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from worker.adapters.customgpt.moments import iso_moment
from worker.adapters.customgpt.parsing import citations_of, whole_number
from worker.adapters.customgpt.server_sent_events import UNNAMED, Frame, FrameReader, FrameTooLargeError
from worker.core.model import RemoteMessage

#: What a frame may be. Anything else is ignored, as the API grows.
_KINDS = frozenset({"start", "progress", "finish", "error"})


class AnswerStream:
    """Reads one streamed answer as its bytes come in.

    ``on_accepted`` is begun at the first frame and runs beside the stream; ``settle`` waits for its end.
    ``on_progress`` is told each piece of the answer.
    """

    def __init__(
        self,
        on_accepted: Callable[[], Awaitable[None]] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self._frames = FrameReader()
        self._on_accepted = on_accepted
        self._on_progress = on_progress
        self._accepting: asyncio.Task[None] | None = None
        self._has_begun = False
        #: The message that ``finish`` named.
        self.message: RemoteMessage | None = None
        #: Why the stream is not to be read further; empty while all is well.
        self.trouble = ""

    def feed(self, piece: bytes) -> bool:
        """Take a piece, and tell whether it was enough, for good or for bad."""
        try:
            for frame in self._frames.feed(piece):
                self._take(frame)
                if self.message is not None or self.trouble:
                    return True
        except FrameTooLargeError:
            self.trouble = "a frame without end"
        return bool(self.trouble)

    async def settle(self) -> None:
        """Wait until the acceptance is recorded, if there was one; raises what that raises."""
        if self._accepting is not None:
            await self._accepting

    def abandon(self) -> None:
        """Record nothing more: whoever asked is gone."""
        if self._accepting is not None:
            self._accepting.cancel()
            # Nobody is left to hear what became of it.
            self._accepting.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _take(self, frame: Frame) -> None:
        data = _tree(frame.data)
        kind = _kind_of(frame, data)
        if kind is None:
            return
        if kind == "error":
            self.trouble = "an error in the stream"
        elif isinstance(data, dict):
            self._accepted()
            piece = data.get("message")
            if kind == "finish":
                self._finish(data)
            elif kind == "progress" and self._on_progress is not None and isinstance(piece, str):
                self._on_progress(piece)
        elif kind != "progress":
            # Of progress nothing goes into the reply; what decides must be readable.
            self.trouble = "a frame that is no JSON object"

    def _accepted(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            if self._on_accepted is not None:
                self._accepting = asyncio.ensure_future(self._on_accepted())

    def _finish(self, data: dict[str, Any]) -> None:
        message_id = whole_number(data.get("id"))
        if message_id is None:
            self.trouble = "an end that names no message"
            return
        self.message = RemoteMessage(
            message_id=message_id,
            question="",
            answer=None,
            external_id=None,
            citations=citations_of(data.get("citations")),
            created_at=iso_moment(data.get("created_at")),
            is_whole=False,
        )


def _kind_of(frame: Frame, data: Any) -> str | None:
    """Return what a frame is, by its name or, where it was given none, by its data; None: to be ignored."""
    kind: Any = frame.name
    if kind == UNNAMED:
        kind = data.get("status") if isinstance(data, dict) else None
    return kind if isinstance(kind, str) and kind in _KINDS else None


def _tree(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
