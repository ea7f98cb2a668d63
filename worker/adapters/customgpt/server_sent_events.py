"""Server-sent events, as the HTML standard reads them: frames out of bytes that come in any pieces."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

#: Characters of one frame, the line being read included. Answers have thousands; what is larger has no end.
MAX_FRAME_CHARS = 1024 * 1024
#: The name of a frame that was given none.
UNNAMED = "message"


class FrameTooLargeError(Exception):
    """A frame that goes on and on is no answer of the API and would fill the memory."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event: its name (``UNNAMED`` where none was given) and its data lines, joined by newlines."""

    name: str
    data: str


class FrameReader:
    """Reads the frames of one response. ``feed`` it every piece; what is unfinished at the end counts not."""

    def __init__(self) -> None:
        # Bytes that are no UTF-8 become replacement characters: the JSON around them stays readable.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line = ""
        self._ends_in_cr = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Frame]:
        """Take a piece and return the frames that it completes; raises FrameTooLargeError."""
        text = self._decoder.decode(piece)
        if self._ends_in_cr and text:
            # The piece before ended between the two characters of one line's end.
            self._ends_in_cr = False
            text = text.removeprefix("\n")
        self._ends_in_cr = self._ends_in_cr or text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        frames = []
        for line in lines:
            frame = self._take(self._line + line)
            self._line = ""
            if frame is not None:
                frames.append(frame)
        self._line += rest
        if self._size + len(self._line) > MAX_FRAME_CHARS:
            raise FrameTooLargeError
        return frames

    def _take(self, line: str) -> Frame | None:
        """Take a whole line; an empty one ends the frame."""
        if not line:
            frame = Frame(self._name or UNNAMED, "\n".join(self._data)) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return frame
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        # A line that begins with a colon is a comment, and id and retry are about reconnecting.
        if field == "data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > MAX_FRAME_CHARS:
                raise FrameTooLargeError
        elif field == "event":
            self._name = value
        return None
