"""Answers in OpenAI's form: in one piece, or in chunks of which one gives a reason to stop (API-FACTS 1.5).

``[DONE]`` comes after them where the API keeps to OpenAI's habit; nothing that it documents says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from worker.adapters.customgpt.parsing import UnreadableError
from worker.adapters.customgpt.server_sent_events import UNNAMED, Frame, FrameReader, FrameTooLargeError
from worker.core.errors import AnswerUnreadable
from worker.core.model import RemoteMessage

#: What such an answer has for a number.
NO_NUMBER = 0


class CompletionStream:
    """Reads a streamed answer; ``on_progress`` is told each piece."""

    def __init__(self, on_progress: Callable[[str], None] | None = None) -> None:
        self._frames = FrameReader()
        self._on_progress = on_progress
        self._pieces: list[str] = []
        self._has_stopped = False
        self._is_done = False
        self._id: str | None = None
        #: Why the stream is not to be read further; empty while all is well.
        self.trouble = ""

    def feed(self, piece: bytes) -> bool:
        """Take a piece, and tell whether it was enough, for good or for bad."""
        try:
            for frame in self._frames.feed(piece):
                self._take(frame)
                if self._is_done or self.trouble:
                    return True
        except FrameTooLargeError:
            self.trouble = "a frame without end"
        return bool(self.trouble)

    @property
    def is_whole(self) -> bool:
        """Tell whether no piece is missing, of a stream that has ended well."""
        return self._has_stopped and not self.trouble

    @property
    def message(self) -> RemoteMessage:
        """What was said."""
        return _message("".join(self._pieces), self._id)

    def _take(self, frame: Frame) -> None:
        if frame.name != UNNAMED or not frame.data.strip():
            return
        if frame.data.strip() == "[DONE]":
            self._is_done = True
            # Without a reason to stop before it the answer is cut short.
            self.trouble = "" if self._has_stopped else "no end of the answer"
            return
        try:
            chunk = json.loads(frame.data)
            if chunk.get("error") is not None:
                self.trouble = "an error in the stream"
                return
            if not chunk.get("choices"):
                # What was used, say, after the answer. None of it can be a piece.
                return
            choice = chunk["choices"][0]
            piece = choice["delta"].get("content")
            reason = choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # It may have been a piece, so that the answer lacks it.
            self.trouble = "a chunk that is none"
            return
        self._id = chunk["id"] if isinstance(chunk.get("id"), str) else self._id
        self._has_stopped = self._has_stopped or reason is not None
        if isinstance(piece, str) and piece:
            self._pieces.append(piece)
            if self._on_progress is not None:
                self._on_progress(piece)


def completion_of(body: bytes) -> RemoteMessage:
    """Read an answer in one piece."""
    try:
        tree = json.loads(body)
        text = tree["choices"][0]["message"]["content"]
        number = tree.get("id")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UnreadableError("no completion") from None
    return _message(text, number if isinstance(number, str) else None)


def _message(text: Any, completion_id: str | None) -> RemoteMessage:
    if text is not None and not isinstance(text, str):
        raise UnreadableError("no text")
    if text is None or not text.strip():
        # Seen while the agent still indexes.
        raise AnswerUnreadable("complete: empty answer")
    # A surrogate without its other half could not be written into the reply.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    metadata = {} if completion_id is None else {"completion_id": completion_id}
    return RemoteMessage(message_id=NO_NUMBER, question="", answer=text, external_id=None, metadata=metadata)
